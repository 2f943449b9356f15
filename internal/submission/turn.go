package submission

import (
	"context"
	"errors"
)

// Turn is the right to send one message, through the relay that was found for it. It ends with Submit or Release, one of
// which must be called. It is not safe for use by several goroutines.
type Turn struct {
	relays *Relays
	member *member
	done   func(error) // nil once it has ended
}

// Release gives an unused turn back, and what Allow has counted for it. After Submit it does nothing.
func (t *Turn) Release(ctx context.Context) {
	if t.done != nil {
		t.relays.unused(ctx, t.member)
		t.done(errNothingLearnt)
		t.done = nil
	}
}

// Submit hands one message to the relay of this turn, as Client.Submit does. If prefer is the name of a relay that may be tried
// now, that one comes first: an earlier try there may have been taken, and the same relay can recognise it. Where a relay
// fails before the body has left, and not for the mail's sake, the others are tried at once, in order of priority.
//
// Its error is the last relay's *Error. A further call returns an error without any effect.
func (t *Turn) Submit(ctx context.Context, prefer string, env Envelope, msg []byte, beforeDot func(context.Context) error) (Receipt, error) {
	if t.done == nil {
		return Receipt{}, errors.New("submission: this turn is over; acquire one for each message")
	}
	defer t.Release(context.WithoutCancel(ctx))
	var last error
	for _, m := range t.order(prefer) {
		var done func(error)
		if m == t.member {
			done, t.done = t.done, nil
		} else if done, _, _ = t.relays.try(ctx, m); done == nil {
			continue
		}
		receipt, err := m.submit(ctx, done, env, msg, beforeDot)
		if err == nil || !failsOver(err) {
			return receipt, err
		}
		last = err
	}
	return Receipt{}, last
}

// order is in which order the relays are tried: the preferred one, that of the turn, the others.
func (t *Turn) order(prefer string) []*member {
	order := make([]*member, 0, len(t.relays.members)+2)
	for _, m := range t.relays.members {
		if m.client.relay.Name == prefer && m != t.member {
			order = append(order, m)
		}
	}
	order = append(order, t.member)
	for _, m := range t.relays.members {
		if m.client.relay.Name != prefer && m != t.member {
			order = append(order, m)
		}
	}
	return order
}

// submit reports to the breakers, also if beforeDot panics.
func (m *member) submit(ctx context.Context, done func(error), env Envelope, msg []byte, beforeDot func(context.Context) error) (receipt Receipt, err error) {
	err = errNothingLearnt
	defer func() { done(err) }()
	return m.client.Submit(ctx, env, msg, beforeDot)
}

// failsOver reports whether another relay may take the mail at once: this one cannot have it, and the mail is not to blame.
func failsOver(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Ambiguous {
		return false
	}
	switch e.Phase {
	case PhasePrepare, PhaseBody, PhaseDot:
		return false
	}
	return e.Scope == ScopeNetwork || e.Scope == ScopeRelay || e.Scope == ScopeCredentials
}
