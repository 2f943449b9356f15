package submission_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
)

func TestPostfix_TakesMailOnBothPorts(t *testing.T) {
	p := testserver.StartPostfix(t)
	sent := map[string]bool{}
	var queued []string
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
			if receipt.Code != 250 || receipt.QueueID == "" {
				t.Errorf("%s: got receipt %+v, want 250 and a queue id", r.Name, receipt)
			}
			queued = append(queued, receipt.QueueID)
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
	for _, id := range queued { // what it logs is written by a process of its own, a little later
		for deadline := time.Now().Add(30 * time.Second); !strings.Contains(p.Log(), id); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the queue id %s is not in Postfix's log", id)
			}
		}
	}
}

// TestPostfix_TakesPipelinedMails sends a thousand mails of all sizes, over kept sessions, and
// compares what Postfix delivers with what was sent.
func TestPostfix_TakesPipelinedMails(t *testing.T) {
	const mails, callers = 1000, 8
	p := testserver.StartPostfix(t)
	var mu sync.Mutex
	sent, queued := map[[sha256.Size]byte]bool{}, map[string]bool{}
	var next atomic.Int64
	var sending sync.WaitGroup
	for i, r := range []submission.Relay{
		{Name: "smtps", Port: p.SMTPSPort, TLS: submission.ImplicitTLS},
		{Name: "submission", Port: p.SubmissionPort, TLS: submission.StartTLS},
	} {
		r.Host, r.RootCAs, r.Username, r.Password = "127.0.0.1", p.RootCAs, p.Username, secret.New(p.Password)
		c := client(t, r)
		for range callers / 2 {
			sending.Go(func() {
				for n := next.Add(1); n <= mails; n = next.Add(1) {
					body := randomBody(int(n))
					msg := fmt.Sprintf("From: a@example.com\r\nTo: b@example.com\r\nSubject: %d %d\r\n\r\n%s", i, n, body)
					receipt, err := c.Submit(context.Background(), submission.Envelope{From: "a@example.com", To: "b@example.com"}, []byte(msg), nil)
					if err != nil {
						t.Errorf("mail %d: %v", n, err)
						return
					}
					mu.Lock()
					sent[sha256.Sum256([]byte(strings.ReplaceAll(body, "\r\n", "\n")))] = true
					queued[receipt.QueueID] = true
					mu.Unlock()
				}
			})
		}
	}
	sending.Wait()
	if len(sent) != mails || len(queued) != mails {
		t.Fatalf("%d mails and %d queue ids, want %d", len(sent), len(queued), mails)
	}
	for _, mail := range p.WaitMails(mails) {
		_, body, _ := bytes.Cut(mail, []byte("\n\n"))
		hash := sha256.Sum256(body)
		if !sent[hash] {
			t.Errorf("Postfix delivered a body of %d octets that was not sent, or sent once", len(body))
		}
		delete(sent, hash)
	}
	if len(sent) > 0 {
		t.Errorf("%d mails were not delivered as they were sent", len(sent))
	}
}

// randomBody has lines of any length, many of which begin with dots, up to three blocks of them.
func randomBody(seed int) string {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	var b strings.Builder
	fmt.Fprintf(&b, "%d\r\n", seed)
	for size := random.IntN(3 * submission.BlockSize); b.Len() < size; {
		b.WriteString(strings.Repeat(".", random.IntN(4)))
		b.WriteString(strings.Repeat("x", random.IntN(70)))
		b.WriteString("\r\n")
	}
	return b.String()
}
