package submission

import (
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// linkFailures in a row, and a relay is left alone for linkPause: it is down, or cannot be reached.
	linkFailures = 5
	linkPause    = 10 * time.Second
	// longPause is for what a person has to mend or a day has to pass for. Providers lock out an account that keeps knocking.
	longPause = 5 * time.Minute
)

// errNothingLearnt is the outcome of a try that says nothing about a breaker's trouble.
var errNothingLearnt = errors.New("nothing learnt about the relay")

// breakers decide whether a relay may be tried. There are two, since two kinds of trouble want two lengths of pause. Each
// lets one try through when its pause is over, the probe, and everybody once a probe has gone well.
type breakers struct {
	link, long *breaker

	admitting sync.Mutex // both breakers are asked and told together: nobody sees a probe that one allows and the other denies

	mu   sync.Mutex // guards the fields of both breakers
	tell func(open bool, cause error, until time.Time)
}

type breaker struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	cause error     // why it opened; nil while it is closed
	until time.Time // when the next probe may go
}

func newBreakers(link, long time.Duration, tell func(open bool, cause error, until time.Time)) *breakers {
	b := &breakers{tell: tell}
	b.link, b.long = b.add(linkFailures, link), b.add(1, long)
	return b
}

func (b *breakers) add(failures uint32, pause time.Duration) *breaker {
	one := &breaker{}
	var last error // that was counted. gobreaker calls these functions under its own lock.
	one.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:       pause,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failures },
		IsExcluded:    func(err error) bool { return err == errNothingLearnt },
		IsSuccessful:  func(err error) bool { last = err; return err == nil },
		OnStateChange: func(_ string, from, to gobreaker.State) { b.changed(one, from, to, last, pause) },
	})
	return one
}

// changed tells of a breaker that opens, and of the last one that closes, but not of every probe that fails.
func (b *breakers) changed(one *breaker, from, to gobreaker.State, cause error, pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch to {
	case gobreaker.StateOpen:
		one.cause, one.until = cause, time.Now().Add(pause+1) // gobreaker lets the probe go after its time, not at it
		if from == gobreaker.StateClosed {
			b.tell(true, cause, one.until)
		}
	case gobreaker.StateClosed:
		one.cause = nil
		if b.link.cause == nil && b.long.cause == nil {
			b.tell(false, nil, time.Time{})
		}
	}
}

// admit asks whether the relay may be tried. If so, done must be called with what came of it. Otherwise cause says why not,
// and until when it makes no sense to ask again; zero: before the probe under way has ended.
func (b *breakers) admit() (done func(error), until time.Time, cause error) {
	b.admitting.Lock()
	defer b.admitting.Unlock()
	long, err := b.long.Allow()
	if err != nil {
		until, cause = b.denied(b.long, err)
		return nil, until, cause
	}
	link, err := b.link.Allow()
	if err != nil {
		long(errNothingLearnt)
		until, cause = b.denied(b.link, err)
		return nil, until, cause
	}
	return func(err error) {
		b.admitting.Lock()
		defer b.admitting.Unlock()
		forLink, forLong := judge(err)
		link(forLink)
		long(forLong)
	}, time.Time{}, nil
}

// denied says what admit says of a breaker that denied a try.
func (b *breakers) denied(one *breaker, err error) (until time.Time, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == gobreaker.ErrTooManyRequests {
		return time.Time{}, one.cause
	}
	return one.until, one.cause
}

// judge says what the outcome of a try means to each breaker: nil that the relay works, errNothingLearnt, or a failure.
func judge(err error) (link, long error) {
	var e *Error
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &e), e.Scope == ScopeCaller:
		return errNothingLearnt, errNothingLearnt
	case e.Scope == ScopeRecipient, e.Scope == ScopeMessage:
		if e.Code == 0 { // we refused it ourselves
			return errNothingLearnt, errNothingLearnt
		}
		return nil, nil // whoever refuses one mail is there to take others
	case e.long():
		return errNothingLearnt, err
	}
	return err, errNothingLearnt
}

// long reports whether e is for a person to mend, or for a quota to renew. What a relay says once it knows the recipient
// is not, whatever it says: an odd recipient could stop the mails of all others.
func (e *Error) long() bool {
	switch {
	case e.Enhanced == "5.4.5":
		return true
	// Gmail's answers to too many mails or logins.
	case e.Code == 421 && (e.Enhanced == "4.7.0" || e.Enhanced == "4.7.28"), e.Phase == PhaseAuth && e.Code == 454 && e.Enhanced == "4.7.0":
		return true
	}
	switch e.Phase {
	case PhaseRcpt, PhaseData, PhaseBody, PhaseDot:
		return false
	}
	return e.Permanent || e.Scope == ScopeCredentials
}
