package submission_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// submitTo sends one mail to this recipient.
func submitTo(t *testing.T, r *submission.Relays, to string) (submission.Acceptance, *submission.Error) {
	t.Helper()
	turn, err := r.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := turn.Submit(context.Background(), "", submission.Envelope{From: envelope.From, To: to}, mail, nil)
	var e *submission.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return receipt, e
}

// TestOpinions_RelayThatRefusesEverybodyLosesNoMoreThanTwo: the third domain that is refused alike is a
// second opinion, and the backup has the mails from then on.
func TestOpinions_RelayThatRefusesEverybodyLosesNoMoreThanTwo(t *testing.T) {
	for _, reply := range []string{"550 5.1.1 no such user", "550 5.7.1 refused"} {
		a := newServer(t, submission.ImplicitTLS, map[string]string{"rcpt": reply}).start()
		b := newServer(t, submission.ImplicitTLS, nil).start()
		r := relaysOf(t, submission.Options{}, a, b)
		lost := 0
		for i := range 20 {
			if _, e := submitTo(t, r, fmt.Sprintf("u@d%d.example", i)); e != nil {
				lost++
			}
		}
		if want := map[bool]int{true: 2}[strings.Contains(reply, "user")]; lost != want {
			t.Errorf("%s: %d of 20 mails were lost, want %d", reply, lost, want)
		}
		a.set(nil)
	}
}

func TestOpinions_OneAcceptedMailMakesRefusalsTheRecipients(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := relaysOf(t, submission.Options{}, s)
	for i := range 12 {
		s.set(map[string]string{"rcpt": "550 5.1.1 no such user"})
		if _, e := submitTo(t, r, fmt.Sprintf("u@d%d.example", i)); e.Scope != submission.ScopeRecipient || !e.Permanent {
			t.Errorf("mail %d: got %v of scope %s, want the recipient's", i, e, e.Scope)
		}
		if i%2 == 1 {
			s.set(nil)
			if _, e := submitTo(t, r, "u@good.example"); e != nil {
				t.Error(e)
			}
		}
	}
}

func TestOpinions_SecondContentRefusalInARowIsTheOperators(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "554 5.7.1 looks like spam"}).start()
	r := relaysOf(t, submission.Options{}, s)
	for i, want := range []struct {
		to    string
		scope submission.Scope
	}{
		{"a@x.example", submission.ScopeMessage}, {"a@x.example", submission.ScopeMessage},
		{"b@x.example", submission.ScopeRelay}, {"c@y.example", submission.ScopeRelay},
	} {
		if _, e := submitTo(t, r, want.to); e.Scope != want.scope || !e.Permanent {
			t.Errorf("mail %d: got %v of scope %s, want %s", i, e, e.Scope, want.scope)
		}
	}
	s.set(nil)
	if _, e := submitTo(t, r, "d@y.example"); e != nil {
		t.Error(e)
	}
	s.set(map[string]string{"dot": "554 5.7.1 looks like spam"})
	if _, e := submitTo(t, r, "e@y.example"); e.Scope != submission.ScopeMessage {
		t.Errorf("after a mail that was taken: got scope %s, want the message's", e.Scope)
	}
}

// TestTooMuch_TheBackupHasTheMails: eight codes and an account that is over its rate.
func TestTooMuch_TheBackupHasTheMails(t *testing.T) {
	for _, script := range []map[string]string{
		{"dot": "454 Throttling failure: Maximum sending rate exceeded."},
		{"dot": `451 4.7.1 Ratelimit "user" exceeded`},
		{"rcpt": "550 exceeded hour limit"},
		{"auth": "454 4.7.0 Too many login attempts"},
	} {
		a := newServer(t, submission.ImplicitTLS, script).start()
		b := newServer(t, submission.StartTLS, nil).start()
		both, alone := relaysOf(t, submission.Options{}, a, b), relaysOf(t, submission.Options{}, a)
		for i := range 8 {
			if receipt, e := submitTo(t, both, fmt.Sprintf("code%d@example.net", i)); e != nil || receipt.Relay != "b" {
				t.Errorf("%v: mail %d: got %v, want that the backup took it", script, i, e)
			}
		}
		if _, e := submitTo(t, alone, "code@example.net"); !e.Limited || e.Wait != 2*time.Second || e.Scope != submission.ScopeRelay || e.Permanent {
			t.Errorf("%v: got %v, limited %v, wait %v", script, e, e.Limited, e.Wait)
		}
	}
}

// TestLimits_OutageLeavesTheDaysAllowance: a relay that cannot be reached, or does not let us log in, was
// given no message.
func TestLimits_OutageLeavesTheDaysAllowance(t *testing.T) {
	for name, script := range map[string]map[string]string{
		"no connection": {"greeting": "(drop)"}, "greeting": {"greeting": "554 no"}, "login": {"auth": "535 5.7.8 no"},
	} {
		s := newServer(t, submission.ImplicitTLS, script).start()
		var used atomic.Int64
		r := relaysOf(t, submission.WithPauses(submission.Options{Limits: limits{
			reserve: func(context.Context, string) (time.Duration, error) { used.Add(1); return 0, nil },
			release: func(context.Context, string) { used.Add(-1) },
		}}, time.Nanosecond, time.Nanosecond), s)
		var failing sync.WaitGroup
		for range 8 {
			failing.Go(func() {
				for range 50 {
					if _, e := submitTo(t, r, envelope.To); e == nil {
						t.Error("no failure")
					}
				}
			})
		}
		failing.Wait()
		if used.Load() != 0 {
			t.Errorf("%s: 400 failed connections used up %d messages of the allowance", name, used.Load())
		}
		s.set(map[string]string{"rcpt": "550 5.1.1 no such user"})
		if _, e := submitTo(t, r, envelope.To); e.Phase != submission.PhaseRcpt || used.Load() != 1 {
			t.Errorf("%s: got %v, and %d messages counted, want one for a relay that was given the mail", name, e, used.Load())
		}
	}
}

// TestPool_MailThatWaitedInLineIsNotCutOff: its time begins when a session is free.
func TestPool_MailThatWaitedInLineIsNotCutOff(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.MaxConnections = 1
	r.Timeouts.Total, r.Timeouts.FinalReply = 4*time.Second, 2*time.Second
	c := s.clientOf(r)
	var sending sync.WaitGroup
	for range 2 {
		sending.Go(func() { // together they take longer than one may take before its dot
			_, err := c.Submit(context.Background(), envelope, mail, func(context.Context) error {
				<-time.After(1200 * time.Millisecond)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	s.stop()
	s.checkMails(2, 1)
}

func TestDSN_NamesTheMailAndKeepsItsSecret(t *testing.T) {
	tests := []struct {
		name, ehlo, id string
		script         map[string]string
		want           []string // of the commands from MAIL on
	}{
		{"offered", `PIPELINING\nDSN\nAUTH PLAIN`, "id+1", nil,
			[]string{"MAIL FROM:<sender@example.com> RET=HDRS ENVID=id+2B1", "RCPT TO:<alice@example.net> NOTIFY=FAILURE,DELAY", "DATA"}},
		{"no name", `DSN\nAUTH PLAIN`, "", nil, []string{"MAIL FROM:<sender@example.com> RET=HDRS", "RCPT TO:<alice@example.net> NOTIFY=FAILURE,DELAY", "DATA"}},
		{"not offered", `AUTH PLAIN`, "id", nil, []string{"MAIL FROM:<sender@example.com>", "RCPT TO:<alice@example.net>", "DATA"}},
		{"a name too long", `DSN\nAUTH PLAIN`, strings.Repeat("=", 34), nil, []string{"MAIL FROM:<sender@example.com> RET=HDRS"}},
	}
	for _, tt := range tests {
		s := newServer(t, submission.ImplicitTLS, tt.script)
		s.ehlo = tt.ehlo
		env := envelope
		env.ID = tt.id
		if _, err := s.start().client().Submit(context.Background(), env, mail, nil); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		s.stop()
		if got := strings.Join(s.commands, "\n"); !strings.Contains(got, strings.Join(tt.want, "\n")) {
			t.Errorf("%s: got %q, want in it %q", tt.name, s.commands, tt.want)
		}
	}
}

// TestDSN_OfferedAndRefusedIsAskedOnceWithout, and the session does not offer it again.
func TestDSN_OfferedAndRefusedIsAskedOnceWithout(t *testing.T) {
	for _, step := range []string{"mail", "rcpt"} {
		s := newServer(t, submission.ImplicitTLS, nil)
		s.ehlo = `DSN\nAUTH PLAIN`
		c := s.start().client()
		s.next(step, "555 5.5.4 Unsupported option")
		mustSubmit(t, c)
		mustSubmit(t, c)
		s.stop()
		s.checkMails(2, 1)
		if with, all := s.count("MAIL FROM:<sender@example.com> RET"), s.count("MAIL"); with != 1 || all != 3 {
			t.Errorf("%s: %d of %d MAIL had parameters of DSN, want the first of three", step, with, all)
		}
	}
}
