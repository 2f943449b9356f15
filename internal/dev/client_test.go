package dev_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"testing"
	"time"

	"example.com/securemail/internal/dev"
)

// connect returns a client that has verified the certificate and speaks TLS.
func connect(t testing.TB, env *dev.Env, port string) *smtp.Client {
	t.Helper()
	config := &tls.Config{RootCAs: env.RootCAs(), ServerName: env.ServerName()}
	addr := env.SMTPSAddr()
	if port == "submission" {
		addr = env.SubmissionAddr()
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if port == "smtps" {
		conn = tls.Client(conn, config)
	}
	c, err := smtp.NewClient(conn, env.ServerName())
	if err != nil {
		t.Fatal(err)
	}
	if port == "submission" {
		if err := c.StartTLS(config); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// login returns a client that is logged in.
func login(t testing.TB, env *dev.Env, port string) *smtp.Client {
	t.Helper()
	c := connect(t, env, port)
	if err := c.Auth(smtp.PlainAuth("", env.Username(), env.Password().Reveal(), env.ServerName())); err != nil {
		t.Fatal(err)
	}
	return c
}

// envelope logs in and sends the envelope. begin also sends DATA.
func envelope(t testing.TB, c *smtp.Client, to string) *smtp.Client {
	t.Helper()
	if err := c.Mail("worker@example.org"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(to); err != nil {
		t.Fatal(err)
	}
	return c
}

func begin(t testing.TB, c *smtp.Client, to string) *smtp.Client {
	t.Helper()
	write(t, envelope(t, c, to), "DATA\r\n")
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		t.Fatal(err)
	}
	return c
}

// write writes s unchanged, without what net/smtp and net/textproto would add.
func write(t testing.TB, c *smtp.Client, s string) {
	t.Helper()
	if _, err := c.Text.W.WriteString(s); err != nil {
		t.Fatal(err)
	}
	if err := c.Text.W.Flush(); err != nil {
		t.Fatal(err)
	}
}

// send sends one mail and returns the server's refusal, if any.
func send(c *smtp.Client, to, message string) error {
	if err := c.Mail("worker@example.org"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return errors.Join(err, c.Reset())
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return w.Close()
}

// loginAuth is AUTH LOGIN, which net/smtp lacks.
type loginAuth struct{ username, password string }

func (a loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a loginAuth) Next(challenge []byte, more bool) ([]byte, error) {
	switch {
	case !more:
		return nil, nil
	case string(challenge) == "Username:":
		return []byte(a.username), nil
	case string(challenge) == "Password:":
		return []byte(a.password), nil
	}
	return nil, fmt.Errorf("challenge %q", challenge)
}

func expect(t *testing.T, c *smtp.Client, code int, command string) {
	t.Helper()
	write(t, c, command+"\r\n")
	if _, message, err := c.Text.ReadResponse(code); err != nil {
		t.Errorf("%s: got %v %s, want %d", command, err, message, code)
	}
}

// replyCode returns the SMTP reply code in an error, or 0.
func replyCode(err error) int {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		return 0
	}
	return reply.Code
}
