package submission_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
)

const (
	username = "worker@example.com"
	password = "canary-pass-7f3a"
)

// server is a scripted submission server on 127.0.0.1. It does what a good server does, except at
// the steps that script names: greeting, clear-ehlo, starttls, tls, ehlo, auth, user, pass, mail,
// rcpt, data, body, dot, rset, quit. What it does there is a reply, with Go's escapes and CRLF
// added, or one of
//
//	(drop) (silence) (drip) (garbage) (endless) (banner) (raw)bytes without CRLF (half)bytes and then (drop)
//	(stuck) reads nothing more until stuck is closed (slowly)reply, a byte a millisecond
//	(gate)reply once something can be read from gate
type server struct {
	t        testing.TB
	mode     submission.TLSMode
	tls      *tls.Config
	script   map[string]string
	ehlo     string // the extensions inside TLS
	good     string // the access token that it takes, whatever script says of auth
	hold     bool   // answer MAIL and RCPT only once DATA has been read
	cut      int    // close the connection before the byte with this number, counted inside TLS; < 0: never
	cutRaw   int    // the same, counted on the TCP connection
	most     int    // how many connections it takes at a time; 0: any number
	gate     chan struct{}
	onAccept func()                   // if not nil, called for each connection
	chance   func(step string) string // if not nil and not empty: what it does at a step that script does not name

	listener net.Listener
	handlers sync.WaitGroup
	reached  chan string // steps at which it began to be silent
	stuck    <-chan struct{}
	clients  []*submission.Client

	mu       sync.Mutex
	open     map[net.Conn]*dialogue
	raw      bytes.Buffer // every byte that clients sent over TCP
	commands []string     // every line that it understood, in clear and inside TLS
	mails    [][]byte     // what came between DATA and the final dot, unstuffed
	half     []byte       // what came after DATA when no final dot did
	sent     int          // bytes that it sent inside TLS, or in clear before
	sentRaw  int
	dotAt    int // sent, when the last final dot came in
	conns    int
	peak     int // how many connections there were at a time
	resumed  int // how many of them went on with an earlier TLS session
}

const extensions = `PIPELINING\nSIZE 104857600\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nAUTH LOGIN PLAIN\nHELP`

var replies = map[string]string{
	"greeting": "220 test.example ESMTP", "starttls": "220 2.0.0 go ahead", "user": "334 VXNlcm5hbWU6", "pass": "334 UGFzc3dvcmQ6",
	"auth": "235 2.7.0 ok", "mail": "250 2.1.0 ok", "rcpt": "250 2.1.5 ok", "data": "354 go", "dot": "250 2.0.0 Ok: queued as 4XyZ1",
	"rset": "250 2.0.0 ok", "quit": "221 2.0.0 bye",
}

// newServer returns a server that start will start; set its fields in between.
func newServer(t testing.TB, mode submission.TLSMode, script map[string]string) *server {
	t.Helper()
	return &server{
		t: t, mode: mode, script: script, ehlo: extensions, cut: -1, cutRaw: -1, tls: authority().config(leaf{}),
		reached: make(chan string, 100), gate: make(chan struct{}), open: map[net.Conn]*dialogue{},
	}
}

func (s *server) start() *server {
	s.t.Helper()
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		s.t.Fatal(err)
	}
	s.handlers.Go(func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			d := &dialogue{server: s, tcp: c, rw: &tap{Conn: c, s: s}}
			s.mu.Lock()
			s.conns++
			s.open[c] = d
			s.peak = max(s.peak, len(s.open))
			d.tooMany = s.most > 0 && len(s.open) > s.most
			s.mu.Unlock()
			if s.onAccept != nil {
				s.onAccept()
			}
			s.handlers.Go(func() {
				d.run()
				d.gone()
				c.Close()
			})
		}
	})
	s.t.Cleanup(s.abort)
	return s
}

// stop closes the clients and waits until all that they sent has been read.
func (s *server) stop() {
	for _, c := range s.clients {
		c.Close()
	}
	s.listener.Close()
	s.handlers.Wait()
}

// abort closes every connection.
func (s *server) abort() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.handlers.Wait()
}

// relay is how to reach s.
func (s *server) relay() submission.Relay {
	return submission.Relay{
		Name: "test", Host: "127.0.0.1", Port: s.listener.Addr().(*net.TCPAddr).Port, TLS: s.mode, RootCAs: authority().pool(),
		Username: username, Password: secret.New(password), LocalName: "worker.example.com",
		Timeouts: submission.Timeouts{
			Connect: 20 * time.Second, Command: 20 * time.Second, Data: 20 * time.Second, FinalReply: 20 * time.Second, Total: time.Minute,
		},
	}
}

func (s *server) client() *submission.Client { return s.clientOf(s.relay()) }

// clientOf returns a client that stop will close.
func (s *server) clientOf(r submission.Relay) *submission.Client {
	s.t.Helper()
	c := client(s.t, r)
	s.clients = append(s.clients, c)
	return c
}

func client(t testing.TB, r submission.Relay) *submission.Client {
	t.Helper()
	c, err := submission.NewClient(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// tap counts and cuts what the server sends over TCP, and records what it gets.
type tap struct {
	net.Conn
	s *server
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.Lock()
	c.s.raw.Write(b[:n])
	c.s.mu.Unlock()
	return n, err
}

func (c *tap) Write(b []byte) (int, error) {
	c.s.mu.Lock()
	at := c.s.sentRaw
	c.s.sentRaw += len(b)
	c.s.mu.Unlock()
	return writeUntil(c.Conn, b, at, c.s.cutRaw)
}

// writeUntil writes b, whose first byte has the number at, but closes the connection before the
// byte with the number cut.
func writeUntil(c net.Conn, b []byte, at, cut int) (int, error) {
	if cut < 0 || at+len(b) <= cut {
		return c.Write(b)
	}
	n, _ := c.Write(b[:max(0, cut-at)])
	c.Close()
	return n, io.ErrClosedPipe
}

// checkNothingInClear fails the test if anything but EHLO, STARTTLS and QUIT crossed the wire in
// clear.
func (s *server) checkNothingInClear() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, word := range []string{"AUTH ", "MAIL FROM", "RCPT TO", "DATA\r\n", "Subject:", password, encodedPassword} {
		if bytes.Contains(s.raw.Bytes(), []byte(word)) {
			s.t.Errorf("%q crossed the wire in clear", word)
		}
	}
}
