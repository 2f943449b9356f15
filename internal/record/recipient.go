package record

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// How many mails a recipient gets. They keep others from flooding a mailbox through us.
const (
	MailInterval = time.Minute // between two mails of one kind
	MailsPerHour = 10          // of all kinds
	MailsPerDay  = 30          // of all kinds, in any 24 hours
)

// ErrLimited says that a recipient has had too many mails.
var ErrLimited = errors.New("the recipient has had too many mails")

var (
	//go:embed lua/admit.lua
	admitSource string
	admitScript = redis.NewScript(admitSource)
)

// Admit counts one sending of a mail to recipient, a [RecipientHash], and returns in how long it may go out: 0 is now.
// However often it is asked, by whatever try or worker, a sending is counted once and keeps its place. It returns
// [ErrLimited], and has not counted it, where the recipient's hour or day is full, or its turn would come after until.
func (s *Store) Admit(ctx context.Context, recipient, kind, id string, sending int, until time.Time) (time.Duration, error) {
	return s.admit(ctx, recipient, kind, id, sending, until, true)
}

// Admits reports whether Admit would count the first sending of a mail, or has counted it, as far as workers have been told of
// mails until now.
func (s *Store) Admits(ctx context.Context, recipient, kind, id string) (bool, error) {
	_, err := s.admit(ctx, recipient, kind, id, 0, time.Now().Add(MailsPerHour*MailInterval), false)
	if errors.Is(err, ErrLimited) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) admit(ctx context.Context, recipient, kind, id string, sending int, until time.Time, count bool) (time.Duration, error) {
	prefix := "s:" + kind + ":"
	wait, err := admitScript.Run(ctx, s.rdb, []string{recipientKey(recipient)}, fmt.Sprintf("%s%s.%d", prefix, id, sending), prefix,
		MailInterval.Milliseconds(), MailsPerHour, MailsPerDay, until.UnixMilli(), count).Int64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask for the recipient's limit: %w", err)
	case wait < 0:
		return 0, ErrLimited
	}
	return time.Duration(wait) * time.Millisecond, nil
}
