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

// unknownPause is how long a relay is left alone when Allow could not tell.
const unknownPause = time.Second

// overPause is how long a relay that is over its limit is left alone before Allow is asked again: other workers may have given
// back what they had counted and did not use.
const overPause = time.Minute

// unusedTime is how long Unused may take.
const unusedTime = 5 * time.Second

// Options are what Relays needs from outside.
type Options struct {
	// Allow asks whether the relay with this name may take one more message now, under limits that all workers share. It
	// returns 0, and has then counted the message, or how long it takes until the relay may. An error means that it cannot
	// be told; it is asked again after a second. One call at a time is made for each relay. nil: no limits.
	Allow func(ctx context.Context, relay string) (time.Duration, error)

	// Unused takes back what Allow has counted for a message that the relay was then not given. nil: it stays counted.
	Unused func(ctx context.Context, relay string)

	// Changed is told when a relay's breaker opens, why, and until when the relay is left alone at the earliest; and when
	// it closes, with a nil cause. A failed probe, which leaves it open, is not told. It is called in order and under a lock: it
	// must be quick, and must not call Relays. For the log; nil: nobody wants to know.
	Changed func(relay string, open bool, cause error, until time.Time)

	linkPause, longPause time.Duration // for tests; 0: the constants
}

// Relays hands each message to the first relay, in order of priority, that can take it. A relay that fails is left alone for
// a while: after 5 failures in a row for 10 seconds, and for 5 minutes at once where a person has to mend something or a
// quota has to renew. Then one message probes it. It is safe for use by several goroutines.
type Relays struct {
	members  []*member
	allow    func(ctx context.Context, relay string) (time.Duration, error)
	giveBack func(ctx context.Context, relay string)

	mu   sync.Mutex
	news chan struct{} // closed, and made anew, when a relay that could not be tried may have become one that can
}

// member is one relay of several.
type member struct {
	client   *Client
	breakers *breakers

	asking    chan struct{} // holds one value while Allow is being asked
	mu        sync.Mutex
	overUntil time.Time // over its limit until then
	overWhy   error
}

// NewRelays returns Relays for at least one relay, the preferred one first, or everything that is wrong with them. Names must
// be unique. It does not connect.
func NewRelays(relays []Relay, o Options) (*Relays, error) {
	r := &Relays{allow: o.Allow, giveBack: o.Unused, news: make(chan struct{})}
	if o.Changed == nil {
		o.Changed = func(string, bool, error, time.Time) {}
	}
	if o.linkPause == 0 {
		o.linkPause, o.longPause = linkPause, longPause
	}
	var errs []error
	if len(relays) == 0 {
		errs = append(errs, errors.New("no relay is configured; at least one is needed"))
	}
	named := map[string]bool{}
	for _, relay := range relays {
		if named[relay.Name] {
			errs = append(errs, fmt.Errorf("relay %q: there are two of that name; names must be unique", relay.Name))
		}
		named[relay.Name] = true
		client, err := NewClient(relay)
		errs = append(errs, err)
		r.members = append(r.members, &member{
			client: client, asking: make(chan struct{}, 1),
			breakers: newBreakers(o.linkPause, o.longPause, func(open bool, cause error, until time.Time) {
				o.Changed(relay.Name, open, cause, until)
			}),
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Acquire waits until some relay may be tried; ctx bounds the wait. Its error wraps ErrNoRelay, ctx's error, and why the last
// relay could not be tried, if that is known. It sends nothing over the network, but may call Allow.
func (r *Relays) Acquire(ctx context.Context) (*Turn, error) {
	var cause error
	for ctx.Err() == nil {
		news := r.listen() // before looking, so that nothing is missed
		var next time.Time
		for _, m := range r.members {
			done, until, why := r.try(ctx, m)
			if done != nil {
				return &Turn{relays: r, member: m, done: done}, nil
			}
			if ctx.Err() == nil {
				cause = why
			}
			if !until.IsZero() && (next.IsZero() || until.Before(next)) {
				next = until
			}
		}
		wait(ctx, news, next)
	}
	if cause == nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRelay, ctx.Err())
	}
	return nil, fmt.Errorf("%w: %w: %w", ErrNoRelay, ctx.Err(), cause)
}

// wait returns at the time next if it is not zero, when news comes, or when ctx ends.
func wait(ctx context.Context, news <-chan struct{}, next time.Time) {
	var alarm <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-alarm:
	case <-news:
	case <-ctx.Done():
	}
}

// try asks for the right to send one message through m. If it is given, done must be called with what came of it. Otherwise
// cause says why not, and until when it makes no sense to ask again; zero: before there is news.
func (r *Relays) try(ctx context.Context, m *member) (done func(error), until time.Time, cause error) {
	if until, cause := m.over(); cause != nil {
		return nil, until, cause
	}
	end, until, cause := m.breakers.admit()
	if end == nil {
		return nil, until, cause
	}
	done = func(err error) {
		end(err)
		r.announce()
	}
	if r.allow == nil {
		return done, time.Time{}, nil
	}
	// The limits are asked last, since they count.
	if until, cause := r.ask(ctx, m); cause != nil {
		done(errNothingLearnt)
		return nil, until, cause
	}
	return done, time.Time{}, nil
}

// ask calls Allow, unless somebody has learnt in the meantime that m is over its limit.
func (r *Relays) ask(ctx context.Context, m *member) (until time.Time, cause error) {
	select {
	case m.asking <- struct{}{}:
		defer func() { <-m.asking }()
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	if until, cause := m.over(); cause != nil {
		return until, cause
	}
	pause, err := r.allow(ctx, m.client.relay.Name)
	switch {
	case ctx.Err() != nil:
		return time.Time{}, ctx.Err()
	case err != nil:
		cause, pause = fmt.Errorf("relay %s: its limits are not known: %w", m.client.relay.Name, err), unknownPause
	case pause > 0:
		cause = fmt.Errorf("relay %s: it is over its limit until %s", m.client.relay.Name, time.Now().Add(pause).UTC().Format(time.RFC3339))
	default:
		return time.Time{}, nil
	}
	until = time.Now().Add(min(pause, overPause))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.overUntil, m.overWhy = until, cause
	return until, cause
}

// unused gives back what ask has counted for a message that m was not given.
func (r *Relays) unused(ctx context.Context, m *member) {
	if r.giveBack == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, unusedTime)
	defer cancel()
	r.giveBack(ctx, m.client.relay.Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.overUntil = time.Time{}
}

// over returns until when m is over its limit, and what to say of it, or nil.
func (m *member) over() (until time.Time, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().Before(m.overUntil) {
		return m.overUntil, m.overWhy
	}
	return time.Time{}, nil
}

func (r *Relays) listen() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

func (r *Relays) announce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.news)
	r.news = make(chan struct{})
}

// CheckResult is what Check learnt about one relay.
type CheckResult struct {
	Relay string
	Info  Info  // if Err is nil
	Err   error // an *Error
}

// Check connects to every relay, logs in and leaves, whatever their breakers say, and returns the results in order of
// priority. It sends nothing.
func (r *Relays) Check(ctx context.Context) []CheckResult {
	results := make([]CheckResult, len(r.members))
	var checks sync.WaitGroup
	for i, m := range r.members {
		checks.Go(func() {
			info, err := m.client.Check(ctx)
			results[i] = CheckResult{Relay: m.client.relay.Name, Info: info, Err: err}
		})
	}
	checks.Wait()
	return results
}

// Close refuses further messages, waits for those under way, and ends all sessions. To hurry it, cancel their contexts.
func (r *Relays) Close() error {
	var closing sync.WaitGroup
	for _, m := range r.members {
		closing.Go(func() { _ = m.client.Close() })
	}
	closing.Wait()
	return nil
}
