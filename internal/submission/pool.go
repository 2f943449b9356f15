package submission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// How long a session is kept. Servers end one that is idle, and many end one that has carried a
// hundred messages. A client that leaves first is never surprised.
const (
	maxIdle     = 30 * time.Second
	maxAge      = 5 * time.Minute
	maxMessages = 100
	// maxRefusals is how many refused mails in a row end a session. Servers slow down a client that
	// makes errors, and then hang up (Postfix: smtpd_soft_error_limit), also on the next good mail.
	maxRefusals = 5
	// startConnections is how many sessions a relay gets before it has taken a message.
	startConnections = 5
	// growthPause is how long the pool does not grow after the relay refused a session with 421.
	growthPause = time.Minute
	// slowFailure is how long a failed dial takes at least for those in line not to dial themselves.
	slowFailure = 500 * time.Millisecond
	// probeAfter is how long a session may have been idle before it is checked before its use.
	probeAfter = time.Second
)

// pool keeps the sessions of one relay, up to a limit, and lends them in the order in which callers
// came. It starts at 5 and allows one more with every message that the relay takes, until the relay
// refuses a session.
type pool struct {
	relay *Relay

	mu        sync.Mutex
	limit     int // how many slots there may be now
	open      int // how many are taken: by sessions lent, idle, being dialled or saying QUIT
	lent      int // how many of these are in use by callers
	growAfter time.Time
	idle      []*session   // the one used last is at the end, so that the others grow old and go
	waiting   []chan grant // first come, first served; each has room for its grant

	background sync.WaitGroup // QUITs under way, and the timers of idle sessions
}

// grant is what a caller in line gets: an idle session, a slot in which to dial one, or the reason
// why there will be neither.
type grant struct {
	session *session
	dial    bool
	err     error
}

func newPool(relay *Relay) *pool {
	return &pool{relay: relay, limit: min(startConnections, relay.MaxConnections)}
}

// get lends a session: an idle one that is still open, or a new one. It goes back by put. begun is when
// the wait in line was over.
func (p *pool) get(ctx context.Context) (s *session, begun time.Time, err error) {
	for {
		g := p.wait(ctx)
		begun = time.Now()
		switch {
		case g.err != nil:
			return nil, begun, g.err
		case g.dial:
			s, err := p.dial(ctx)
			if err == nil {
				return s, begun, nil
			}
			if again := p.failed(err, time.Since(begun)); !again {
				return nil, begun, err
			}
		case begun.Sub(g.session.idleSince) < probeAfter || g.session.idleOK():
			return g.session, begun, nil
		default:
			g.session.abort()
			p.put(g.session, false)
		}
	}
}

func (p *pool) dial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.relay.Timeouts.Total, errTotal)
	defer cancel()
	s, err := open(ctx, p.relay)
	if err == nil {
		p.mu.Lock()
		p.lent++
		p.mu.Unlock()
	}
	return s, err
}

// wait waits in line, for as long as the timeouts leave before the dot. That a relay has no session to
// spare says nothing against it.
func (p *pool) wait(ctx context.Context) grant {
	if ctx.Err() != nil {
		return grant{err: p.relay.broken(ctx, PhaseDial, ctx.Err())}
	}
	limit := p.relay.Timeouts.line()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	turn := make(chan grant, 1)
	p.mu.Lock()
	p.waiting = append(p.waiting, turn)
	p.serve()
	p.mu.Unlock()
	select {
	case g := <-turn:
		return g
	case <-ctx.Done():
		p.cancelWait(turn)
		return grant{err: p.relay.broken(ctx, PhaseDial, ctx.Err())}
	case <-timer.C:
		select {
		case g := <-turn: // in the same moment
			return g
		default:
		}
		p.cancelWait(turn)
		return grant{err: &Error{
			Relay: p.relay.Name, Phase: PhaseDial, Scope: ScopeRelay, pause: PauseNone, Err: context.DeadlineExceeded,
			hint: fmt.Sprintf("all connections to the relay were in use for %v; allow more, or use another relay", limit),
		}}
	}
}

// cancelWait leaves the line. What was granted in the same moment goes to the next caller.
func (p *pool) cancelWait(turn chan grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	switch g := <-turn; {
	case g.session != nil:
		p.lent--
		p.putIdle(g.session)
	case g.dial:
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
			p.takeIdle(n - 1)
			p.lent++
		case p.open < p.limit:
			g.dial = true
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
	mayChange := !time.Now().Before(p.growAfter)
	switch {
	case taken && mayChange:
		p.limit = min(p.limit+1, p.relay.MaxConnections)
	case s.refused421 && mayChange: // a relay that stops tells every session so, which counts once
		p.limit = max(p.limit-1, 1)
		p.growAfter = time.Now().Add(growthPause)
	}
	if s.refusals++; taken {
		s.refusals = 0
	}
	if s.dead || s.refusals >= maxRefusals || s.messages >= maxMessages || time.Since(s.opened) > maxAge || p.open > p.limit {
		p.retire(s)
	} else {
		p.putIdle(s)
	}
	p.serve()
}

// failed frees the slot of a session that could not be opened, and reports whether the caller should
// get in line again.
func (p *pool) failed(err error, took time.Duration) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.serve()
	p.open--
	var e *Error
	if !errors.As(err, &e) || e.Scope == ScopeCaller {
		return false
	}
	refused := e.Code/100 == 4 && !e.Permanent
	if refused && p.open > 0 {
		// The relay takes no more sessions than it has. They are enough for all in line, and the mail
		// does not fail for it.
		p.limit = min(p.limit, p.open)
		p.growAfter = time.Now().Add(growthPause)
		return true
	}
	if p.lent == 0 {
		p.limit, p.growAfter = min(startConnections, p.relay.MaxConnections), time.Time{}
	}
	if e.Permanent || p.lent == 0 && (refused || took > slowFailure) {
		// If each of those in line dialled for itself, the last would wait for minutes, and a provider
		// that counts refused logins would lock the account.
		for len(p.waiting) > 0 {
			p.grant(grant{err: err})
		}
	}
	return false
}

// putIdle keeps an idle session. p.mu is held.
func (p *pool) putIdle(s *session) {
	s.idleSince = time.Now()
	p.background.Add(1)
	s.expiry = time.AfterFunc(maxIdle, func() {
		defer p.background.Done()
		p.expire(s)
	})
	p.idle = append(p.idle, s)
}

func (p *pool) takeIdle(i int) {
	if p.idle[i].expiry.Stop() {
		p.background.Done()
	}
	p.idle = slices.Delete(p.idle, i, i+1)
}

// expire ends a session that was idle for too long, unless it was lent in the same moment.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, s); i >= 0 {
		p.takeIdle(i)
		p.retire(s)
	}
}

// retire says QUIT in the background: no round trip may stand between a 250 and its record, since a
// crash there means a second copy. p.mu is held.
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

// close ends the idle sessions and waits for all background work. The pool must not be in use.
func (p *pool) close() {
	p.mu.Lock()
	for len(p.idle) > 0 {
		s := p.idle[0]
		p.takeIdle(0)
		p.retire(s)
	}
	p.mu.Unlock()
	p.background.Wait()
}
