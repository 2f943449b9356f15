package chaos_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"example.com/securemail/internal/testserver"
)

// receiver is a submission server that logs every mail. It accepts any login; the user name is the
// worker's name.
type receiver struct {
	port      int
	authority []byte // in PEM form
	log       *logFile
	hooks     atomic.Pointer[hooks]

	mu      sync.Mutex
	secrets map[string]string // as mailed, by recipient
}

// hooks let a test change the conversations.
type hooks struct {
	begin  func()         // called at the beginning of a mail
	refuse func() bool    // called before the log: if true, the mail is refused temporarily
	reply  func(received) // called after the log: the 250 is sent when it returns
}

// startReceiver starts a receiver on 127.0.0.1 that writes to path.
func startReceiver(t *testing.T, path string) *receiver {
	t.Helper()
	config, authority := testserver.NewTLS(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{port: listener.Addr().(*net.TCPAddr).Port, authority: authority, log: openLogFile(t, path, true), secrets: map[string]string{}}
	r.hook(hooks{})
	server := smtp.NewServer(r)
	server.Domain, server.ErrorLog = "receiver.example.com", quiet{}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return r
}

// hook replaces the hooks of all conversations.
func (r *receiver) hook(h hooks) {
	if h.begin == nil {
		h.begin = func() {}
	}
	if h.refuse == nil {
		h.refuse = func() bool { return false }
	}
	if h.reply == nil {
		h.reply = func(received) {}
	}
	r.hooks.Store(&h)
}

// secretsByRecipient returns the mailed secrets.
func (r *receiver) secretsByRecipient() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.secrets)
}

// NewSession implements [smtp.Backend].
func (r *receiver) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{receiver: r}, nil }

type session struct {
	*receiver
	worker, to string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, _ string) error {
		s.worker = username
		return nil
	}), nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) Mail(string, *smtp.MailOptions) error {
	s.hooks.Load().begin()
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	hooks := s.hooks.Load()
	if hooks.refuse() {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not now"}
	}
	line := received{To: s.to, MessageID: m.Header.Get("Message-ID"), At: time.Now(), Worker: s.worker}
	if secret := secretIn(textOf(m.Header.Get("Content-Type"), m.Body)); secret != "" {
		hash := sha256.Sum256([]byte(secret))
		line.Secret = hex.EncodeToString(hash[:])
		s.mu.Lock()
		s.secrets[s.to] = secret
		s.mu.Unlock()
	}
	if err := s.log.add(line); err != nil {
		return err
	}
	hooks.reply(line)
	return nil
}

// textOf returns the first text/plain part of a message, decoded.
func textOf(contentType string, body io.Reader) string {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	if !strings.HasPrefix(kind, "multipart/") {
		text, _ := io.ReadAll(body) // without a secret in the text, the checker finds a violation
		if kind != "text/plain" {
			return ""
		}
		return string(text)
	}
	for parts := multipart.NewReader(body, params["boundary"]); ; {
		part, err := parts.NextPart() // decodes quoted-printable
		if err != nil {
			return ""
		}
		if text := textOf(part.Header.Get("Content-Type"), part); text != "" {
			return text
		}
	}
}

// secretPattern matches a key, a code and a TOTP secret, as the templates show them.
var secretPattern = regexp.MustCompile(`(?m)^    (?:([0-9A-Z]{5}(?:-[0-9A-Z]{5}){4})|(\d{4} \d{4})|Key        ([A-Z2-7]{4}(?: [A-Z2-7]{4}){7}))\r?$`)

// secretIn returns the secret in a mail's text, as a person reads it.
func secretIn(text string) string {
	m := secretPattern.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}

// quiet drops the errors of connections that a test cuts.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
