package submission_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	gomail "github.com/go-mail/mail/v2"

	"example.com/securemail/internal/submission"
)

func TestPipeline_SendsAllAtOnceWhereOffered(t *testing.T) {
	// The server says nothing to MAIL and RCPT until it has read DATA: a client that waits for a
	// reply in between waits for ever.
	s := newServer(t, submission.ImplicitTLS, nil)
	s.hold = true
	if _, err := submit(s.start().client()); err != nil {
		t.Fatal(err)
	}
}

func TestPipeline_SendsOneByOneOtherwise(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"mail": "450 4.3.0 later"})
	s.ehlo = `AUTH PLAIN`
	c := s.start().client()
	if _, err := submit(c); err == nil {
		t.Fatal("no error")
	}
	c.Close()
	s.stop()
	if got := strings.Join(s.commands[2:], "; "); got != "MAIL FROM:<sender@example.com>; QUIT" {
		t.Errorf("got %s, want MAIL without SIZE, and nothing after its refusal but QUIT", got)
	}
}

// TestPipeline_FirstRefusalDecides plays every pair of refusals in one pipeline.
func TestPipeline_FirstRefusalDecides(t *testing.T) {
	tests := []struct {
		mail, rcpt, data string
		phase            submission.Phase
		code             int
		usable           bool
	}{
		{"550 5.1.7 no", "503 5.5.1 mail first", "503 5.5.1 mail first", submission.PhaseMail, 550, true},
		{"450 4.3.0 no", "250 ok", "354 go", submission.PhaseMail, 450, false},
		{"250 ok", "550 5.1.1 no", "554 5.5.1 no recipients", submission.PhaseRcpt, 550, true},
		{"250 ok", "550 5.1.1 no", "503 5.5.1 no recipients", submission.PhaseRcpt, 550, true},
		{"250 ok", "450 4.7.1 no", "354 go", submission.PhaseRcpt, 450, false},
		{"250 ok", "450 4.7.1 no", "421 bye", submission.PhaseRcpt, 450, false},
		{"250 ok", "550 5.1.1 no", "(drop)", submission.PhaseRcpt, 550, false},
		{"250 ok", "550 5.1.1 no", "250 ok", submission.PhaseRcpt, 550, false},
		{"250 ok", "250 ok", "451 4.3.0 no", submission.PhaseData, 451, true},
		{"421 bye", "421 bye", "(drop)", submission.PhaseMail, 421, false},
		{"250 ok", "421 bye", "(drop)", submission.PhaseRcpt, 421, false},
	}
	for _, tt := range tests {
		s := newServer(t, submission.ImplicitTLS, map[string]string{"mail": tt.mail, "rcpt": tt.rcpt, "data": tt.data})
		s.hold = !strings.HasPrefix(tt.data, "(") // so that the replies come in one piece, as they do from real servers
		session, err := s.start().client().Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		e := failure(t, session.Send(envelope.From, []string{envelope.To}, bytes.NewBuffer(mail)))
		if e.Phase != tt.phase || e.Code != tt.code || e.Ambiguous {
			t.Errorf("%v: got %v", tt, e)
		}
		if session.Dead() == tt.usable {
			t.Errorf("%v: session dead is %v", tt, session.Dead())
		}
		session.Close()
		s.stop()
		if len(s.mails) != 0 {
			t.Errorf("%v: the server got a mail: %q", tt, s.mails)
		}
	}
}

// TestSession_GoMailDrivesIt sends through go-mail's own Send: a session is a SendCloser that
// survives a refused recipient.
func TestSession_GoMailDrivesIt(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		s := newServer(t, mode, nil).start()
		session, err := s.client().Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var sender gomail.SendCloser = session
		for _, to := range []string{"a@example.net", "b@example.net"} {
			m := gomail.NewMessage()
			m.SetHeader("From", "sender@example.com")
			m.SetHeader("To", to)
			m.SetBody("text/plain", "Grüße\r\n.\r\nfrom the dot")
			if err := gomail.Send(sender, m); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			s.script = map[string]string{"rcpt": "550 5.1.1 no such user", "data": "554 5.5.1 no valid recipients"}
			s.mu.Unlock()
			var e *submission.Error
			if err := session.Send("sender@example.com", []string{to}, bytes.NewBuffer(mail)); !errors.As(err, &e) || e.Code != 550 {
				t.Fatalf("got %v, want a 550", err)
			}
			s.mu.Lock()
			s.script = nil
			s.mu.Unlock()
		}
		if err := sender.Close(); err != nil {
			t.Fatal(err)
		}
		s.stop()
		if len(s.mails) != 2 || s.conns != 1 {
			t.Errorf("%d mails over %d connections, want 2 over 1", len(s.mails), s.conns)
		}
		if n := strings.Count(strings.Join(s.commands, "\n"), "RSET"); n != 1 {
			t.Errorf("%d RSET, want 1, after the refusal only: %q", n, s.commands)
		}
	})
}

func TestExtensions_AMailTheRelayCannotTake(t *testing.T) {
	eightBit := []byte("Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n")
	utf8Header := []byte("Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nhello\r\n")
	tests := []struct {
		name, ehlo string
		env        submission.Envelope
		msg        []byte
		wantMail   string // how MAIL looks, or "" for a refusal
		scope      submission.Scope
	}{
		{"too big", `SIZE 50\nAUTH PLAIN`, envelope, mail, "", submission.ScopeMessage},
		{"no limit", `SIZE\nAUTH PLAIN`, envelope, eightBit[:14], "MAIL FROM:<sender@example.com> SIZE=14", ""},
		{"limit 0", `SIZE 0\nAUTH PLAIN`, envelope, eightBit[:14], "MAIL FROM:<sender@example.com> SIZE=14", ""},
		{"odd limit", `SIZE -7\nAUTH PLAIN`, envelope, eightBit[:14], "MAIL FROM:<sender@example.com> SIZE=14", ""},
		{"8-bit without 8BITMIME", `AUTH PLAIN`, envelope, eightBit, "", submission.ScopeMessage},
		{"8-bit", `8BITMIME\nSMTPUTF8\nAUTH PLAIN`, envelope, eightBit, "MAIL FROM:<sender@example.com> BODY=8BITMIME", ""},
		{"7-bit", `8BITMIME\nSMTPUTF8\nAUTH PLAIN`, envelope, mail, "MAIL FROM:<sender@example.com>", ""},
		{"UTF-8 header", `8BITMIME\nSMTPUTF8\nAUTH PLAIN`, envelope, utf8Header, "MAIL FROM:<sender@example.com> BODY=8BITMIME SMTPUTF8", ""},
		{"UTF-8 header without SMTPUTF8", `8BITMIME\nAUTH PLAIN`, envelope, utf8Header, "", submission.ScopeMessage},
		{"UTF-8 recipient", `8BITMIME\nSMTPUTF8\nAUTH PLAIN`, submission.Envelope{From: envelope.From, To: "ünal@example.net"}, mail,
			"MAIL FROM:<sender@example.com> SMTPUTF8", ""},
		{"UTF-8 recipient without SMTPUTF8", `8BITMIME\nAUTH PLAIN`, submission.Envelope{From: envelope.From, To: "ünal@example.net"}, mail,
			"", submission.ScopeRecipient},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, submission.ImplicitTLS, nil)
			s.ehlo = tt.ehlo
			_, err := s.start().client().Submit(context.Background(), tt.env, tt.msg, nil)
			s.stop()
			got := ""
			for _, c := range s.commands {
				if strings.HasPrefix(c, "MAIL") {
					got = c
				}
			}
			if got != tt.wantMail {
				t.Errorf("got %q, want %q", got, tt.wantMail)
			}
			if tt.wantMail != "" && err != nil {
				t.Error(err)
			}
			if tt.wantMail == "" {
				if e := failure(t, err); e.Scope != tt.scope || !e.Permanent || e.Code != 0 {
					t.Errorf("got %v in scope %s, want a refusal in scope %s", e, e.Scope, tt.scope)
				}
			}
		})
	}
}

// TestSubmit_InParallel is for the race detector: one client, many callers.
func TestSubmit_InParallel(t *testing.T) {
	s := newServer(t, submission.StartTLS, nil).start()
	c := s.client()
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 4 {
				if _, err := submit(c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	c.Close()
	s.stop()
	if len(s.mails) != 64 {
		t.Errorf("%d mails, want 64", len(s.mails))
	}
}

// TestError_RepeatsNoEcho has a server that repeats everything it hears in its refusals.
func TestError_RepeatsNoEcho(t *testing.T) {
	random := make([]byte, 300)
	_, _ = rand.Read(random)
	noise := base64.StdEncoding.EncodeToString(random)
	for step, action := range map[string]string{
		"auth": "535 5.7.8 " + encodedPassword + " " + password,
		"mail": "550 5.1.7 <sender@example.com> " + username + noise,
		"rcpt": `550-5.1.1 alice@example.net:\r\n550 5.1.1 <alice@example.net>, "alice@example.net" \x1b[31m\xff\xfe` + noise,
		"dot":  "554 5.7.1 alice@example.net\x07" + noise,
	} {
		_, err := submit(newServer(t, submission.ImplicitTLS, map[string]string{step: action}).start().client())
		e := failure(t, err) // which looks for secrets and addresses
		if e.Said() == "" {
			t.Errorf("%s: nothing is left of what the server said", step)
		}
	}
}

func TestSubmit_WaitsForASlowServer(t *testing.T) {
	s := newServer(t, submission.StartTLS, map[string]string{"dot": "(slowly)250 2.0.0 Ok: queued as 4XyZ1"}).start()
	r := s.relay()
	r.Timeouts.Command = 5 * time.Second
	if _, err := submit(s.clientOf(r)); err != nil {
		t.Error(err)
	}
}
