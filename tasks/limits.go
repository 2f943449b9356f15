package tasks

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound the mails that one recipient gets, that one asker causes, and that all producers send together. 0 is no
// limit; start from [DefaultLimits], so that what you do not set keeps its value. Workers and clients count in Redis,
// together. A client looks before it queues a mail, and the worker, which counts, has the last word: give both the
// same numbers.
//
// Addresses that lead to one mailbox count as one recipient: capitals, what follows a plus sign, and at Gmail the dots
// make no difference. This is for counting alone: each mail goes to the address that it was given.
type Limits struct {
	RecipientInterval time.Duration // the least time between two mails of one kind to one recipient; at most an hour
	RecipientPerHour  int           // mails of all kinds, in any hour; at most 10,000
	RecipientPerDay   int           // mails of all kinds, in any 24 hours; at most 100,000
	// PerOrigin is how many mails one asker may cause in any hour; at most 10,000. An asker is an Origin.IP, or the /64
	// network of an IPv6 address. A mail without an Origin.IP counts for no asker.
	PerOrigin      int
	TotalPerMinute int // all mails of all producers, in any minute; at most 100,000
	// TooSoon is what becomes of a mail that is inside RecipientInterval or over TotalPerMinute. Empty means to wait. A
	// mail over another limit is refused.
	TooSoon TooSoon
}

// TooSoon says what becomes of a mail that may go out a little later.
type TooSoon string

const (
	TooSoonWait   TooSoon = "wait"   // the worker defers it, unless its turn comes too late for it to be of use
	TooSoonRefuse TooSoon = "refuse" // Send and Resend return a [LimitError]; without a key ring, the worker refuses it
)

// DefaultLimits returns the limits without any setting: to a recipient a mail of a kind a minute, 10 an hour and 30 a
// day; 100 an hour for one asker; no limit in all.
func DefaultLimits() Limits {
	return Limits{RecipientInterval: time.Minute, RecipientPerHour: 10, RecipientPerDay: 30, PerOrigin: 100, TooSoon: TooSoonWait}
}

// Check calls wrong for each value that makes no sense, with its name in the settings file and what is wrong with it.
func (l Limits) Check(wrong func(name, format string, args ...any)) {
	if l.RecipientInterval < 0 || l.RecipientInterval > time.Hour {
		wrong("recipient_interval", "%v is not between 0s (none) and 1h", l.RecipientInterval)
	}
	for _, n := range []struct {
		name        string
		value, most int
	}{{"recipient_per_hour", l.RecipientPerHour, 10_000}, {"recipient_per_day", l.RecipientPerDay, 100_000},
		{"per_origin", l.PerOrigin, 10_000}, {"total_per_minute", l.TotalPerMinute, 100_000}} {
		if n.value < 0 || n.value > n.most {
			wrong(n.name, "%d is not between 0 (no limit) and %d", n.value, n.most)
		}
	}
	if l.RecipientPerDay > 0 && l.RecipientPerHour > l.RecipientPerDay {
		wrong("recipient_per_hour", "%d is more than recipient_per_day (%d); a day has room for an hour", l.RecipientPerHour, l.RecipientPerDay)
	}
	if l.TooSoon != "" && l.TooSoon != TooSoonWait && l.TooSoon != TooSoonRefuse {
		wrong("too_soon", "%.20q is neither wait nor refuse", string(l.TooSoon))
	}
}

// ErrLimited is what every [LimitError] is, for errors.Is.
var ErrLimited = errors.New("too many mails")

// LimitName names one of the [Limits] by what it counts.
type LimitName string

const (
	LimitRecipient LimitName = "recipient" // the interval, the hour or the day of one recipient
	LimitOrigin    LimitName = "origin"    // the hour of one asker
	LimitTotal     LimitName = "total"     // the minute of all producers
)

// LimitError is returned for a mail that is over a limit. Nothing was queued, and nothing counted.
type LimitError struct {
	// RetryAfter is how long to wait before the next call, which succeeds unless other mails are faster.
	RetryAfter time.Duration
	Limit      LimitName
}

func (e *LimitError) Error() string {
	after := e.RetryAfter.Round(time.Second)
	if after < e.RetryAfter {
		after += time.Second
	}
	who := map[LimitName]string{LimitRecipient: "to this recipient", LimitOrigin: "asked for by this origin", LimitTotal: "in all"}[e.Limit]
	return fmt.Sprintf("%v %s (limit: %s); again in %v", ErrLimited, who, e.Limit, after)
}

// Is makes every LimitError [ErrLimited].
func (e *LimitError) Is(target error) bool { return target == ErrLimited }
