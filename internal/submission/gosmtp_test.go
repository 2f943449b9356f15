package submission_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
)

// inbox is a backend of emersion/go-smtp: a server that we did not write.
type inbox struct {
	mu    sync.Mutex
	mails [][]byte
}

type visit struct {
	*inbox
	authenticated bool
}

func (b *inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &visit{inbox: b}, nil }

func (v *visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, u, p string) error {
		if v.authenticated = u == username && p == password; !v.authenticated {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (v *visit) Mail(string, *smtp.MailOptions) error {
	if !v.authenticated {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user " + to}
	}
	return nil
}

func (v *visit) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err != nil {
		return err // the connection was closed before the final dot
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mails = append(v.mails, mail)
	return nil
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

func startGoSMTP(t *testing.T, mode submission.TLSMode) (*inbox, submission.Relay) {
	t.Helper()
	box := &inbox{}
	srv := smtp.NewServer(box)
	srv.Domain = "test.example"
	srv.TLSConfig = authority().config(leaf{})
	srv.MaxMessageBytes = 1 << 20
	srv.ErrorLog = log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relay := (&server{mode: mode, listener: l}).relay()
	if mode == submission.ImplicitTLS {
		l = tls.NewListener(l, srv.TLSConfig)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Shutdown(context.Background())
		serving.Wait()
	})
	return box, relay
}

func TestSubmit_ToGoSMTP(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		box, relay := startGoSMTP(t, mode)
		c := client(t, relay)
		want := [][]byte{mail, lines(3 * submission.BlockSize), []byte(".\r\n..\r\n\r\n.\r\n")}
		for _, m := range want {
			receipt, err := c.Submit(context.Background(), envelope, m, nil)
			if err != nil || receipt.Code != 250 || receipt.EnhancedCode != "2.0.0" {
				t.Fatalf("got %+v, %v", receipt, err)
			}
		}
		_, err := c.Submit(context.Background(), submission.Envelope{From: envelope.From, To: "nobody@example.net"}, mail, nil)
		if e := failure(t, err); e.Phase != submission.PhaseRcpt || e.Code != 550 || e.EnhancedCode != "5.1.1" || e.Scope != submission.ScopeRecipient {
			t.Errorf("got %v of scope %s, want a 550 5.1.1 to RCPT", e, e.Scope)
		}
		_, err = c.Submit(context.Background(), envelope, lines(2<<20), nil)
		if e := failure(t, err); e.Phase != submission.PhaseMail || e.Code != 0 || e.Scope != submission.ScopeMessage {
			t.Errorf("got %v of scope %s, want a message too large for the announced SIZE", e, e.Scope)
		}
		lost := errors.New("the lock is lost")
		if _, err = c.Submit(context.Background(), envelope, mail, func(context.Context) error { return lost }); !errors.Is(err, lost) {
			t.Errorf("got %v, want the caller's error", err)
		}

		wrong := relay
		wrong.Password = secret.New("wrong-" + password)
		_, err = submit(client(t, wrong))
		if e := failure(t, err); e.Phase != submission.PhaseAuth || e.Code != 535 || e.Scope != submission.ScopeCredentials || !e.Permanent {
			t.Errorf("got %v of scope %s, want a 535 to AUTH", e, e.Scope)
		}
		wrong.Username, wrong.Password = "", secret.String{}
		_, err = submit(client(t, wrong))
		if e := failure(t, err); e.Phase != submission.PhaseMail || e.Scope != submission.ScopeCredentials {
			t.Errorf("got %v of scope %s, want that a login is needed", e, e.Scope)
		}
		box.mu.Lock()
		defer box.mu.Unlock()
		if len(box.mails) != len(want) {
			t.Fatalf("%d mails, want %d", len(box.mails), len(want))
		}
		for i := range want {
			if !bytes.Equal(box.mails[i], want[i]) {
				t.Errorf("mail %d: got %.60q, want %.60q", i, box.mails[i], want[i])
			}
		}
	})
}
