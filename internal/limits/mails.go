// Package limits counts, in Redis, what recipients get, what askers cause and what relays are given, over all workers.
//
// [Mails] counts mails. To a recipient, under a keyed hash of the address, which keeps others from flooding a mailbox
// through us. For an asker, under a keyed hash of the IP address, and in all, which keep a leaky form from mailing
// thousands of strangers and from spending the relay's day. [PerRelay] counts the messages to a relay that takes only so
// many a second or a day.
//
// Whatever changes a counter is one Lua script over one key, so that two workers cannot interleave.
package limits

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

var (
	//go:embed lua/recipient.lua
	recipientSource string
	recipientScript = redis.NewScript(recipientSource)

	//go:embed lua/window.lua
	windowSource string
	windowScript = redis.NewScript(windowSource)
)

// remembered is how long an asker's sendings are known, so that a later attempt of one does not count again. It is as
// long as those of a recipient are.
const remembered = 25 * time.Hour

// spread is how far apart the mails come back that wait for the limit in all. There can be many of them.
const spread = 30 * time.Second

// forgetTime is how long giving back what was counted may take.
const forgetTime = 5 * time.Second

// Mails holds mails to [tasks.Limits].
type Mails struct {
	rdb    redis.UniversalClient
	limits tasks.Limits
}

// NewMails returns the counters in rdb, which stays the caller's to close.
func NewMails(rdb redis.UniversalClient, l tasks.Limits) *Mails { return &Mails{rdb, l} }

// Place is when a sending may go out.
type Place struct {
	Wait  time.Duration   // 0 is now
	Limit tasks.LimitName // what it waits for, if it does
	Next  time.Duration   // until another mail of its kind may go out to the recipient
}

// Admit counts one sending under every limit, and returns its place. It is counted once and keeps its place, whatever
// attempt or worker asks, and however often. A sending that waits for the limit in all has no place yet: it asks again,
// so that a code, which workers take first, does not queue behind thousands of keys. Where a sending has no place before
// s.Until, or is over a limit that nobody waits for, Admit returns a [*tasks.LimitError].
//
// The recipient and the asker are asked in one round trip. Each remembers a sending for a day. What is sent in all would
// be too much to remember for as long. So it is asked only for a sending that is new to its recipient, in a second round
// trip, which only those pay who set that limit; and what the others refuse takes no place in the minute. A worker that
// dies, or a reply that is lost, between the two lets a mail through that is not counted in all.
//
// A sending that does not get all its places gives back those that it took a moment before. Where that fails they stay
// counted, which errs on the side of the limits.
func (m *Mails) Admit(ctx context.Context, s Sending) (Place, error) {
	if m.unlimited() {
		return Place{}, nil
	}
	replies, err := m.ask(ctx, m.ofSending(s), true)
	if err == nil && m.limits.TotalPerMinute > 0 && replies[0].verdict == counted && !anyRefused(replies) {
		var total []reply
		total, err = m.ask(ctx, []question{m.inAll(s)}, true)
		replies = append(replies, total...)
	}
	var place Place
	if err == nil {
		place, err = m.placeOf(s, replies)
	}
	switch {
	case err != nil:
		m.forget(ctx, s, replies)
	case anyRefused(replies): // it waits for the limit in all
		m.forget(ctx, s, replies)
		place.Wait += rand.N(max(min(spread, time.Until(s.Until)-place.Wait), 0) + 1)
	}
	return place, err
}

// Look returns what Admit would return, and changes nothing.
func (m *Mails) Look(ctx context.Context, s Sending) (Place, error) {
	if m.unlimited() {
		return Place{}, nil
	}
	asked := m.ofSending(s)
	if m.limits.TotalPerMinute > 0 {
		asked = append(asked, m.inAll(s))
	}
	replies, err := m.ask(ctx, asked, false)
	if err != nil {
		return Place{}, err
	}
	if replies[0].verdict == known && m.limits.TotalPerMinute > 0 { // as in Admit
		replies = replies[:len(replies)-1]
	}
	return m.placeOf(s, replies)
}

// Clear forgets everything that is counted of a recipient, wrong answers included. counters is a [RecipientKey].
func (m *Mails) Clear(ctx context.Context, counters string) error {
	if err := m.rdb.Del(ctx, counters).Err(); err != nil {
		return fmt.Errorf("clear the recipient's counters: %w", err)
	}
	return nil
}

func (m *Mails) unlimited() bool {
	l := m.limits
	l.TooSoon = ""
	return l == tasks.Limits{}
}

// forget gives back what was counted of a sending that does not go out nevertheless, also where ctx has ended meanwhile.
// Repeating it is safe.
func (m *Mails) forget(ctx context.Context, s Sending, replies []reply) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTime)
	defer cancel()
	pipe := m.rdb.Pipeline()
	for _, r := range replies {
		switch {
		case r.verdict != counted:
		case r.limit == tasks.LimitRecipient:
			pipe.HDel(ctx, s.Recipient, s.field())
		default:
			pipe.ZRem(ctx, r.key, s.name())
		}
	}
	pipe.Exec(ctx)
}
