package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// errNoKey is returned where a mail began under a key that the ring does not have (any more, or yet).
var errNoKey = errors.New("the key ring has no key of this id; if it was removed, put it back; if it is new, the file here is stale")

// composeError is returned where the message cannot be composed. Trying again does not help.
type composeError struct{ err error }

func (e *composeError) Error() string { return "compose the mail: " + e.err.Error() }
func (e *composeError) Unwrap() error { return e.err }

// verdict is what follows from a failed attempt: an outcome, or another attempt after delay, which doubles with every
// attempt that counts, up to most.
type verdict struct {
	reason  tasks.Reason
	outcome tasks.State   // "" for another attempt
	counts  bool          // it uses up an attempt
	delay   time.Duration // before the second attempt
	most    time.Duration
	alert   bool // an operator has to look at it
}

// verdictOf decides what follows from a failure. Only what is the mail's own, its recipient and its content, uses up an
// attempt. A failure of the relay, of the network or of ours does not.
func verdictOf(err error) verdict {
	var failure *submission.Error
	switch {
	case errors.Is(err, errTooLate):
		return verdict{reason: tasks.ReasonLate, outcome: tasks.Expired}
	case errors.Is(err, errNoKey):
		return verdict{reason: tasks.ReasonKeyRing, delay: 30 * time.Second, alert: true}
	case errors.Is(err, errForged):
		return verdict{reason: tasks.ReasonRecord, outcome: tasks.Refused, alert: true}
	case errors.As(err, new(*composeError)):
		return verdict{reason: tasks.ReasonMessage, outcome: tasks.Refused, alert: true}
	case errors.Is(err, record.ErrLostLock):
		return verdict{reason: tasks.ReasonLocked, delay: record.LockTime}
	case errors.Is(err, context.Canceled):
		return verdict{reason: tasks.ReasonStopping, delay: time.Second}
	case !errors.As(err, &failure):
		return verdict{reason: tasks.ReasonRedis, delay: redisDelay, alert: true}
	case failure.Ambiguous:
		// The relay may still be processing it. It can recognise a second copy by the Message-ID.
		return verdict{reason: tasks.ReasonUnconfirmed, counts: true, delay: time.Minute, most: 10 * time.Minute}
	}
	switch failure.Scope {
	case submission.ScopeRecipient:
		if failure.Permanent {
			return verdict{reason: tasks.ReasonRecipient, outcome: tasks.Refused}
		}
		// Greylisting wants a minute at least.
		return verdict{reason: tasks.ReasonRecipient, counts: true, delay: time.Minute, most: 30 * time.Minute}
	case submission.ScopeMessage:
		if failure.Permanent {
			return verdict{reason: tasks.ReasonMessage, outcome: tasks.Refused, alert: true}
		}
		return verdict{reason: tasks.ReasonMessage, counts: true, delay: time.Minute, most: 30 * time.Minute}
	}
	// A failure of the relay, or of the path to it. Before the relay has heard of the mail, the circuit breakers limit how
	// often it is tried, and a mail needs no wait of its own.
	v := verdict{reason: tasks.ReasonRelay, delay: time.Second, alert: failure.Permanent}
	switch failure.Scope {
	case submission.ScopeCredentials:
		v.reason = tasks.ReasonCredentials
	case submission.ScopeNetwork:
		v.reason = tasks.ReasonNetwork
	}
	switch {
	case failure.Limited: // too much for now: more of it would make it worse
		v.delay = max(failure.Wait, time.Second)
		return v
	case failure.Scope == submission.ScopeUnclear: // the other relays were tried; an operator reads what the server said
		v.delay, v.alert = 5*time.Minute, true
		return v
	}
	switch failure.Phase {
	case submission.PhaseMail, submission.PhaseRcpt, submission.PhaseData, submission.PhaseBody, submission.PhaseDot:
		v.delay = 15 * time.Second
		if failure.Permanent {
			v.delay = 5 * time.Minute // a policy: asking again and again makes it worse
		}
	}
	return v
}

const (
	newerDelay = 30 * time.Second
	redisDelay = 5 * time.Second
	faultDelay = time.Minute
	// A task that has blocked its slot for a relay goes to the end of its queue, and others take their turn.
	noRelayDelay = time.Second
	// minDelay is the shortest wait that is worth a further attempt at the end of a mail's life.
	minDelay = 2 * time.Second
)

// delayOf places the next attempt inside what is left of the mail's life, or reports that there is no room for one. A wait
// that would miss the end becomes half of what is left, so that a mail has its last chance shortly before the end.
func delayOf(v verdict, try int, left time.Duration) (time.Duration, bool) {
	delay := v.delay
	for range try - 1 {
		if !v.counts || delay >= v.most {
			break
		}
		delay = min(2*delay, v.most)
	}
	delay += rand.N(delay/5 + 1) // so that what failed together does not come back together
	if delay < left {
		return delay, true
	}
	return left / 2, left/2 >= minDelay
}
