package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// command is one line of an envelope, with how the code of its reply must begin.
type command struct {
	phase Phase
	line  string
	want  string
}

// send carries out one transaction: steps 6 to 8 of the package comment. Its error is an *Error. After
// an error the session may still be good for the next message, unless it is dead.
func (s *session) send(ctx context.Context, m *message, dotBy time.Time, beforeDot func(context.Context) error) (Acceptance, error) {
	if err := s.checkExtensions(m); err != nil {
		return Acceptance{}, err
	}
	release := sync.OnceFunc(s.conn.bind(ctx))
	defer release()
	s.messages++
	s.message = m
	begun := time.Now()
	err := s.pipeline(ctx, s.commands(m))
	if s.ext.dsn && !s.dead && refusesParameters(err) {
		s.ext.dsn = false // it offers what it does not take
		err = s.pipeline(ctx, s.commands(m))
	}
	if err != nil {
		return Acceptance{}, err
	}
	invited := time.Now()
	last, err := s.writeBody(ctx, m.wire, dotBy, beforeDot)
	if err != nil {
		return Acceptance{}, err
	}
	// Leaving between the dot and its reply makes a second copy. From here on only the timeouts end the
	// wait.
	release()
	ctx = context.WithoutCancel(ctx)
	if err := s.writeBlock(ctx, last); err != nil {
		return Acceptance{}, err
	}
	dotted := time.Now()
	rep, err := s.finalReply(ctx)
	if err != nil {
		return Acceptance{}, err
	}
	s.dirty = false
	id := rep.queueID()
	if m.echoedBy(id) { // it would bring the code into a log
		id = ""
	}
	return Acceptance{
		Relay: s.relay.Name, Code: rep.code, EnhancedCode: rep.enhanced, QueueID: id,
		TLSVersion: tls.VersionName(s.conn.tls.Version),
		Timings: Timings{
			Connect: s.connectTime(), Envelope: invited.Sub(begun), Body: dotted.Sub(invited), FinalReply: time.Since(dotted),
		},
	}, nil
}

// wentStale reports whether err says no more than that the server had ended a kept session while it
// was idle. The body has not left then, and another session costs nothing.
func (s *session) wentStale(err error) bool {
	var e *Error
	if s.messages < 2 || !s.dead || !errors.As(err, &e) {
		return false
	}
	switch e.Phase {
	case PhaseReset, PhaseMail, PhaseRcpt, PhaseData:
		return e.Code == 421 || e.Scope == ScopeNetwork && !errors.Is(e.Err, os.ErrDeadlineExceeded)
	}
	return false
}

// connectTime is how long this message waited for the connection: nothing if the session carried
// another before.
func (s *session) connectTime() time.Duration {
	if s.messages > 1 {
		return 0
	}
	return s.connect
}

// checkExtensions says why m cannot go through this relay, judging by what EHLO said; nothing of it
// has been sent.
func (s *session) checkExtensions(m *message) error {
	refuse := func(scope Scope, format string, args ...any) error {
		return &Error{Relay: s.relay.Name, Phase: PhaseMail, Scope: scope, Permanent: true, hint: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.ext.maxSize > 0 && int64(m.size) > s.ext.maxSize:
		return refuse(ScopeMessage, "the message has %d octets and the relay takes %d", m.size, s.ext.maxSize)
	case m.eightBit && !s.ext.eightBitMIME:
		return refuse(ScopeMessage, "the message has 8-bit text and the relay does not offer 8BITMIME; encode it as quoted-printable")
	case !ascii(m.to) && !s.ext.smtpUTF8:
		return refuse(ScopeRecipient, "the recipient's address is not ASCII and the relay does not offer SMTPUTF8")
	case m.utf8 && !s.ext.smtpUTF8:
		return refuse(ScopeMessage, "the sender or the header section is not ASCII and the relay does not offer SMTPUTF8")
	}
	return nil
}

// commands is the envelope of m on the wire.
func (s *session) commands(m *message) []command {
	mail := "MAIL FROM:<" + m.from + ">"
	if s.ext.size {
		mail += fmt.Sprintf(" SIZE=%d", m.size)
	}
	if m.eightBit {
		mail += " BODY=8BITMIME"
	}
	if m.utf8 { // only then: a relay further on may lack it and would bounce a mail that did not need it
		mail += " SMTPUTF8"
	}
	rcpt := "RCPT TO:<" + m.to + ">"
	if s.ext.dsn { // a notification of failure names the mail, and does not bring its secret back
		mail += " RET=HDRS"
		if id := xtext(m.id); id != "" && len(id) <= 100 { // RFC 3461 section 4.4
			mail += " ENVID=" + id
		}
		rcpt += " NOTIFY=FAILURE,DELAY"
	}
	cmds := []command{{PhaseMail, mail, "25"}, {PhaseRcpt, rcpt, "25"}, {PhaseData, "DATA", "354"}}
	if s.dirty {
		cmds = append([]command{{PhaseReset, "RSET", "25"}}, cmds...)
	}
	return cmds
}

// refusesParameters reports whether a reply to MAIL or RCPT is about the parameters of the command
// (RFC 5321 section 4.1.1.11).
func refusesParameters(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Phase != PhaseMail && e.Phase != PhaseRcpt {
		return false
	}
	return e.Code == 501 || e.Code == 504 || e.Code == 555 || e.EnhancedCode == "5.5.4"
}

// xtext encodes s as RFC 3461 section 4 says.
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// pipeline sends the commands, all at once where the server can take it (RFC 2920), and reads every
// reply. The first failure is the answer. If the server invites the body nevertheless, the session
// ends: only a lone dot could go on from there, and some servers would make an empty mail of it.
func (s *session) pipeline(ctx context.Context, cmds []command) error {
	s.dirty = true
	step := 1
	if s.ext.pipelining {
		step = len(cmds)
	}
	for ; len(cmds) > 0; cmds = cmds[step:] {
		var lines strings.Builder
		for _, c := range cmds[:step] {
			lines.WriteString(c.line + "\r\n")
		}
		if err := s.write(ctx, cmds[0].phase, lines.String()); err != nil {
			return err
		}
		var first error
		for _, c := range cmds[:step] {
			_, err := s.expect(ctx, c.phase, s.relay.Timeouts.Command, c.want)
			if first == nil {
				first = err
			} else if err == nil && c.phase == PhaseData {
				s.abort()
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
}

// writeBody writes the stuffed message up to its last block, which it returns when nothing forbids
// sending it. That block is one TLS record, to be written by one call: if that fails, the server
// cannot decrypt it, so the final dot has not left and nothing is ambiguous.
func (s *session) writeBody(ctx context.Context, wire []byte, dotBy time.Time, beforeDot func(context.Context) error) (last []byte, err error) {
	if err := s.checkUnsolicited(ctx, PhaseBody); err != nil {
		return nil, err
	}
	for len(wire) > blockSize {
		n := min(blockSize, len(wire)-len(endOfData)) // the end of data is never split
		if err := s.writeBlock(ctx, wire[:n]); err != nil {
			return nil, err
		}
		wire = wire[n:]
	}
	if beforeDot != nil {
		if err := beforeDot(ctx); err != nil {
			s.abort()
			return nil, &Error{
				Relay: s.relay.Name, Phase: PhaseBody, Scope: ScopeCaller, Err: err,
				hint: "the caller stopped the mail before its final dot",
			}
		}
	}
	if err := ctx.Err(); err != nil { // the connection may not have been closed yet
		return nil, s.fail(ctx, PhaseBody, err)
	}
	if time.Now().After(dotBy) {
		s.abort()
		return nil, &Error{
			Relay: s.relay.Name, Phase: PhaseBody, Scope: ScopeNetwork, Err: context.DeadlineExceeded,
			hint: "it took so long that too little time was left for the final reply",
		}
	}
	return wire, nil
}

func (s *session) writeBlock(ctx context.Context, b []byte) error {
	s.conn.within(s.relay.Timeouts.Data)
	if _, err := s.conn.rw.Write(b); err != nil {
		return s.fail(ctx, PhaseBody, err)
	}
	return nil
}

// finalReply reads the reply to the final dot. Anything but a 25z or a refusal leaves open whether
// the server took the mail.
func (s *session) finalReply(ctx context.Context) (reply, error) {
	rep, err := s.expect(ctx, PhaseDot, s.relay.Timeouts.FinalReply, "25")
	if e, ok := err.(*Error); ok {
		e.Ambiguous = e.Code < 400
	}
	return rep, err
}
