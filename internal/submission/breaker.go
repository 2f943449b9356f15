package submission

import (
	"errors"
	"sync"
	"time"
)

const (
	// shortPause follows maxFailures in a row: the relay is down, cannot be reached, or refuses mails for
	// what it thinks of us.
	maxFailures = 5
	shortPause  = 10 * time.Second
	// longPause follows a failure that a person has to fix. Providers lock out an account that keeps
	// retrying.
	longPause = 5 * time.Minute
	// minDomains is from how many domains the recipients must be when only refusals of recipients speak
	// against a relay: mails to odd addresses must not suspend it.
	minDomains = 3
	// minWait is the first wait after "too much for now". It doubles while the relay goes on saying so.
	minWait = 2 * time.Second
)

var (
	// errInconclusive is the outcome of an attempt that says nothing about the relay.
	errInconclusive = errors.New("nothing learnt about the relay")
	// errUnused is the outcome of one that was not made.
	errUnused = errors.New("the relay was not tried")
)

// breaker is a circuit breaker with two lengths of pause. While it is open, the relay is not tried.
// When its pause is over, one attempt goes through, the probe. Once a probe has succeeded, the circuit
// closes.
//
// A circuit that opened for nothing but refusals of recipients is soft: it sends mails to the next
// relay, and where there is none, this one is tried nevertheless.
type breaker struct {
	short, long time.Duration
	tell        func(open bool, cause error, until time.Time)

	mu       sync.Mutex
	failures int             // in a row, while closed
	hard     bool            // one of them had nothing to do with a recipient
	domains  map[string]bool // of the recipients for which it failed
	cause    error           // why it is open; nil while closed
	pause    time.Duration   // the longest that was told since it opened
	until    time.Time       // while open, when a probe may go
	probing  bool
	epoch    int // counts openings and closings: an attempt begun in an earlier one says nothing about now

	wait      time.Duration // after "too much for now"; 0 once a mail was taken
	waitUntil time.Time
}

func newBreaker(short, long time.Duration, tell func(open bool, cause error, until time.Time)) *breaker {
	return &breaker{short: short, long: long, tell: tell, domains: map[string]bool{}}
}

// admit asks whether the relay may be tried. If so, the caller must call done with the outcome.
// Otherwise cause says why not, and until says when to ask again; zero: when the probe under way has
// ended. last says that no other relay can be tried.
func (b *breaker) admit(last bool) (done func(error), until time.Time, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.cause == nil, last && !b.hard:
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
	var e *Error
	if errors.As(err, &e) && e.Limited {
		e.Wait = b.limited()
	}
	if epoch != b.epoch {
		return
	}
	b.probing = false
	switch pause := outcome(err); pause {
	case inconclusive:
	case PauseNone:
		b.works(err == nil)
	case PauseShort:
		b.failed(e)
	case PauseLong:
		b.hard = true
		b.opened(err, b.long)
	}
}

// limited returns how long to wait after "too much for now". Replies that come while mails wait do not
// make the wait longer. b.mu is held.
func (b *breaker) limited() time.Duration {
	if now := time.Now(); !now.Before(b.waitUntil) {
		b.wait = min(max(minWait, 2*b.wait), b.long)
		b.waitUntil = now.Add(b.wait)
	}
	return b.wait
}

// failed counts a failure. b.mu is held.
func (b *breaker) failed(e *Error) {
	b.failures++
	if !e.refusedAfterRcpt() {
		b.hard = true
	} else if len(b.domains) < minDomains {
		b.domains[e.domain] = true
	}
	several := len(b.domains) >= minDomains
	if several && e.Limited { // more of it would make it worse
		b.hard = true
	}
	if b.cause != nil || b.failures >= maxFailures && (b.hard || several) {
		b.opened(e, max(b.short, e.Wait))
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

// works records that the relay answers; taken says that it took a mail. b.mu is held.
func (b *breaker) works(taken bool) {
	if taken {
		b.wait = 0
	}
	b.failures, b.hard = 0, false
	clear(b.domains)
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
