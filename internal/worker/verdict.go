package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// The reasons that a record, a status and a log line give. The list is closed; applications branch on it. A record can also
// say that the secret was used, misses or revoked before its mail was sent (open.lua).
const (
	reasonRecipient   = "recipient"   // the relay does not take mail for this address
	reasonMessage     = "message"     // the relay does not take this message, or it could not be composed
	reasonRelay       = "relay"       // the relay is in trouble: no mail is to blame
	reasonCredentials = "credentials" // the relay does not take our login
	reasonNetwork     = "network"     // no connection, or it broke
	reasonUnconfirmed = "unconfirmed" // the message was sent, and the relay's reply was lost
	reasonLate        = "late"        // too little of its life was left
	reasonMalformed   = "malformed"   // the task makes no sense
	reasonNewer       = "newer"       // the task is for a newer worker
	reasonKeyRing     = "key-ring"    // the key ring lacks the key that the mail began with
	reasonRedis       = "redis"       // the record could not be read or written
	reasonLocked      = "locked"      // another worker is sending the mail
	reasonStopping    = "stopping"    // the worker was stopped in the middle
	reasonLimited     = "limited"     // the recipient has had too many mails
	reasonFault       = "fault"       // a bug in the worker; its log says where
	reasonRepeated    = "repeated"    // the task came again after the mail had ended
)

// errNoKey says that a mail began under a key that the ring does not have (any more, or yet).
var errNoKey = errors.New("the key ring has no key of this id; if it was removed, put it back; if it is new, the file here is stale")

// composeError says that a mail cannot be put into words. Trying again does not help.
type composeError struct{ err error }

func (e *composeError) Error() string { return "compose the mail: " + e.err.Error() }
func (e *composeError) Unwrap() error { return e.err }

// verdict is what follows from a failed try: an outcome, or another try after delay, which doubles with every try
// that counts, up to most.
type verdict struct {
	reason  string
	outcome record.State  // "" for another try
	counts  bool          // the mail pays with a try
	delay   time.Duration // before the second try
	most    time.Duration
	trouble bool // an operator has to look at it
}

// verdictOf says what a failure means. A mail answers for what is the mail's alone: its recipient and its content. What is
// the relay's trouble, or the network's, or ours, costs no mail a try.
func verdictOf(err error) verdict {
	var failure *submission.Error
	switch {
	case errors.Is(err, errTooLate):
		return verdict{reason: reasonLate, outcome: record.Expired}
	case errors.Is(err, errNoKey):
		return verdict{reason: reasonKeyRing, delay: 30 * time.Second, trouble: true}
	case errors.As(err, new(*composeError)):
		return verdict{reason: reasonMessage, outcome: record.Refused, trouble: true}
	case errors.Is(err, record.ErrLostLock):
		return verdict{reason: reasonLocked, delay: record.LockTime}
	case errors.Is(err, context.Canceled):
		return verdict{reason: reasonStopping, delay: time.Second}
	case !errors.As(err, &failure):
		return verdict{reason: reasonRedis, delay: redisDelay, trouble: true}
	case failure.Ambiguous:
		// The relay may be at work on it still; what it takes twice it can recognise by the Message-ID.
		return verdict{reason: reasonUnconfirmed, counts: true, delay: time.Minute, most: 10 * time.Minute}
	}
	switch failure.Scope {
	case submission.ScopeRecipient:
		if failure.Permanent {
			return verdict{reason: reasonRecipient, outcome: record.Refused}
		}
		// Greylisting wants a minute at least.
		return verdict{reason: reasonRecipient, counts: true, delay: time.Minute, most: 30 * time.Minute}
	case submission.ScopeMessage:
		if failure.Permanent {
			return verdict{reason: reasonMessage, outcome: record.Refused, trouble: true}
		}
		return verdict{reason: reasonMessage, counts: true, delay: time.Minute, most: 30 * time.Minute}
	}
	// The relay's trouble, or the way's to it. Before the relay has heard of the mail, the breakers see to it that nobody
	// knocks too often, and a mail needs no wait of its own.
	v := verdict{reason: reasonRelay, delay: time.Second, trouble: failure.Permanent}
	switch failure.Scope {
	case submission.ScopeCredentials:
		v.reason = reasonCredentials
	case submission.ScopeNetwork:
		v.reason = reasonNetwork
	}
	switch failure.Phase {
	case submission.PhaseMail, submission.PhaseRcpt, submission.PhaseData, submission.PhaseBody, submission.PhaseDot:
		v.delay = 15 * time.Second
		if failure.Permanent {
			v.delay = 5 * time.Minute // a policy: who asks again and again makes it worse
		}
	}
	return v
}

const (
	newerDelay = 30 * time.Second
	redisDelay = 5 * time.Second
	faultDelay = time.Minute
	// A task that has waited in place for a relay goes to the end of its queue, and others take their turn.
	noRelayDelay = time.Second
	// recoveredDelay is for a task that asynq takes back from a worker whose lease ended. After an outage of Redis that worker
	// may be alive, and needs a moment to write down what it did.
	recoveredDelay = 5 * time.Second
	// minDelay is the shortest wait that is worth a further try at the end of a mail's life.
	minDelay = 2 * time.Second
)

// lateAt is when a mail has become too old to be of use: what arrives with less than a fifth of its life left is
// dead before somebody has typed it.
func lateAt(t tasks.Task) time.Time {
	return t.ExpiresAt.Add(-t.ExpiresAt.Sub(t.CreatedAt) / 5)
}

// delayOf lays out the next try inside what is left of the mail's life, or reports that there is no room for one. A
// wait that would miss the end is halved into what is left, so that a mail has its last chance shortly before it.
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

// later is a task for later.
type later struct {
	delay  time.Duration
	reason string
}

func (l *later) Error() string {
	return fmt.Sprintf("%s; again in %v", l.reason, l.delay.Round(time.Second))
}

// retryDelay tells asynq when. Other errors than ours are its own: a lease that ended.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var l *later
	if errors.As(err, &l) {
		return l.delay
	}
	return recoveredDelay
}

// final tells asynq what to do with a task whose mail has ended: what somebody may have to look at is archived, where
// asynqmon shows it; what came too late, or was one too many, is dropped. The record has the outcome either way.
func final(outcome record.State, reason string) error {
	if outcome == record.Expired || outcome == record.Revoked || reason == reasonLimited {
		return fmt.Errorf("%s: %s: %w", outcome, reason, asynq.RevokeTask)
	}
	return fmt.Errorf("%s: %s: %w", outcome, reason, asynq.SkipRetry)
}
