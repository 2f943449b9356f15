package dev

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	slowReply = 3 * time.Second
	// hangUpGrace is how long the server waits for the client to close after a hang-up.
	hangUpGrace = 5 * time.Second
)

// errHungUp ends a transaction whose connection is closed. No client receives it.
var errHungUp = errors.New("connection closed on purpose")

// session is the state of one connection after EHLO. go-smtp creates a new one after STARTTLS.
type session struct {
	server        *submissionServer
	conn          *smtp.Conn
	authenticated bool
	from          string
	to            []string
	atFinalDot    string // tagDrop, tagTimeout, tagSlow or ""
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth is called only inside TLS. Before TLS go-smtp answers 523 itself.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, username, password string) error {
			if identity != "" && identity != username { // RFC 4616 section 2: as another user
				return smtp.ErrAuthFailed
			}
			return s.login(username, password)
		}), nil
	case sasl.Login:
		return &loginServer{authenticate: s.login}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (s *session) login(username, password string) error {
	err := s.server.users.check(username, password)
	s.authenticated = err == nil
	return err
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if _, ok := s.conn.TLSConnectionState(); !ok {
		// RFC 3207 section 4.
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Must issue a STARTTLS command first"}
	}
	if !s.authenticated {
		// RFC 4954 section 6.
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	f := chosenFailure(to)
	if f.refusal != nil && f.refusal.Code == 421 {
		return s.hangUp(f.refusal)
	}
	if f.refusal != nil {
		return f.refusal
	}
	if f.tag != "" {
		s.atFinalDot = f.tag
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.atFinalDot == tagTimeout {
		return s.neverAnswer()
	}
	s.keep(raw)
	switch s.atFinalDot {
	case tagDrop:
		_ = s.conn.Conn().Close()
		return errHungUp
	case tagSlow:
		select {
		case <-time.After(slowReply):
		case <-s.server.closing:
		}
	}
	return nil
}

// keep stores one mail for each recipient, as a mailbox server does.
func (s *session) keep(raw []byte) {
	state, _ := s.conn.TLSConnectionState()
	for _, to := range s.to {
		m := parse(raw)
		m.ID = rand.Text()
		m.Received = time.Now()
		m.Port = s.server.port
		m.TLSVersion = tls.VersionName(state.Version)
		m.From, m.To = s.from, to
		s.server.mailbox.add(m)
	}
}

// neverAnswer returns when the client hangs up or the server closes. Only a read tells that the
// client is gone. The server does not answer what it reads, such as a QUIT.
func (s *session) neverAnswer() error {
	conn := s.conn.Conn()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close() // a client that closed only its own direction could still receive a reply
	return errHungUp
}

// hangUp writes the reply and ends the connection. It waits for the client to close too: a close
// while pipelined commands are unread would reset the connection, and the client could lose the
// reply.
func (s *session) hangUp(reply *smtp.SMTPError) error {
	conn := s.conn.Conn()
	e := reply.EnhancedCode
	_, _ = fmt.Fprintf(conn, "%d %d.%d.%d %s\r\n", reply.Code, e[0], e[1], e[2], reply.Message)
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(hangUpGrace))
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	return errHungUp
}

func (s *session) Reset() { s.from, s.to, s.atFinalDot = "", nil, "" }

func (s *session) Logout() error { return nil }
