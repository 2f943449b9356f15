// Package limits counts, in Redis, what one recipient gets and what one relay is given, over all workers.
//
// [PerRecipient] counts the mails to a recipient, under a keyed hash of the address. It keeps others from flooding a
// mailbox through us. [PerRelay] counts the messages to a relay that takes only so many a second or a day.
//
// Whatever changes a counter is one Lua script over one key, so that two workers cannot interleave.
package limits

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/lp"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/tasks"
)

// mailInterval is the least time between two mails of one kind to one recipient.
const mailInterval = time.Minute

// RecipientKey returns the Redis key of what is counted of a recipient. key is the key ring's recipients key. The
// counters of wrong answers, which package record keeps, are in the same hash.
func RecipientKey(key []byte, to mailaddr.Address) string {
	return "securemail:{r:" + lp.Hash(key, "securemail/recipient/v1", to.Fold()) + "}"
}

var (
	//go:embed lua/admit.lua
	admitSource string
	admitScript = redis.NewScript(admitSource)
)

// PerRecipient counts mails per recipient. counters is a [RecipientKey] in all its methods.
type PerRecipient struct{ rdb redis.UniversalClient }

// NewPerRecipient returns the counters in rdb, which stays the caller's to close.
func NewPerRecipient(rdb redis.UniversalClient) *PerRecipient { return &PerRecipient{rdb} }

// Sending names one sending of one mail.
type Sending struct {
	ID      string // of the mail
	Kind    tasks.Kind
	Resends int // 0 for the first sending
}

// Admit counts one sending and returns in how long it may go out: 0 is now. A sending is counted once and keeps its
// place, whatever attempt or worker asks, and however often. Where the recipient's hour or day is full, or the
// sending's turn would come after until, Admit counts nothing and returns [tasks.ErrLimited].
func (r *PerRecipient) Admit(ctx context.Context, counters string, s Sending, until time.Time) (time.Duration, error) {
	return r.admit(ctx, counters, s, until, true)
}

// Admits reports whether Admit would count the first sending of a mail, or has counted it. It changes nothing.
func (r *PerRecipient) Admits(ctx context.Context, counters string, s Sending) (bool, error) {
	_, err := r.admit(ctx, counters, s, time.Now().Add(tasks.MailsPerHour*mailInterval), false)
	if errors.Is(err, tasks.ErrLimited) {
		return false, nil
	}
	return err == nil, err
}

func (r *PerRecipient) admit(ctx context.Context, counters string, s Sending, until time.Time, count bool) (time.Duration, error) {
	prefix := "s:" + string(s.Kind) + ":"
	wait, err := admitScript.Run(ctx, r.rdb, []string{counters}, fmt.Sprintf("%s%s.%d", prefix, s.ID, s.Resends), prefix,
		mailInterval.Milliseconds(), tasks.MailsPerHour, tasks.MailsPerDay, until.UnixMilli(), count).Int64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask for the recipient's limit: %w", err)
	case wait < 0:
		return 0, tasks.ErrLimited
	}
	return time.Duration(wait) * time.Millisecond, nil
}

// Clear forgets everything that is counted of a recipient, wrong answers included.
func (r *PerRecipient) Clear(ctx context.Context, counters string) error {
	if err := r.rdb.Del(ctx, counters).Err(); err != nil {
		return fmt.Errorf("clear the recipient's counters: %w", err)
	}
	return nil
}
