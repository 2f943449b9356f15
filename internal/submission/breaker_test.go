package submission_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/securemail/internal/submission"
)

// These tests run on synctest's clock and end turns without sending, so that the pauses are the
// real ones.

var (
	down    = &submission.Error{Relay: "a", Phase: submission.PhaseDial, Scope: submission.ScopeNetwork}
	stale   = &submission.Error{Relay: "a", Phase: submission.PhaseAuth, Code: 535, Scope: submission.ScopeCredentials, Permanent: true}
	nobody  = &submission.Error{Relay: "a", Phase: submission.PhaseRcpt, Code: 550, EnhancedCode: "5.1.1", Scope: submission.ScopeRecipient, Permanent: true}
	gaveUp  = &submission.Error{Relay: "a", Phase: submission.PhaseDial, Scope: submission.ScopeCaller}
	tooLong = context.DeadlineExceeded
)

// journal is what Changed was told.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) changed(relay string, open bool, cause error, until time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := relay + " closed"
	if open {
		line = fmt.Sprintf("%s open for %v: %v", relay, time.Until(until).Round(time.Second), cause)
	}
	if open == (cause == nil) {
		line += " (cause and state disagree)"
	}
	j.lines = append(j.lines, line)
}

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("got  %q\nwant %q", j.lines, want)
	}
}

func relaysNamed(t *testing.T, o submission.Options, names ...string) *submission.Relays {
	t.Helper()
	var relays []submission.Relay
	for _, name := range names {
		relays = append(relays, submission.Relay{Name: name, Host: name + ".example.com", Port: 465, TLS: submission.ImplicitTLS})
	}
	r, err := submission.NewRelays(relays, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// acquire returns a turn that is to be had at once, or nil.
func acquire(t *testing.T, r *submission.Relays) *submission.Turn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	turn, err := r.Acquire(ctx)
	if err != nil && !(errors.Is(err, submission.ErrNoRelay) && errors.Is(err, tooLong)) {
		t.Fatalf("got %v, want ErrNoRelay and the end of the context", err)
	}
	return turn
}

func mustAcquire(t *testing.T, r *submission.Relays, want string) *submission.Turn {
	t.Helper()
	turn := acquire(t, r)
	if turn == nil || turn.Relay() != want {
		t.Fatalf("got %+v, want a turn for relay %s", turn, want)
	}
	return turn
}

func mustWait(t *testing.T, r *submission.Relays) {
	t.Helper()
	if turn := acquire(t, r); turn != nil {
		t.Fatalf("got a turn for relay %s, want none", turn.Relay())
	}
}

func TestBreaker_OpensAfterFiveFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		r := relaysNamed(t, submission.Options{Changed: log.changed}, "a")
		for range 4 {
			mustAcquire(t, r, "a").End(down)
		}
		mustAcquire(t, r, "a").End(nobody) // it answers: the row ends
		mustAcquire(t, r, "a").End(gaveUp)
		for range 4 {
			mustAcquire(t, r, "a").End(down)
		}
		mustAcquire(t, r, "a").End(gaveUp) // nothing learnt: the row goes on
		log.check(t)
		late := mustAcquire(t, r, "a")
		mustAcquire(t, r, "a").End(down)
		opened := "a open for 10s: " + down.Error()
		log.check(t, opened)
		mustWait(t, r)
		late.End(nil) // begun before: it says nothing about now
		mustWait(t, r)

		time.Sleep(10*time.Second + 1)
		probe := mustAcquire(t, r, "a")
		mustWait(t, r)
		probe.End(down)
		mustWait(t, r)
		time.Sleep(10*time.Second + 1)
		mustAcquire(t, r, "a").End(nobody)
		log.check(t, opened, "a closed")
		for range 4 {
			mustAcquire(t, r, "a").End(down)
		}
		mustAcquire(t, r, "a").End(nil)
	})
}

func TestBreaker_UnusedProbeGoesToTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*submission.Turn){
			"released":  func(turn *submission.Turn) { turn.Release(t.Context()) },
			"twice":     func(turn *submission.Turn) { turn.Release(t.Context()); turn.Release(t.Context()) },
			"cancelled": func(turn *submission.Turn) { turn.End(gaveUp) },
			"our refusal": func(turn *submission.Turn) {
				turn.End(&submission.Error{Phase: submission.PhasePrepare, Scope: submission.ScopeMessage})
			},
		} {
			for _, outcome := range []error{down, stale} {
				r := relaysNamed(t, submission.Options{}, "a")
				for range 5 {
					if turn := acquire(t, r); turn != nil {
						turn.End(outcome)
					}
				}
				time.Sleep(5*time.Minute + 1)
				for range 3 {
					turn := mustAcquire(t, r, "a")
					mustWait(t, r)
					end(turn)
				}
				mustAcquire(t, r, "a").End(nil)
				for range 2 {
					if acquire(t, r) == nil {
						t.Errorf("%s: a good probe did not let everybody through", name)
					}
				}
			}
		}
	})
}

func TestBreaker_LengthOfPause(t *testing.T) {
	relay, before := submission.ScopeRelay, submission.PhaseMail
	tests := []struct {
		outcome *submission.Error
		long    bool
	}{
		{stale, true},
		{submission.Refused(before, 530, "5.7.0"), true},
		{submission.Refused(submission.PhaseAuth, 435, "4.7.8"), true},
		{submission.Refused(submission.PhaseAuth, 535, "", "IP address not allowed"), true},
		{submission.Broken(context.Background(), submission.PhaseTLS, x509.UnknownAuthorityError{}), true},
		{submission.Broken(context.Background(), submission.PhaseTLS, errors.New("remote error: tls: internal error")), false},
		{submission.Broken(context.Background(), submission.PhaseDial, &net.DNSError{Err: "no such host", IsNotFound: true}), false},
		{&submission.Error{Phase: submission.PhaseStartTLS, Scope: relay, Permanent: true}, false},
		{submission.Refused(submission.PhaseGreeting, 554, ""), false},
		{submission.Refused(submission.PhaseEHLO, 502, "5.5.1"), false},
		{submission.Refused(before, 550, "5.7.1"), false},
		{submission.Refused(submission.PhaseStartTLS, 454, "4.7.0"), false}, // no TLS for now, says RFC 3207
		{submission.Refused(submission.PhaseAuth, 454, ""), false},
		{submission.Refused(before, 421, "4.3.2"), false},
		{submission.Refused(before, 451, "4.3.0"), false},
		{&submission.Error{Phase: submission.PhaseDot, Scope: submission.ScopeNetwork, Ambiguous: true}, false},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range tests {
			var log journal
			r := relaysNamed(t, submission.Options{Changed: log.changed}, "a")
			mustAcquire(t, r, "a").End(tt.outcome)
			if !tt.long {
				for range 4 {
					log.check(t)
					mustAcquire(t, r, "a").End(tt.outcome)
				}
				log.check(t, "a open for 10s: "+tt.outcome.Error())
				continue
			}
			opened := "a open for 5m0s: " + tt.outcome.Error()
			log.check(t, opened)
			for range 2 { // one probe each five minutes
				time.Sleep(5*time.Minute - time.Second)
				mustWait(t, r)
				time.Sleep(time.Second + 1)
				mustAcquire(t, r, "a").End(tt.outcome)
				mustWait(t, r)
			}
			time.Sleep(5*time.Minute + 1)
			mustAcquire(t, r, "a").End(nil)
			log.check(t, opened, "a closed")
		}
	})
}

// TestBreaker_OddRecipientsDoNotSuspendTheOnlyRelay: refusals of recipients need a second opinion from
// other domains, and even then the only relay is tried.
func TestBreaker_OddRecipientsDoNotSuspendTheOnlyRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, words := range []string{"Recipient address rejected: Access denied", "relaying to this domain is not allowed", "5.3.0 out of order"} {
			var log journal
			r := relaysNamed(t, submission.Options{Changed: log.changed}, "a")
			for range 50 {
				mustAcquire(t, r, "a").End(submission.RefusedFor("odd.example", submission.PhaseRcpt, 554, "5.7.1", words))
			}
			log.check(t)
			for i := range 12 {
				mustAcquire(t, r, "a").End(submission.RefusedFor(fmt.Sprintf("odd%d.example", i), submission.PhaseRcpt, 554, "5.7.1", words))
			}
			mustAcquire(t, r, "a").End(nil)
		}
	})
}

// TestBreaker_RelayThatRefusesEverybodyGivesWayToTheNext: from several domains, such refusals suspend a
// relay where there is another.
func TestBreaker_RelayThatRefusesEverybodyGivesWayToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		r := relaysNamed(t, submission.Options{Changed: log.changed}, "a", "b")
		for i := range 5 {
			mustAcquire(t, r, "a").End(submission.RefusedFor(fmt.Sprintf("d%d.example", i), submission.PhaseRcpt, 554, "5.7.1", "Relay access denied"))
		}
		mustAcquire(t, r, "b").End(nil)
		time.Sleep(10*time.Second + 1)
		mustAcquire(t, r, "a").End(nil)
		if len(log.lines) != 2 || log.lines[1] != "a closed" {
			t.Errorf("got %q, want that a opened and closed", log.lines)
		}
	})
}

// TestBreaker_TooMuchMakesWaitsThatGrow: seconds at first, for all mails at the same time, and after
// some in a row the relay is suspended, also the only one.
func TestBreaker_TooMuchMakesWaitsThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := relaysNamed(t, submission.Options{}, "a")
		tooMuch := func(i int) time.Duration {
			e := submission.RefusedFor(fmt.Sprintf("d%d.example", i), submission.PhaseDot, 454, "", "Throttling failure: Maximum sending rate exceeded.")
			mustAcquire(t, r, "a").End(e)
			return e.Wait
		}
		for i, want := range []time.Duration{2, 2, 4, 8, 16} {
			if got := tooMuch(i); got != want*time.Second {
				t.Errorf("reply %d: a wait of %v, want %v s", i, got, want)
			}
			if i > 0 {
				time.Sleep(want*time.Second + 1)
			}
		}
		time.Sleep(time.Minute)
		mustAcquire(t, r, "a").End(nil)
		if got := tooMuch(9); got != 2*time.Second {
			t.Errorf("after a mail was taken: a wait of %v, want 2 s", got)
		}
		for i := range 4 {
			tooMuch(i)
		}
		mustWait(t, r)
	})
}

// TestBreaker_ProbeThatFindsALongerPause: the probe of a relay that was down finds a wrong password.
func TestBreaker_ProbeThatFindsALongerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		r := relaysNamed(t, submission.Options{Changed: log.changed}, "a")
		for range 5 {
			mustAcquire(t, r, "a").End(down)
		}
		time.Sleep(10*time.Second + 1)
		mustAcquire(t, r, "a").End(stale)
		time.Sleep(5*time.Minute + 1)
		mustAcquire(t, r, "a").End(down)
		mustWait(t, r)
		time.Sleep(10*time.Second + 1)
		mustAcquire(t, r, "a").End(nil)
		log.check(t, "a open for 10s: "+down.Error(), "a open for 5m0s: "+stale.Error(), "a closed")
	})
}
