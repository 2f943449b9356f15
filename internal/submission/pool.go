package submission

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// How long a session is kept. Servers end one that is idle, and many end one that has carried a hundred messages; who
// leaves first is never surprised.
const (
	maxIdle     = 30 * time.Second
	maxAge      = 5 * time.Minute
	maxMessages = 100
	// startConnections is how many sessions a relay gets before it has taken a message.
	startConnections = 5
	// calmTime is how long the pool does not grow after the relay turned a session away.
	calmTime = time.Minute
	// slowFailure is how long a failed dial takes at least for those in line to be spared theirs.
	slowFailure = 500 * time.Millisecond
	// probeAfter is how long a session may have been idle before it is looked at before it is used.
	probeAfter = time.Second
)

// pool keeps the sessions of one relay, up to a limit, and lends them in the order in which callers came. It begins gently
// and allows one more with every message that the relay takes, until the relay turns one away.
type pool struct {
	relay *Relay

	mu      sync.Mutex
	limit   int // how many places there may be now
	open    int // how many are taken: by sessions lent, idle, being dialled or saying QUIT
	lent    int // how many of these are in the hands of callers
	calm    time.Time
	idle    []*session   // the one used last is at the end, so that the others grow old and go
	waiting []chan grant // first come, first served; each has room for its grant

	background sync.WaitGroup // QUITs under way, and the timers of idle sessions
}

// grant is what a caller in line is given: an idle session, or why there will be none, or else the right to dial one.
type grant struct {
	session *session
	err     error
}

func newPool(relay *Relay) *pool {
	return &pool{relay: relay, limit: min(startConnections, relay.MaxConnections)}
}

// get lends a session: an idle one that still looks well, or a new one. It goes back by put.
func (p *pool) get(ctx context.Context) (*session, error) {
	for {
		s, err := p.queue(ctx)
		switch {
		case err != nil:
			return nil, err
		case s == nil:
			begun := time.Now()
			if s, err = open(ctx, p.relay); err == nil {
				p.mu.Lock()
				p.lent++
				p.mu.Unlock()
				return s, nil
			}
			if again := p.failed(err, time.Since(begun)); !again {
				return nil, err
			}
		case time.Since(s.parked) < probeAfter || s.silent():
			return s, nil
		default:
			s.kill()
			p.put(s, false)
		}
	}
}

// queue waits in line for an idle session, or for the right to dial a new one, for which it returns nil.
func (p *pool) queue(ctx context.Context) (*session, error) {
	if ctx.Err() != nil {
		return nil, p.relay.broken(ctx, PhaseDial, ctx.Err())
	}
	turn := make(chan grant, 1)
	p.mu.Lock()
	p.waiting = append(p.waiting, turn)
	p.serve()
	p.mu.Unlock()
	select {
	case g := <-turn:
		return g.session, g.err
	case <-ctx.Done():
		p.leaveLine(turn)
		return nil, p.relay.broken(ctx, PhaseDial, ctx.Err())
	}
}

// leaveLine gives up a turn. What was granted in the same moment is the next one's.
func (p *pool) leaveLine(turn chan grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	switch g := <-turn; {
	case g.session != nil:
		p.lent--
		p.park(g.session)
	case g.err == nil:
		p.open--
	}
	p.serve()
}

// serve gives those in line what there is. It comes last in whatever changes that; p.mu is held.
func (p *pool) serve() {
	for len(p.waiting) > 0 {
		var g grant
		switch n := len(p.idle); {
		case n > 0:
			g.session = p.idle[n-1]
			p.unpark(n - 1)
			p.lent++
		case p.open < p.limit:
			p.open++
		default:
			return
		}
		p.grant(g)
	}
}

func (p *pool) grant(g grant) {
	p.waiting[0] <- g
	p.waiting = slices.Delete(p.waiting, 0, 1)
}

// put takes a session back. taken says that it carried a message that the relay took.
func (p *pool) put(s *session, taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent--
	calm := time.Now().Before(p.calm)
	switch {
	case taken && !calm:
		p.limit = min(p.limit+1, p.relay.MaxConnections)
	case s.turnedAway && !calm: // a relay that stops tells every session so, which counts once
		p.limit = max(p.limit-1, 1)
		p.calm = time.Now().Add(calmTime)
	}
	if s.dead || s.messages >= maxMessages || time.Since(s.opened) > maxAge || p.open > p.limit {
		p.retire(s)
	} else {
		p.park(s)
	}
	p.serve()
}

// failed frees the place of a session that could not be opened, and reports whether the caller should get in line again.
func (p *pool) failed(err error, took time.Duration) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.serve()
	p.open--
	var e *Error
	if !errors.As(err, &e) || e.Scope == ScopeCaller {
		return false
	}
	turnedAway := e.Code/100 == 4 && !e.Permanent
	if turnedAway && p.open > 0 {
		// It takes no more sessions than it has. They are enough for all who wait, and the mail need not pay for it.
		p.limit = min(p.limit, p.open)
		p.calm = time.Now().Add(calmTime)
		return true
	}
	if p.lent == 0 {
		p.limit, p.calm = min(startConnections, p.relay.MaxConnections), time.Time{}
	}
	if e.Permanent || p.lent == 0 && (turnedAway || took > slowFailure) {
		// Were those in line to find out for themselves, a dial each, the last would wait for minutes, and a provider that
		// counts refused logins would lock the account.
		for len(p.waiting) > 0 {
			p.grant(grant{err: err})
		}
	}
	return false
}

// park keeps an idle session. p.mu is held.
func (p *pool) park(s *session) {
	s.parked = time.Now()
	p.background.Add(1)
	s.expiry = time.AfterFunc(maxIdle, func() {
		defer p.background.Done()
		p.expire(s)
	})
	p.idle = append(p.idle, s)
}

func (p *pool) unpark(i int) {
	if p.idle[i].expiry.Stop() {
		p.background.Done()
	}
	p.idle = slices.Delete(p.idle, i, i+1)
}

// expire ends a session that nobody has wanted, unless it was lent in the same moment.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, s); i >= 0 {
		p.unpark(i)
		p.retire(s)
	}
}

// retire says QUIT in the background: between a 250 and its record no round trip may stand, since a crash there means a
// second copy. p.mu is held.
func (p *pool) retire(s *session) {
	if s.dead {
		p.open--
		return
	}
	p.background.Go(func() {
		s.quit()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
		p.serve()
	})
}

// close ends the idle sessions and waits for all that goes on in the background. Nobody may be using the pool.
func (p *pool) close() {
	p.mu.Lock()
	for len(p.idle) > 0 {
		s := p.idle[0]
		p.unpark(0)
		p.retire(s)
	}
	p.mu.Unlock()
	p.background.Wait()
}
