package submission

import (
	"context"
	"errors"
)

// Turn is the right to send one message, through the relay that was found for it. It ends with Submit
// or Release, one of which must be called. It is not safe for use by several goroutines.
type Turn struct {
	relays *Relays
	relay  *relay
	done   func(context.Context, error) // nil once it has ended
}

// Release ends an unused turn, and releases what was reserved for it under the relay's limits. After
// Submit it does nothing.
func (t *Turn) Release(ctx context.Context) {
	if t.done != nil {
		t.done(ctx, errUnused)
		t.done = nil
	}
}

// Submit hands one message to the relay of this turn. If prefer is the name of a relay that may be
// tried now, that one comes first: an earlier attempt there may have been taken, and the same relay
// can recognise it. Where a relay fails, has not taken the mail, and the failure is not known to be the
// mail's own, the others are tried at once, in order of priority.
//
// msg is a whole message (RFC 5322) whose only line end is CRLF, with lines of at most 998 octets and
// no NUL; a final CRLF is added where it is missing.
//
// beforeDot, if not nil, is called right before the last block of the body, the one with the final
// dot, is written. If it returns an error, the connection is closed instead, so that the server drops
// the half message, and the error is wrapped.
//
// A nil error means that the server has taken responsibility. Any other is the last relay's *Error;
// its Ambiguous says whether that server may have taken the message nevertheless. Submit ends when ctx
// does, except between the final dot and the reply to it: that reply is awaited for
// Timeouts.FinalReply, because without it the message would have to be sent again. In any case each
// relay's attempt ends after its Timeouts.Total, and the wait for a session.
//
// A further call returns an error without any effect.
func (t *Turn) Submit(ctx context.Context, prefer string, env Envelope, msg []byte, beforeDot func(context.Context) error) (Acceptance, error) {
	if t.done == nil {
		return Acceptance{}, errors.New("submission: this turn is over; acquire one for each message")
	}
	defer t.Release(context.WithoutCancel(ctx))
	var last error
	for _, r := range t.order(prefer) {
		var done func(context.Context, error)
		if r == t.relay {
			done, t.done = t.done, nil
		} else if done, _, _ = t.relays.try(ctx, r, false); done == nil {
			continue
		}
		receipt, err := attempt(ctx, r, done, env, msg, beforeDot)
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.FailsOver() {
			return receipt, err
		}
		last = err
	}
	return Acceptance{}, last
}

// order lists the relays as they are tried: the preferred one, that of the turn, the others.
func (t *Turn) order(prefer string) []*relay {
	order := make([]*relay, 0, len(t.relays.relays)+2)
	for _, r := range t.relays.relays {
		if r.settings.Name == prefer && r != t.relay {
			order = append(order, r)
		}
	}
	order = append(order, t.relay)
	for _, r := range t.relays.relays {
		if r.settings.Name != prefer && r != t.relay {
			order = append(order, r)
		}
	}
	return order
}

// attempt calls done with the outcome, also if beforeDot panics.
func attempt(ctx context.Context, r *relay, done func(context.Context, error), env Envelope, msg []byte, beforeDot func(context.Context) error) (receipt Acceptance, err error) {
	err = errInconclusive
	defer func() { done(context.WithoutCancel(ctx), err) }()
	receipt, err = r.submit(ctx, env, msg, beforeDot)
	var e *Error
	if !errors.As(err, &e) {
		r.opinions.accepted()
		return receipt, err
	}
	own := *e // the pool tells one failure to all in line
	own.domain = domainOf(env.To)
	r.opinions.weigh(&own, env.To)
	return receipt, &own
}
