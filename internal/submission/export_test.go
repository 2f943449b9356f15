package submission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// What the external tests may see of the inside.

const BlockSize = blockSize

var (
	BadAddress = badAddress
	BadText    = badText
	Stuff      = stuff
	Literal    = literal
)

type Reply struct {
	Code                    int
	Enhanced, QueueID, Text string
	Lines                   []string
}

func ParseReply(raw []byte) (Reply, int, error) {
	left := bytes.NewReader(raw)
	r := newReplyReader(left)
	rep, err := readReply(r)
	return Reply{rep.code, rep.enhanced, rep.queueID(), rep.text(), rep.lines}, len(raw) - left.Len() - r.Buffered(), err
}

// Rules are those of classify, to be compared only.
func Rules() []rule { return rules }

func RuleFor(phase Phase, code int, enhanced string) any { return classify(phase, code, enhanced) }

func Refused(phase Phase, code int, enhanced string) *Error {
	return (&Relay{Name: "test"}).refused(phase, reply{code: code, enhanced: enhanced})
}

func Broken(ctx context.Context, phase Phase, err error) *Error {
	return (&Relay{Name: "test", Host: "mail.example.com", Port: 587, TLS: StartTLS}).broken(ctx, phase, err)
}

// Session is a session as go-mail's SendCloser.
type Session struct {
	ctx context.Context
	s   *session
}

func (c *Client) Open(ctx context.Context) (*Session, error) {
	s, err := open(ctx, &c.relay)
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
	m, err := prepare(a.s.relay.Name, Envelope{from, to[0]}, b.Bytes())
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

// Pool says how many sessions there are, how many callers wait for one, and how many sessions there may be.
func (c *Client) Pool() (open, waiting, limit int) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.pool.open, len(c.pool.waiting), c.pool.limit
}

// Age makes idle sessions older than they are.
func (c *Client) Age(d time.Duration) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	for _, s := range c.pool.idle {
		s.parked, s.opened = s.parked.Add(-d), s.opened.Add(-d)
	}
}

// ExpireIdle does what happens to sessions that nobody wants.
func (c *Client) ExpireIdle() {
	c.pool.mu.Lock()
	idle := slices.Clone(c.pool.idle)
	c.pool.mu.Unlock()
	for _, s := range idle {
		c.pool.expire(s)
	}
}

// Lose closes the connections of idle sessions behind the pool's back.
func (c *Client) Lose() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	for _, s := range c.pool.idle {
		s.conn.tcp.Close()
	}
}

// GrantAndLeave has a caller leave the line in the moment in which its turn has come.
func (c *Client) GrantAndLeave() {
	turn := make(chan grant, 1)
	c.pool.mu.Lock()
	c.pool.waiting = append(c.pool.waiting, turn)
	c.pool.serve()
	c.pool.mu.Unlock()
	c.pool.leaveLine(turn)
}

// WithPauses makes the breakers' pauses short enough for a test.
func WithPauses(o Options, link, long time.Duration) Options {
	o.linkPause, o.longPause = link, long
	return o
}

// End ends a turn as a Submit with this outcome would.
func (t *Turn) End(outcome error) {
	t.done(outcome)
	t.done = nil
}

// Relay names the relay that was found.
func (t *Turn) Relay() string { return t.member.client.relay.Name }
