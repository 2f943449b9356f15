package submission

import (
	"bytes"
	"context"
	"errors"
	"io"
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
