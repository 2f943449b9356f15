package submission

import (
	"errors"
	"sync"
	"time"
)

const (
	// shortPause follows maxFailures in a row: the relay is down, or cannot be reached.
	maxFailures = 5
	shortPause  = 10 * time.Second
	// longPause follows a failure that a person has to fix, or that ends when a quota renews. Providers
	// lock out an account that keeps retrying.
	longPause = 5 * time.Minute
)

// errInconclusive is the outcome of an attempt that says nothing about the relay.
var errInconclusive = errors.New("nothing learnt about the relay")

// breaker is a circuit breaker with two lengths of pause. While it is open, the relay is not tried.
// When its pause is over, one attempt goes through, the probe. Once a probe has succeeded, the circuit
// closes.
type breaker struct {
	short, long time.Duration
	tell        func(open bool, cause error, until time.Time)

	mu       sync.Mutex
	failures int           // in a row, while closed
	cause    error         // why it is open; nil while closed
	pause    time.Duration // the longest that was told since it opened
	until    time.Time     // while open, when a probe may go
	probing  bool
	epoch    int // counts openings and closings: an attempt begun in an earlier one says nothing about now
}

func newBreaker(short, long time.Duration, tell func(open bool, cause error, until time.Time)) *breaker {
	return &breaker{short: short, long: long, tell: tell}
}

// admit asks whether the relay may be tried. If so, the caller must call done with the outcome.
// Otherwise cause says why not, and until says when to ask again; zero: when the probe under way has
// ended.
func (b *breaker) admit() (done func(error), until time.Time, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.cause == nil:
	case b.probing:
		return nil, time.Time{}, b.cause
	case time.Now().Before(b.until):
		return nil, b.until, b.cause
	default:
		b.probing = true
	}
	epoch := b.epoch
	return func(err error) { b.done(epoch, err) }, time.Time{}, nil
}

func (b *breaker) done(epoch int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if epoch != b.epoch {
		return
	}
	b.probing = false
	switch pause := outcome(err); pause {
	case inconclusive:
	case PauseNone:
		b.closed()
	case PauseShort:
		b.failures++
		if b.cause != nil || b.failures >= maxFailures {
			b.opened(err, b.short)
		}
	case PauseLong:
		b.opened(err, b.long)
	}
}

// opened opens the circuit, or keeps it open after a failed probe. A failed probe is not told,
// unless it asks for a longer pause. b.mu is held.
func (b *breaker) opened(cause error, pause time.Duration) {
	b.failures, b.cause, b.until = 0, cause, time.Now().Add(pause)
	b.epoch++
	if pause > b.pause {
		b.pause = pause
		b.tell(true, cause, b.until)
	}
}

// closed records that the relay works. b.mu is held.
func (b *breaker) closed() {
	b.failures = 0
	if b.cause != nil {
		b.cause, b.pause = nil, 0
		b.epoch++
		b.tell(false, nil, time.Time{})
	}
}

// inconclusive is the outcome that changes nothing.
const inconclusive = Pause("inconclusive")

// outcome says what pause an attempt asks for; PauseNone means that the relay works.
func outcome(err error) Pause {
	var e *Error
	switch {
	case err == nil:
		return PauseNone
	case !errors.As(err, &e), e.Scope == ScopeCaller:
		return inconclusive
	case e.Pause() == PauseNone && e.Code == 0: // the relay was not asked
		return inconclusive
	}
	return e.Pause()
}
