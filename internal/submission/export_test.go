package submission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"example.com/securemail/internal/secret"
)

// What the external tests see of the inside.

const BlockSize = blockSize

var (
	BadAddress = badAddress
	BadText    = badText
	Stuff      = stuff
	Literal    = literal
)

type Reply struct {
	Code              int
	Enhanced, QueueID string
	Lines             []string
}

func ParseReply(raw []byte) (Reply, int, error) {
	left := bytes.NewReader(raw)
	r := newReplyReader(left)
	rep, err := readReply(r)
	return Reply{rep.code, rep.enhanced, rep.queueID(), rep.lines}, len(raw) - left.Len() - r.Buffered(), err
}

// Refused is the error for a reply with these words.
func Refused(phase Phase, code int, enhanced string, lines ...string) *Error {
	return (&session{relay: &Relay{Name: "test"}}).refused(phase, reply{code: code, enhanced: enhanced, lines: lines})
}

// RefusedFor is the same for a recipient of this domain.
func RefusedFor(domain string, phase Phase, code int, enhanced string, lines ...string) *Error {
	e := Refused(phase, code, enhanced, lines...)
	e.domain = domain
	return e
}

// KindOf says in one word what a reply is about.
func KindOf(phase Phase, code int, enhanced string, lines []string) string {
	return string(kindOf(phase, code, enhanced, lines))
}

// Said is what an operator sees of a reply to a message, from a relay with this login.
func Said(lines []string, user, password string, msg []byte) string {
	s := &session{relay: &Relay{Username: user, Password: secret.New(password)}, message: &message{wire: msg}}
	return said(lines, s.sent())
}

func Broken(ctx context.Context, phase Phase, err error) *Error {
	return (&Relay{Name: "test", Host: "mail.example.com", Port: 587, TLS: StartTLS}).broken(ctx, phase, err)
}

// Client is one relay without the others.
type Client = relay

func NewClient(settings Relay) (*Client, error) {
	return newRelay(settings, newBreaker(shortPause, longPause, func(bool, error, time.Time) {}))
}

func (r *relay) Submit(ctx context.Context, env Envelope, msg []byte, beforeDot func(context.Context) error) (Acceptance, error) {
	return r.submit(ctx, env, msg, beforeDot)
}

func (r *relay) Check(ctx context.Context) (Info, error) { return r.check(ctx) }

func (r *relay) Close() error {
	r.close()
	return nil
}

// Session is a session as go-mail's SendCloser.
type Session struct {
	ctx context.Context
	s   *session
}

func (r *relay) Open(ctx context.Context) (*Session, error) {
	s, err := open(ctx, &r.settings)
	return &Session{ctx, s}, err
}

func (a *Session) Send(from string, to []string, msg io.WriterTo) error {
	if len(to) != 1 {
		return errors.New("one recipient, please")
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return err
	}
	m, err := prepare(a.s.relay.Name, nil, Envelope{From: from, To: to[0]}, b.Bytes())
	if err != nil {
		return err
	}
	_, err = a.s.send(a.ctx, m, time.Now().Add(time.Hour), nil)
	return err
}

func (a *Session) Close() error {
	a.s.quit()
	return nil
}

func (a *Session) Dead() bool { return a.s.dead }

// Pool says how many sessions there are, how many callers wait for one, and how many sessions there
// may be.
func (r *relay) Pool() (open, waiting, limit int) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return r.pool.open, len(r.pool.waiting), r.pool.limit
}

// Age makes idle sessions older than they are.
func (r *relay) Age(d time.Duration) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	for _, s := range r.pool.idle {
		s.idleSince, s.opened = s.idleSince.Add(-d), s.opened.Add(-d)
	}
}

// ExpireIdle does what happens to sessions that were idle for too long.
func (r *relay) ExpireIdle() {
	r.pool.mu.Lock()
	idle := slices.Clone(r.pool.idle)
	r.pool.mu.Unlock()
	for _, s := range idle {
		r.pool.expire(s)
	}
}

// Lose closes the connections of idle sessions without telling the pool.
func (r *relay) Lose() {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	for _, s := range r.pool.idle {
		s.conn.tcp.Close()
	}
}

// GrantAndLeave has a caller leave the line in the moment in which it is granted a session.
func (r *relay) GrantAndLeave() {
	turn := make(chan grant, 1)
	r.pool.mu.Lock()
	r.pool.waiting = append(r.pool.waiting, turn)
	r.pool.serve()
	r.pool.mu.Unlock()
	r.pool.cancelWait(turn)
}

// WithPauses makes the breakers' pauses short enough for a test.
func WithPauses(o Options, short, long time.Duration) Options {
	o.shortPause, o.longPause = short, long
	return o
}

// End ends a turn as a Submit with this outcome would.
func (t *Turn) End(outcome error) {
	t.done(context.Background(), outcome)
	t.done = nil
}

// Relay names the relay that was found.
func (t *Turn) Relay() string { return t.relay.settings.Name }
