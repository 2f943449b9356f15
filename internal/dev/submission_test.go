package dev_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/smtp"
	"strings"
	"testing"
	"time"
)

func TestSubmission_AcceptsMailOnEachPort(t *testing.T) {
	t.Parallel()
	env := start(t)
	message := "From: Worker <worker@example.org>\r\nTo: alice@example.com\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n" +
		"Message-ID: <1.a@example.org>\r\n\r\n.dot and text\r\n"
	for _, port := range []string{"smtps", "submission"} {
		before := time.Now()
		c := login(t, env, port)
		if err := send(c, "alice@example.com", message); err != nil {
			t.Fatal(err)
		}
		if err := c.Quit(); err != nil {
			t.Fatal(err)
		}
		m := env.Messages()[len(env.Messages())-1]
		if m.Port != port || m.TLSVersion != "TLS 1.3" {
			t.Errorf("got port %q and %q, want %q and %q", m.Port, m.TLSVersion, port, "TLS 1.3")
		}
		if m.From != "worker@example.org" || m.To != "alice@example.com" {
			t.Errorf("envelope: got %q to %q", m.From, m.To)
		}
		if m.Subject != "Café" || m.MessageID != "1.a@example.org" || m.Text != ".dot and text\r\n" || m.Defect != "" {
			t.Errorf("got %q, %q, %q, defect %q", m.Subject, m.MessageID, m.Text, m.Defect)
		}
		if string(m.Raw) != message {
			t.Errorf("raw: got %q, want %q", m.Raw, message)
		}
		if m.ID == "" || m.Received.Before(before) {
			t.Errorf("got ID %q, received %v", m.ID, m.Received)
		}
	}
}

func TestSubmission_KeepsAMailForEachRecipient(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := login(t, env, "smtps")
	if err := c.Mail(""); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"alice@example.com", "bob@example.com"} {
		if err := c.Rcpt(to); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := env.Messages()
	if len(got) != 2 || got[0].To != "alice@example.com" || got[1].To != "bob@example.com" || got[0].ID == got[1].ID {
		t.Errorf("got %v", got)
	}
}

func TestSubmission_FailsForAClientWithoutTheAuthority(t *testing.T) {
	t.Parallel()
	env, other := start(t), start(t)
	for name, config := range map[string]*tls.Config{
		"system's roots":        {ServerName: env.ServerName()},
		"another start's roots": {ServerName: env.ServerName(), RootCAs: other.RootCAs()},
	} {
		var unknown x509.UnknownAuthorityError
		if _, err := tls.Dial("tcp", env.SMTPSAddr(), config); !errors.As(err, &unknown) {
			t.Errorf("%s, implicit TLS: got %v, want an unknown authority", name, err)
		}
		c, err := smtp.Dial(env.SubmissionAddr())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(config); !errors.As(err, &unknown) {
			t.Errorf("%s, STARTTLS: got %v, want an unknown authority", name, err)
		}
		c.Close()
	}
	var mismatch x509.HostnameError
	_, err := tls.Dial("tcp", env.SMTPSAddr(), &tls.Config{RootCAs: env.RootCAs(), ServerName: "mail.example.com"})
	if !errors.As(err, &mismatch) {
		t.Errorf("another name: got %v, want a host name error", err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		conn, err := tls.Dial("tcp", env.SMTPSAddr(), &tls.Config{RootCAs: env.RootCAs(), ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
}

func TestSubmission_RefusesOldTLS(t *testing.T) {
	t.Parallel()
	env := start(t)
	config := &tls.Config{RootCAs: env.RootCAs(), ServerName: env.ServerName(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, err := tls.Dial("tcp", env.SMTPSAddr(), config); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func TestSubmission_OffersNothingBeforeTLS(t *testing.T) {
	t.Parallel()
	env := start(t)
	c, err := smtp.Dial(env.SubmissionAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, mechanisms := c.Extension("AUTH"); ok {
		t.Errorf("AUTH %s is offered before TLS", mechanisms)
	}
	if ok, _ := c.Extension("STARTTLS"); !ok {
		t.Error("STARTTLS is not offered")
	}
	for _, command := range []string{"AUTH PLAIN AGRldgB4", "AUTH LOGIN"} {
		expect(t, c, 523, command)
	}
	expect(t, c, 530, "MAIL FROM:<worker@example.org>")
}

func TestSubmission_RequiresAuth(t *testing.T) {
	t.Parallel()
	env := start(t)
	password := env.Password().Reveal()
	for _, port := range []string{"smtps", "submission"} {
		c := connect(t, env, port)
		if _, mechanisms := c.Extension("AUTH"); mechanisms != "PLAIN LOGIN" {
			t.Errorf("got %q, want %q", mechanisms, "PLAIN LOGIN")
		}
		expect(t, c, 530, "MAIL FROM:<worker@example.org>")
		for name, auth := range map[string]smtp.Auth{
			"wrong password":       smtp.PlainAuth("", env.Username(), "x"+password, env.ServerName()),
			"wrong user":           smtp.PlainAuth("", "x", password, env.ServerName()),
			"as someone else":      smtp.PlainAuth("root", env.Username(), password, env.ServerName()),
			"LOGIN wrong password": loginAuth{env.Username(), "x"},
			"LOGIN without user":   loginAuth{"", password},
		} {
			c := connect(t, env, port)
			if got := replyCode(c.Auth(auth)); got != 535 {
				t.Errorf("%s: got %d, want 535", name, got)
			}
		}
		c = connect(t, env, port)
		if err := c.Auth(loginAuth{env.Username(), password}); err != nil {
			t.Fatal(err)
		}
		if err := send(c, "alice@example.com", "Subject: by LOGIN\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubmission_BoundsMessagesAndMailbox(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := login(t, env, "smtps")
	if got := replyCode(send(c, "alice@example.com", "Subject: big\r\n\r\n"+strings.Repeat("0123456789\r\n", 1<<17))); got != 552 {
		t.Errorf("more than 1 MiB: got %d, want 552", got)
	}
	for i := range 1001 {
		if err := send(c, "alice@example.com", fmt.Sprintf("Subject: %d\r\n\r\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	got := env.Messages()
	if len(got) != 1000 || got[0].Subject != "1" || got[999].Subject != "1000" {
		t.Errorf("got %d mails from %q to %q, want the newest 1000", len(got), got[0].Subject, got[len(got)-1].Subject)
	}
}
