package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/securemail/internal/secret"
)

// quitTimeout bounds QUIT.
const quitTimeout = 2 * time.Second

// session is one conversation with a relay, from the dialling to QUIT. It carries one transaction
// after the other and is not safe for use by several goroutines. Whatever leaves doubt about which
// reply belongs to which command ends it; once dead it stays so.
type session struct {
	relay     *Relay
	conn      *conn
	ext       extensions
	token     secret.String // of the login, where it is OAuth2
	message   *message      // of the transaction under way
	mechanism string        // of AUTH, once it is chosen
	opened    time.Time
	connect   time.Duration // how long open took
	messages  int           // how many transactions were begun
	refusals  int           // how many came to nothing since the last that was taken
	dirty     bool          // a transaction was begun and not completed: RSET comes first
	dead      bool

	refused421 bool // the server ended it with a 421
	idleSince  time.Time
	expiry     *time.Timer
}

// extensions is what the last EHLO offered.
type extensions struct {
	startTLS, pipelining, eightBitMIME, smtpUTF8, size, dsn bool

	maxSize int64 // 0: no limit named
	auth    []string
}

// open dials a relay and takes the conversation to the point where MAIL may follow. Its error is an
// *Error. An access token that is refused may have been withdrawn before its time, so open tries
// another one, once and over another connection: what a server does after a refused login differs.
func open(ctx context.Context, relay *Relay) (*session, error) {
	s, err := dial(ctx, relay, false)
	var e *Error
	if relay.Token != nil && errors.As(err, &e) && e.Scope == ScopeCredentials && e.Code != 0 {
		return dial(ctx, relay, true)
	}
	return s, err
}

func dial(ctx context.Context, relay *Relay, tokenRefused bool) (*session, error) {
	s := &session{relay: relay, opened: time.Now()}
	token, err := relay.token(ctx, tokenRefused) // before the server begins to wait for us
	if err != nil {
		return nil, err
	}
	connectCtx, cancel := context.WithTimeout(ctx, relay.Timeouts.Connect)
	defer cancel()
	var dialer net.Dialer
	tcp, err := dialer.DialContext(connectCtx, "tcp", net.JoinHostPort(relay.Host, strconv.Itoa(relay.Port)))
	if err != nil {
		return nil, relay.broken(ctx, PhaseDial, err)
	}
	s.conn, s.token = newConn(tcp), token
	defer s.conn.bind(ctx)()
	if err := s.handshake(ctx, connectCtx); err != nil {
		s.abort()
		return nil, err
	}
	s.connect = time.Since(s.opened)
	return s, nil
}

// handshake is steps 2 to 5 of the package comment. connectCtx bounds TLS on port 465.
func (s *session) handshake(ctx, connectCtx context.Context) error {
	if s.relay.TLS == ImplicitTLS {
		if err := s.encrypt(ctx, connectCtx); err != nil {
			return err
		}
	}
	if _, err := s.expect(ctx, PhaseGreeting, s.relay.Timeouts.Command, "220"); err != nil {
		return err
	}
	if err := s.ehlo(ctx); err != nil {
		return err
	}
	if s.relay.TLS == StartTLS {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
		if err := s.ehlo(ctx); err != nil {
			return err
		}
	}
	return s.authenticate(ctx)
}

func (s *session) startTLS(ctx context.Context) error {
	if !s.ext.startTLS {
		s.quit()
		return &Error{
			Relay: s.relay.Name, Phase: PhaseStartTLS, Scope: ScopeRelay, Permanent: true,
			hint: "the server does not offer STARTTLS, or someone in between removes it; nothing was sent; use port 465, or fix its TLS",
		}
	}
	if _, err := s.cmd(ctx, PhaseStartTLS, "STARTTLS", "220"); err != nil {
		return err
	}
	connectCtx, cancel := context.WithTimeout(ctx, s.relay.Timeouts.Connect)
	defer cancel()
	return s.encrypt(ctx, connectCtx)
}

func (s *session) encrypt(ctx, connectCtx context.Context) error {
	s.conn.within(s.relay.Timeouts.Connect)
	if err := s.conn.encrypt(connectCtx, s.relay.tlsConfig()); err != nil {
		return s.relay.broken(ctx, PhaseTLS, err)
	}
	return nil
}

// ehlo sends EHLO and replaces all that was known about the server.
func (s *session) ehlo(ctx context.Context) error {
	name := s.relay.LocalName
	if name == "" {
		name = literal(s.conn.tcp.LocalAddr().(*net.TCPAddr).IP)
	}
	rep, err := s.cmd(ctx, PhaseEHLO, "EHLO "+name, "250")
	if err == nil {
		s.ext = parseExtensions(rep)
	}
	return err
}

// parseExtensions reads the lines behind the first (RFC 5321 section 4.1.1.1). Keywords are
// case-insensitive.
func parseExtensions(rep reply) extensions {
	var ext extensions
	for _, line := range rep.lines[1:] {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "STARTTLS":
			ext.startTLS = true
		case "PIPELINING":
			ext.pipelining = true
		case "8BITMIME":
			ext.eightBitMIME = true
		case "SMTPUTF8":
			ext.smtpUTF8 = true
		case "DSN":
			ext.dsn = true
		case "AUTH":
			ext.auth = slices.Concat(ext.auth, words[1:])
		case "SIZE":
			ext.size = true
			if len(words) > 1 {
				n, _ := strconv.ParseInt(words[1], 10, 64)
				ext.maxSize = max(n, 0) // RFC 1870 section 4: 0 is no limit
			}
		}
	}
	return ext
}

// info is what Check reports.
func (s *session) info() Info {
	return Info{
		Relay: s.relay.Name, TLSVersion: tls.VersionName(s.conn.tls.Version), CertificateExpires: s.conn.tls.PeerCertificates[0].NotAfter,
		Auth: s.mechanism, Pipelining: s.ext.pipelining, MaxSize: s.ext.maxSize,
	}
}

// cmd sends one command and reads the reply to it.
func (s *session) cmd(ctx context.Context, phase Phase, line string, want ...string) (reply, error) {
	if err := s.write(ctx, phase, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return s.expect(ctx, phase, s.relay.Timeouts.Command, want...)
}

func (s *session) write(ctx context.Context, phase Phase, lines string) error {
	if err := s.checkUnsolicited(ctx, phase); err != nil {
		return err
	}
	s.conn.within(s.relay.Timeouts.Command)
	if _, err := s.conn.rw.Write([]byte(lines)); err != nil {
		return s.fail(ctx, phase, err)
	}
	return nil
}

// checkUnsolicited refuses a server that has already sent something: it is either going away (421,
// RFC 5321 section 3.8) or is not the server that we think it is.
func (s *session) checkUnsolicited(ctx context.Context, phase Phase) error {
	if s.conn.r.Buffered() == 0 {
		return nil
	}
	rep, err := readReply(s.conn.r)
	if err == nil && rep.code == 421 {
		s.abort()
		return s.refused(phase, rep)
	}
	return s.fail(ctx, phase, protocolError("sent an unsolicited reply"))
}

// expect reads one reply. Its code must begin as one of want does; codes of class 4 and 5 are
// refusals, others break the protocol.
func (s *session) expect(ctx context.Context, phase Phase, timeout time.Duration, want ...string) (reply, error) {
	s.conn.within(timeout)
	rep, err := readReply(s.conn.r)
	switch {
	case err != nil:
		return reply{}, s.fail(ctx, phase, err)
	case slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(strconv.Itoa(rep.code), w) }):
		return rep, nil
	case rep.code < 400:
		e := s.fail(ctx, phase, protocolError("gave a reply that does not belong here"))
		e.Code = rep.code
		return reply{}, e
	case rep.code == 421:
		s.refused421 = true
		s.abort()
	}
	return reply{}, s.refused(phase, rep)
}

// idleOK looks at an idle session without writing: a server that has closed it, or sent something
// unsolicited, such as a 421, has ended it.
func (s *session) idleOK() bool {
	s.conn.within(time.Millisecond)
	_, err := s.conn.r.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// fail ends the session and says why.
func (s *session) fail(ctx context.Context, phase Phase, err error) *Error {
	s.abort()
	return s.relay.broken(ctx, phase, err)
}

func (s *session) abort() {
	s.dead = true
	s.conn.tcp.Close()
}

// quit says QUIT if that is still possible. Its outcome does not matter.
func (s *session) quit() {
	if s.dead {
		return
	}
	s.conn.within(quitTimeout)
	if _, err := s.conn.rw.Write([]byte("QUIT\r\n")); err == nil {
		_, _ = readReply(s.conn.r)
	}
	s.abort()
}
