package testserver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"net"
	"net/mail"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Sink is a submission server with implicit TLS. It keeps the Message-IDs of the mails that it
// accepted. It can go down and come back at the same address.
type Sink struct {
	Port    int
	RootCAs *x509.CertPool

	t        testing.TB
	tls      *tls.Config
	server   *smtp.Server
	listener net.Listener
	serving  sync.WaitGroup
	down     atomic.Bool

	mu      sync.Mutex
	taken   map[string]int // Message-IDs
	order   []string
	refusal string
}

// StartSink starts a sink on 127.0.0.1. It accepts any login.
func StartSink(t testing.TB) *Sink {
	t.Helper()
	c := newCertificate(t)
	s := &Sink{Port: freePorts(t, 1)[0], RootCAs: c.roots, t: t, tls: c.config(t), taken: map[string]int{}}
	s.server = smtp.NewServer(s)
	s.server.Domain, s.server.ErrorLog = "sink.example.com", quiet{}
	t.Cleanup(func() {
		s.Down()
		s.server.Close()
		s.serving.Wait()
	})
	s.Up()
	return s
}

// Up lets the sink listen.
func (s *Sink) Up() {
	s.t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.Port})
	if err != nil {
		s.t.Fatal(err)
	}
	secured := tls.NewListener(listener, s.tls)
	s.listener = secured
	s.down.Store(false)
	s.serving.Go(func() { s.server.Serve(secured) })
}

// Down refuses new connections, and answers 421 to new mails on open ones. The sink still answers
// mails that are in flight, so that the outcome of every mail is known.
func (s *Sink) Down() {
	s.down.Store(true)
	s.listener.Close()
}

// Refuse lets the sink refuse every recipient permanently, with this text.
func (s *Sink) Refuse(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = text
}

// Taken returns how often the sink accepted each Message-ID.
func (s *Sink) Taken() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.taken)
}

// Order returns the To headers of the mails, in the order in which the sink accepted them.
func (s *Sink) Order() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.order...)
}

// NewSession implements [smtp.Backend].
func (s *Sink) NewSession(*smtp.Conn) (smtp.Session, error) { return &sinkSession{s}, nil }

type sinkSession struct{ sink *Sink }

func (s *sinkSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *sinkSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, _ string) error { return nil }), nil
}

func (s *sinkSession) Mail(string, *smtp.MailOptions) error {
	if s.sink.down.Load() {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "going down"}
	}
	return nil
}

func (s *sinkSession) Rcpt(string, *smtp.RcptOptions) error {
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	if s.sink.refusal != "" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: s.sink.refusal}
	}
	return nil
}

func (s *sinkSession) Reset()        {}
func (s *sinkSession) Logout() error { return nil }

func (s *sinkSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.taken[m.Header.Get("Message-ID")]++
	s.sink.order = append(s.sink.order, m.Header.Get("To"))
	return nil
}

// quiet drops the errors of connections that a test cuts.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
