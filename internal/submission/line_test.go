package submission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/securemail/internal/submission"
)

// TestPool_StartsAtFiveAndGrows: five sessions until the relay has taken a message, then more,
// never over the limit.
func TestPool_StartsAtFiveAndGrows(t *testing.T) {
	const callers, most = 60, 12
	s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "(gate)250 2.0.0 ok"}).start()
	r := s.relay()
	r.MaxConnections = most
	c := s.clientOf(r)
	var sending sync.WaitGroup
	for range callers {
		sending.Go(func() {
			if _, err := submit(c); err != nil {
				t.Error(err)
			}
		})
	}
	atDot := 0
	for accepted := range callers {
		want := min(5+accepted, most, callers-accepted)
		for atDot-accepted < want {
			<-s.reached
			atDot++
		}
		waitFor(t, "everybody else in line", func() bool { _, waiting, _ := c.Pool(); return waiting == max(0, callers-accepted-want) })
		if now, _, _ := s.connections(); now > min(5+accepted, most) {
			t.Fatalf("%d connections after %d mails, want at most %d", now, accepted, min(5+accepted, most))
		}
		s.gate <- struct{}{}
	}
	sending.Wait()
	s.stop()
	if s.peak != most {
		t.Errorf("%d connections at a time, want %d", s.peak, most)
	}
	s.checkMails(callers, most)
}

func TestPool_FirstComeFirstServed(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "(gate)250 2.0.0 ok"}).start()
	r := s.relay()
	r.MaxConnections = 1
	c := s.clientOf(r)
	var sending sync.WaitGroup
	send := func(ctx context.Context, i int, check func(error)) {
		sending.Go(func() {
			_, err := c.Submit(ctx, submission.Envelope{From: envelope.From, To: fmt.Sprintf("r%d@example.net", i)}, mail, nil)
			check(err)
		})
		waitFor(t, "the caller in line", func() bool { open, waiting, _ := c.Pool(); return open+waiting == i+1 })
	}
	good := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 10 {
		if i == 4 {
			send(ctx, i, func(err error) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want the cancellation", err)
				}
			})
			continue
		}
		send(context.Background(), i, good)
	}
	cancel()
	waitFor(t, "nine callers", func() bool { open, waiting, _ := c.Pool(); return open+waiting == 9 })
	for range 9 {
		<-s.reached
		s.gate <- struct{}{}
	}
	sending.Wait()
	s.stop()
	var got []string
	for _, line := range s.commands {
		if to, ok := strings.CutPrefix(line, "RCPT TO:<r"); ok {
			got = append(got, to[:1])
		}
	}
	if want := strings.Split("012356789", ""); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.checkMails(9, 1)
}

func TestPool_WaitInLineIsBounded(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.MaxConnections = 1
	r.Timeouts.Total, r.Timeouts.FinalReply = impatient, impatient/2
	c := s.clientOf(r)
	var first sync.WaitGroup
	held, release := make(chan struct{}), make(chan struct{})
	first.Go(func() {
		_, _ = c.Submit(context.Background(), envelope, mail, func(context.Context) error { close(held); <-release; return nil })
	})
	<-held
	_, err := submit(c)
	if e := failure(t, err); e.Phase != submission.PhaseDial || e.Scope != submission.ScopeRelay || e.Pause() != submission.PauseNone || !e.FailsOver() {
		t.Errorf("got %v of scope %s and pause %s, want one that another relay can take, and no word against this one", e, e.Scope, e.Pause())
	}
	close(release)
	first.Wait()
}

func TestPool_GrantToACallerThatLeft(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.MaxConnections = 1
	c := s.clientOf(r)
	for range 3 { // the right to dial first, then an idle session
		c.GrantAndLeave()
		mustSubmit(t, c)
	}
	s.stop()
	s.checkMails(3, 1)
}

func TestPool_OneFailedDialTellsAllInLine(t *testing.T) {
	tests := []struct {
		step, action string
		scope        submission.Scope
	}{
		{"greeting", "(silence)", submission.ScopeNetwork},
		{"greeting", "421 4.3.2 too busy", submission.ScopeRelay},
		{"auth", "454 4.7.0 too many logins", submission.ScopeRelay},
		{"auth", "535 5.7.8 no", submission.ScopeCredentials},
		{"auth", "432 4.7.12 change the password", submission.ScopeCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.action, func(t *testing.T) {
			s := newServer(t, submission.ImplicitTLS, map[string]string{tt.step: tt.action}).start()
			r := s.relay()
			r.Timeouts.Command = impatient
			c := s.clientOf(r)
			var begin, sending sync.WaitGroup
			begin.Add(1)
			for range 32 {
				sending.Go(func() {
					begin.Wait()
					_, err := submit(c)
					if e := failure(t, err); string(e.Phase) != tt.step || e.Scope != tt.scope {
						t.Errorf("got %v of scope %s, want a failure at %s", e, e.Scope, tt.step)
					}
				})
			}
			begin.Done()
			sending.Wait()
			// A caller that was late to the line had to see for itself.
			if _, ever, _ := s.connections(); ever > 2*5 {
				t.Errorf("%d connections, want hardly more than the 5 that a pool begins with", ever)
			}
		})
	}
}

// TestPool_RelayThatTakesFewConnections: no mail fails for it.
func TestPool_RelayThatTakesFewConnections(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		s := newServer(t, mode, nil)
		s.most = 3
		c := s.start().client()
		var sending sync.WaitGroup
		for range 20 {
			sending.Go(func() {
				for range 5 {
					if _, err := submit(c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		sending.Wait()
		if _, _, limit := c.Pool(); limit > 4 {
			t.Errorf("the pool allows itself %d sessions, want about the 3 that the relay takes", limit)
		}
		s.stop()
		if len(s.mails) != 100 {
			t.Errorf("%d mails, want 100", len(s.mails))
		}
	})
}

func TestPool_CloseSaysQuitOnIdleSessions(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "(gate)250 2.0.0 ok"}).start()
	c := s.client()
	var sending sync.WaitGroup
	for range 3 {
		sending.Go(func() { _, _ = submit(c) })
	}
	for range 3 {
		<-s.reached
	}
	close(s.gate)
	sending.Wait()
	c.Close()
	if n := s.count("QUIT"); n != 3 {
		t.Errorf("%d QUIT, want 3", n)
	}
}

func TestPool_PanicInBeforeDotLeavesNoSlotTaken(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.MaxConnections = 1
	c := s.clientOf(r)
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Submit(context.Background(), envelope, mail, func(context.Context) error { panic("no") })
		t.Error("no panic")
	}()
	mustSubmit(t, c)
	s.stop()
	s.checkMails(1, 2)
	if len(s.half) > 0 {
		t.Errorf("the server got %q of the half mail", s.half)
	}
}
