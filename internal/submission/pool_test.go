package submission_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (s *server) set(script map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// count returns how many commands begin with verb.
func (s *server) count(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.commands {
		if strings.HasPrefix(c, verb) {
			n++
		}
	}
	return n
}

func (s *server) connections() (now, ever, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open), s.conns, s.peak
}

func (s *server) checkMails(want, conns int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) != want || s.conns != conns {
		s.t.Errorf("%d mails over %d connections, want %d over %d", len(s.mails), s.conns, want, conns)
	}
}

func mustSubmit(t *testing.T, c *submission.Client) submission.Acceptance {
	t.Helper()
	receipt, err := submit(c)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func TestPool_OneSessionForManyMails(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		s := newServer(t, mode, nil).start()
		c := s.client()
		for i := range 10 {
			if got := mustSubmit(t, c).Timings.Connect; (got > 0) != (i == 0) {
				t.Errorf("mail %d: connecting took %v, want none but for the first", i, got)
			}
		}
		s.stop()
		s.checkMails(10, 1)
		if s.count("AUTH") != 1 || s.count("RSET") != 0 || s.count("QUIT") != 1 {
			t.Errorf("got %q, want one AUTH, no RSET, one QUIT", s.commands)
		}
	})
}

func TestPool_RefusedRecipientKeepsTheSession(t *testing.T) {
	for _, ehlo := range []string{extensions, `AUTH PLAIN`} {
		s := newServer(t, submission.ImplicitTLS, nil)
		s.ehlo = ehlo
		c := s.start().client()
		for range 3 {
			s.set(map[string]string{"rcpt": "550 5.1.1 no such user", "data": "554 5.5.1 no valid recipients"})
			_, err := submit(c)
			if e := failure(t, err); e.Code != 550 {
				t.Errorf("got %v, want the 550", err)
			}
			s.set(nil)
			mustSubmit(t, c)
		}
		s.stop()
		s.checkMails(3, 1)
		if n := s.count("RSET"); n != 3 {
			t.Errorf("%d RSET, want 3, each after a refusal", n)
		}
	}
}

func TestPool_DoubtEndsTheSession(t *testing.T) {
	for _, action := range []string{"421 4.3.2 shutting down", "(drop)", "(garbage)", "354 what"} {
		s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": action}).start()
		c := s.client()
		_, err := submit(c)
		failure(t, err)
		s.set(nil)
		mustSubmit(t, c)
		s.stop()
		if s.conns != 2 {
			t.Errorf("%s: %d connections, want another one after it", action, s.conns)
		}
	}
}

// TestPool_SessionLostWhileIdle: whatever happens to an idle session, the next mail neither fails
// nor is sent twice.
func TestPool_SessionLostWhileIdle(t *testing.T) {
	losses := map[string]func(*server, *submission.Client){
		"the server closes":  func(s *server, _ *submission.Client) { s.hangUp("", false) },
		"the server resets":  func(s *server, _ *submission.Client) { s.hangUp("", true) },
		"421, then closes":   func(s *server, _ *submission.Client) { s.hangUp("421 4.4.2 idle for too long\r\n", false) },
		"our end is closed":  func(_ *server, c *submission.Client) { c.Lose() },
		"421 to the next":    func(s *server, _ *submission.Client) { s.next("mail", "421 4.4.2 idle for too long") },
		"closes at the next": func(s *server, _ *submission.Client) { s.next("mail", "(drop)") },
		"closes at RCPT":     func(s *server, _ *submission.Client) { s.next("rcpt", "(drop)") },
		"closes at DATA":     func(s *server, _ *submission.Client) { s.next("data", "(drop)") },
	}
	for name, lose := range losses {
		for _, age := range []time.Duration{0, 10 * time.Second} {
			t.Run(fmt.Sprintf("%s, idle for %v", name, age), func(t *testing.T) {
				onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
					s := newServer(t, mode, nil).start()
					c := s.client()
					mustSubmit(t, c)
					lose(s, c)
					c.Age(age)
					asked := 0
					if _, err := c.Submit(context.Background(), envelope, mail, func(context.Context) error { asked++; return nil }); err != nil || asked != 1 {
						t.Errorf("got %v, and beforeDot was called %d times", err, asked)
					}
					s.stop()
					s.checkMails(2, 2)
					if s.resumed != 1 {
						t.Errorf("%d TLS sessions were resumed, want that of the second connection", s.resumed)
					}
					if age > 0 && !strings.Contains(name, " at ") && !strings.Contains(name, "next") && s.count("MAIL") != 2 {
						t.Errorf("the dead session was written on: %q", s.commands)
					}
				})
			})
		}
	}
}

// hangUp ends every connection from the server's side, once text is said.
func (s *server) hangUp(text string, reset bool) {
	s.mu.Lock()
	open := maps.Clone(s.open)
	s.mu.Unlock()
	for c, d := range open {
		_, _ = io.WriteString(d.rw, text)
		if reset {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
}

// next does action at the next step of that name, and then nothing special.
func (s *server) next(step, action string) {
	var once sync.Once
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chance = func(at string) (now string) {
		if at == step {
			once.Do(func() { now = action })
		}
		return now
	}
}

// TestPool_SessionIsReplacedOnceOnly: a session that fails as a kept one did is the answer, not the
// beginning of a loop.
func TestPool_SessionIsReplacedOnceOnly(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	mustSubmit(t, c)
	s.set(map[string]string{"mail": "(drop)"})
	_, err := submit(c)
	if e := failure(t, err); e.Phase != submission.PhaseMail || e.Scope != submission.ScopeNetwork || e.Ambiguous {
		t.Errorf("got %v", e)
	}
	s.stop()
	s.checkMails(1, 2)
}

func TestPool_SessionsRetire(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	for range 101 {
		mustSubmit(t, c)
	}
	c.Age(5 * time.Minute)
	mustSubmit(t, c) // the last mail of the second session
	mustSubmit(t, c)
	waitFor(t, "QUIT of two sessions", func() bool { return s.count("QUIT") == 2 })
	c.ExpireIdle()
	waitFor(t, "QUIT of the idle session", func() bool { return s.count("QUIT") == 3 })
	if open, _, _ := c.Pool(); open != 0 {
		waitFor(t, "no session", func() bool { open, _, _ := c.Pool(); return open == 0 })
	}
	s.stop()
	s.checkMails(103, 3)
}
