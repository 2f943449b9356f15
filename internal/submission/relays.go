package submission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNoRelay is wrapped by what Acquire returns when no relay could be tried in time.
var ErrNoRelay = errors.New("submission: no relay can take a mail for now")

const (
	// unknownPause is how long a relay is not tried after Reserve failed.
	unknownPause = time.Second
	// overPause is how long a relay that is over its limit is not tried before Reserve is called again:
	// other workers may have released what they had reserved.
	overPause = time.Minute
	// releaseTime is how long Release may take.
	releaseTime = 5 * time.Second
)

// Limiter keeps relays to limits that all workers share.
type Limiter interface {
	// Reserve counts one more message for the relay with this name and returns 0, or returns how long
	// it takes until the relay may take one. An error means that the limits are not known; Reserve is
	// called again after a second. It is called once at a time for each relay.
	Reserve(ctx context.Context, relay string) (wait time.Duration, err error)

	// Release takes back what Reserve has counted for a message that the relay was not given.
	Release(ctx context.Context, relay string)
}

// Options are what Relays needs from outside.
type Options struct {
	Limits Limiter // nil: no limits

	// Changed is called when a relay's circuit opens, with the cause and the earliest time at which the
	// relay is tried again; and when it closes, with a nil cause. A failed probe, which leaves the
	// circuit open, is not reported. Changed is called in order and under a lock: it must be quick, and
	// must not call Relays. It is optional.
	Changed func(relay string, open bool, cause error, until time.Time)

	shortPause, longPause time.Duration // for tests; 0: the constants
}

// Relays hands each message to the first relay, in order of priority, that can take it. A relay that
// fails is suspended: after 5 failures in a row for 10 seconds, and for 5 minutes at once where a
// person has to fix its login or its certificate. Then one message probes it. Relays is safe for use
// by several goroutines.
type Relays struct {
	relays []*relay
	limits Limiter

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when a relay that could not be tried may have become one that can
}

// NewRelays returns Relays for at least one relay, the preferred one first, or everything that is
// wrong with them. Names must be unique. It does not connect.
func NewRelays(relays []Relay, o Options) (*Relays, error) {
	r := &Relays{limits: o.Limits, changed: make(chan struct{})}
	if o.Changed == nil {
		o.Changed = func(string, bool, error, time.Time) {}
	}
	if o.shortPause == 0 {
		o.shortPause, o.longPause = shortPause, longPause
	}
	var errs []error
	if len(relays) == 0 {
		errs = append(errs, errors.New("no relay is configured; at least one is needed"))
	}
	named := map[string]bool{}
	for _, settings := range relays {
		if named[settings.Name] {
			errs = append(errs, fmt.Errorf("relay %q: there are two of that name; names must be unique", settings.Name))
		}
		named[settings.Name] = true
		one, err := newRelay(settings, newBreaker(o.shortPause, o.longPause, func(open bool, cause error, until time.Time) {
			o.Changed(settings.Name, open, cause, until)
		}))
		errs = append(errs, err)
		r.relays = append(r.relays, one)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Acquire waits until some relay may be tried; ctx bounds the wait. Its error wraps ErrNoRelay, ctx's
// error, and why the last relay could not be tried, if that is known. It sends nothing over the
// network, but may call Limiter.Reserve.
func (r *Relays) Acquire(ctx context.Context) (*Turn, error) {
	var cause error
	for ctx.Err() == nil {
		changed := r.waitChannel() // before looking, so that no change is missed
		turn, next, why := r.look(ctx, false)
		if turn == nil {
			if turn, _, _ = r.look(ctx, true); turn == nil && ctx.Err() == nil {
				cause = why
			}
		}
		if turn != nil {
			return turn, nil
		}
		wait(ctx, changed, next)
	}
	if cause == nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRelay, ctx.Err())
	}
	return nil, fmt.Errorf("%w: %w: %w", ErrNoRelay, ctx.Err(), cause)
}

// look returns a turn for the first relay that may be tried now. If there is none, cause says why the
// last one may not, and next when to look again; zero: after the next change. last is breaker.admit's.
func (r *Relays) look(ctx context.Context, last bool) (turn *Turn, next time.Time, cause error) {
	for _, one := range r.relays {
		done, until, why := r.try(ctx, one, last)
		if done != nil {
			return &Turn{relays: r, relay: one, done: done}, time.Time{}, nil
		}
		cause = why
		if !until.IsZero() && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	return nil, next, cause
}

// wait returns at the time next if it is not zero, when changed is closed, or when ctx ends.
func wait(ctx context.Context, changed <-chan struct{}, next time.Time) {
	var alarm <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-alarm:
	case <-changed:
	case <-ctx.Done():
	}
}

// try asks for the right to send one message through one. If it is given, the caller must call done
// with the outcome. Otherwise cause says why not, and until says when to ask again; zero: after the
// next change.
func (r *Relays) try(ctx context.Context, one *relay, last bool) (done func(context.Context, error), until time.Time, cause error) {
	if until, cause := one.over(); cause != nil {
		return nil, until, cause
	}
	end, until, cause := one.breaker.admit(last)
	if end == nil {
		return nil, until, cause
	}
	if r.limits != nil { // last, since it counts
		if until, cause := r.reserve(ctx, one); cause != nil {
			end(errInconclusive)
			r.notify()
			return nil, until, cause
		}
	}
	return func(ctx context.Context, err error) {
		if r.limits != nil && notGiven(err) {
			r.release(ctx, one)
		}
		end(err)
		r.notify()
	}, time.Time{}, nil
}

// notGiven reports whether the relay was not even offered the message.
func notGiven(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return err == errUnused
	}
	return in(e.Phase, "prepare dial tls greeting ehlo starttls auth") || e.Phase == PhaseMail && e.Code == 0 && e.Err == nil
}

// reserve calls Limiter.Reserve, unless another caller has learnt in the meantime that the relay is
// over its limit.
func (r *Relays) reserve(ctx context.Context, one *relay) (until time.Time, cause error) {
	select {
	case one.reserving <- struct{}{}:
		defer func() { <-one.reserving }()
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	if until, cause := one.over(); cause != nil {
		return until, cause
	}
	name := one.settings.Name
	pause, err := r.limits.Reserve(ctx, name)
	switch {
	case ctx.Err() != nil:
		return time.Time{}, ctx.Err()
	case err != nil:
		cause, pause = fmt.Errorf("relay %s: its limits are not known: %w", name, err), unknownPause
	case pause > 0:
		cause = fmt.Errorf("relay %s: it is over its limit until %s", name, time.Now().Add(pause).UTC().Format(time.RFC3339))
	default:
		return time.Time{}, nil
	}
	until = time.Now().Add(min(pause, overPause))
	one.mu.Lock()
	defer one.mu.Unlock()
	one.overUntil, one.limitErr = until, cause
	return until, cause
}

// release takes back what reserve has counted for a message that the relay was not given.
func (r *Relays) release(ctx context.Context, one *relay) {
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	r.limits.Release(ctx, one.settings.Name)
	one.mu.Lock()
	defer one.mu.Unlock()
	one.overUntil = time.Time{}
}

// over returns until when the relay is over its limit, and why; or nil.
func (r *relay) over() (until time.Time, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.overUntil) {
		return r.overUntil, r.limitErr
	}
	return time.Time{}, nil
}

func (r *Relays) waitChannel() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *Relays) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// CheckResult is what Check learnt about one relay.
type CheckResult struct {
	Relay string
	Info  Info  // if Err is nil
	Err   error // an *Error
}

// Check connects to every relay, logs in and leaves, whatever the state of its circuit, and returns
// the results in order of priority. It sends nothing.
func (r *Relays) Check(ctx context.Context) []CheckResult {
	results := make([]CheckResult, len(r.relays))
	var checks sync.WaitGroup
	for i, one := range r.relays {
		checks.Go(func() {
			info, err := one.check(ctx)
			results[i] = CheckResult{Relay: one.settings.Name, Info: info, Err: err}
		})
	}
	checks.Wait()
	return results
}

// Close refuses further messages, waits for those under way, and ends all sessions. To hurry it,
// cancel their contexts.
func (r *Relays) Close() error {
	var closing sync.WaitGroup
	for _, one := range r.relays {
		closing.Go(one.close)
	}
	closing.Wait()
	return nil
}
