package submission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
)

func TestPostfixTakesMailOnBothPorts(t *testing.T) {
	p := testserver.StartPostfix(t)
	sent := map[string]bool{}
	for _, r := range []submission.Relay{
		{Name: "smtps", Port: p.SMTPSPort, TLS: submission.ImplicitTLS},
		{Name: "submission", Port: p.SubmissionPort, TLS: submission.StartTLS},
	} {
		r.Host, r.RootCAs, r.Username, r.Password = "127.0.0.1", p.RootCAs, p.Username, secret.New(p.Password)
		client, err := submission.NewClient(r)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		info, err := client.Check(context.Background())
		if err != nil || info.Auth != "PLAIN" || !info.Pipelining {
			t.Errorf("%s: Check: got %+v, %v; want AUTH PLAIN and PIPELINING", r.Name, info, err)
		}
		for i := range 10 {
			// Lines that begin with dots are what dot-stuffing exists for.
			body := fmt.Sprintf("%s %d\r\n.\r\n..\r\n.x\r\nlast", r.Name, i)
			msg := "From: a@example.com\r\nTo: b@example.com\r\nSubject: s\r\n\r\n" + body + "\r\n"
			receipt, err := client.Submit(context.Background(), submission.Envelope{From: "a@example.com", To: "b@example.com"}, []byte(msg), nil)
			if err != nil {
				t.Fatalf("%s: Submit: %v\n%s", r.Name, err, p.Log())
			}
			if receipt.Code != 250 || receipt.QueueID == "" || !strings.Contains(p.Log(), receipt.QueueID) {
				t.Errorf("%s: got receipt %+v, want a queue id that is in Postfix's log", r.Name, receipt)
			}
			sent[strings.ReplaceAll(body, "\r\n", "\n")] = true
		}

		r.Password = secret.New("wrong")
		stale, err := submission.NewClient(r)
		if err != nil {
			t.Fatal(err)
		}
		defer stale.Close()
		var failure *submission.Error
		if _, err := stale.Check(context.Background()); !errors.As(err, &failure) || failure.Scope != submission.ScopeCredentials || failure.Code != 535 {
			t.Errorf("%s: a wrong password: got %v, want 535 and the credentials' scope", r.Name, err)
		}
	}
	for _, mail := range p.WaitMails(len(sent)) {
		_, body, _ := bytes.Cut(mail, []byte("\n\n"))
		if !sent[strings.TrimSuffix(string(body), "\n")] {
			t.Errorf("Postfix delivered another body than was sent: %q", body)
		}
	}
}
