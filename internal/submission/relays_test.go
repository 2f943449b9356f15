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

// relaysOf returns Relays for servers, which are called a, b and so on, and closes them before the
// servers stop.
func relaysOf(t *testing.T, o submission.Options, servers ...*server) *submission.Relays {
	t.Helper()
	var relays []submission.Relay
	for i, s := range servers {
		r := s.relay()
		r.Name = string(rune('a' + i))
		relays = append(relays, r)
	}
	r, err := submission.NewRelays(relays, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func submitTurn(ctx context.Context, r *submission.Relays, prefer string, msg []byte, beforeDot func(context.Context) error) (submission.Acceptance, error) {
	turn, err := r.Acquire(ctx)
	if err != nil {
		return submission.Acceptance{}, err
	}
	defer turn.Release(ctx)
	return turn.Submit(ctx, prefer, envelope, msg, beforeDot)
}

func TestTurn_FailsOver(t *testing.T) {
	stop := errors.New("stop")
	tests := []struct {
		step, action string
		want         string // whose receipt, or in which phase it fails
	}{
		{"", "", "a"},
		{"greeting", "(drop)", "b"},
		{"greeting", "421 4.3.2 later", "b"},
		{"greeting", "554 no", "b"},
		{"ehlo", "(garbage)", "b"},
		{"auth", "535 5.7.8 no", "b"},
		{"auth", "454 4.7.0 too many", "b"},
		{"mail", "(drop)", "b"},
		{"mail", "451 4.3.0 later", "b"},
		{"mail", "550 5.7.1 no", "b"},
		{"mail", "552 5.3.4 too big", "mail"},
		{"rcpt", "550 5.7.1 policy", "b"},
		{"rcpt", "550 5.4.5 quota", "b"},
		{"rcpt", "450 4.2.1 later", "rcpt"},
		{"rcpt", "550 5.1.1 nobody", "rcpt"},
		{"data", "452 4.3.1 full", "b"},
		{"data", "554 5.6.0 no", "data"},
		{"data", "250 what", "b"},
		{"dot", "451 4.3.0 later", "b"},
		{"dot", "550 5.7.1 no", "b"},
		{"dot", "454 Throttling failure: Maximum sending rate exceeded.", "b"},
		{"dot", "554 5.7.1 looks like spam", "dot"},
		{"dot", "354 what", "dot"},
		{"dot", "(drop)", "dot"},
		{"beforeDot", "", "body"},
	}
	for _, tt := range tests {
		t.Run(tt.step+" "+tt.action, func(t *testing.T) {
			a := newServer(t, submission.ImplicitTLS, map[string]string{tt.step: tt.action}).start()
			b := newServer(t, submission.StartTLS, nil).start()
			r := relaysOf(t, submission.Options{}, a, b)
			receipt, err := submitTurn(context.Background(), r, "", mail, func(context.Context) error {
				if tt.step == "beforeDot" {
					return stop
				}
				return nil
			})
			got := receipt.Relay
			if err != nil {
				var e *submission.Error
				if !errors.As(err, &e) || e.Relay != "a" {
					t.Fatalf("got %v, want an *Error of relay a", err)
				}
				got = string(e.Phase)
			}
			if got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			r.Close()
			if n := len(b.mails); n != 0 && tt.want != "b" || n != 1 && tt.want == "b" {
				t.Errorf("relay b got %d mails", n)
			}
		})
	}
}

func TestTurn_EveryRelayFails(t *testing.T) {
	a := newServer(t, submission.ImplicitTLS, map[string]string{"greeting": "(drop)"}).start()
	b := newServer(t, submission.ImplicitTLS, map[string]string{"mail": "451 4.3.0 later"}).start()
	_, err := submitTurn(context.Background(), relaysOf(t, submission.Options{}, a, b), "", mail, nil)
	var e *submission.Error
	if !errors.As(err, &e) || e.Relay != "b" || e.Code != 451 {
		t.Errorf("got %v, want the last relay's 451", err)
	}
}

// TestBreaker_OpenCircuitMeansNoConnection: a suspended relay is not dialled, and a probe resumes it.
func TestBreaker_OpenCircuitMeansNoConnection(t *testing.T) {
	const pause = 200 * time.Millisecond
	a := newServer(t, submission.ImplicitTLS, map[string]string{"auth": "535 5.7.8 no"}).start()
	b := newServer(t, submission.ImplicitTLS, nil).start()
	var log journal
	r := relaysOf(t, submission.WithPauses(submission.Options{Changed: log.changed}, pause, pause), a, b)
	begun := time.Now()
	for range 20 {
		if receipt, err := submitTurn(context.Background(), r, "", mail, nil); err != nil || receipt.Relay != "b" {
			t.Errorf("got %+v, %v, want relay b", receipt, err)
		}
	}
	if _, ever, _ := a.connections(); ever > 1+int(time.Since(begun)/pause) {
		t.Errorf("%d connections to a relay with a stale password in %v", ever, time.Since(begun))
	}
	a.set(nil)
	waitFor(t, "relay a", func() bool {
		receipt, err := submitTurn(context.Background(), r, "", mail, nil)
		return err == nil && receipt.Relay == "a"
	})
	log.check(t, "a open for 0s: relay a: auth: 535 5.7.8 the user name or password was not accepted; check both, and whether the provider wants an app password", "a closed")
}

func TestTurn_Prefer(t *testing.T) {
	a, b := newServer(t, submission.ImplicitTLS, nil).start(), newServer(t, submission.ImplicitTLS, nil).start()
	r := relaysOf(t, submission.Options{}, a, b)
	send := func(prefer, want string) {
		t.Helper()
		if receipt, err := submitTurn(context.Background(), r, prefer, mail, nil); err != nil || receipt.Relay != want {
			t.Errorf("prefer %q: got %+v, %v, want relay %s", prefer, receipt, err, want)
		}
	}
	send("b", "b")
	send("a", "a")
	send("gone", "a")
	b.set(map[string]string{"mail": "550 5.7.1 no", "greeting": "554 no"})
	send("b", "a") // fails over
	tries := b.count("MAIL")
	send("b", "a") // b is open
	if n := b.count("MAIL"); n != tries {
		t.Errorf("relay b was tried %d times while it was open", n-tries)
	}
}

func TestTurn_IsForOneMail(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	turn, err := relaysOf(t, submission.Options{}, s).Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turn.Submit(context.Background(), "", envelope, mail, nil); err != nil {
		t.Fatal(err)
	}
	turn.Release(t.Context())
	if _, err := turn.Submit(context.Background(), "", envelope, mail, nil); err == nil {
		t.Error("a second Submit was no error")
	}
	if len(s.mails) != 1 {
		t.Errorf("%d mails, want 1", len(s.mails))
	}
}

func TestBreaker_CancelledProbeGoesToTheNextAttempt(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"mail": "550 5.7.1 no"}).start()
	r := relaysOf(t, submission.WithPauses(submission.Options{}, time.Millisecond, time.Millisecond), s)
	if _, err := submitTurn(context.Background(), r, "", mail, nil); err == nil {
		t.Fatal("no error")
	}
	s.set(nil)
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := submitTurn(ctx, r, "", mail, func(context.Context) error { cancel(); return nil })
		var e *submission.Error
		if !errors.As(err, &e) || e.Scope != submission.ScopeCaller {
			t.Errorf("got %v, want the cancellation", err)
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = submitTurn(context.Background(), r, "", mail, func(context.Context) error { panic("no") })
			t.Error("no panic")
		}()
	}
	if _, err := submitTurn(context.Background(), r, "", mail, nil); err != nil {
		t.Error(err)
	}
}

func TestNewRelays_NamesEverythingWrong(t *testing.T) {
	good := submission.Relay{Name: "a", Host: "mail.example.com", Port: 465, TLS: submission.ImplicitTLS}
	bad := good
	bad.Name, bad.Port = "b", 0
	if _, err := submission.NewRelays(nil, submission.Options{}); err == nil {
		t.Error("no relay: no error")
	}
	_, err := submission.NewRelays([]submission.Relay{good, bad, good}, submission.Options{})
	if got := fmt.Sprint(err); !strings.Contains(got, `relay "b": port 0`) || !strings.Contains(got, `relay "a": there are two`) {
		t.Errorf("got %q, want both complaints", got)
	}
}

func TestRelays_Check(t *testing.T) {
	a := newServer(t, submission.ImplicitTLS, map[string]string{"auth": "535 5.7.8 no"}).start()
	b := newServer(t, submission.StartTLS, nil).start()
	got := relaysOf(t, submission.Options{}, a, b).Check(context.Background())
	var e *submission.Error
	if len(got) != 2 || got[0].Relay != "a" || !errors.As(got[0].Err, &e) || e.Code != 535 {
		t.Fatalf("got %+v, want a 535 from a first", got)
	}
	if got[1].Relay != "b" || got[1].Err != nil || got[1].Info.Auth != "PLAIN" {
		t.Errorf("got %+v, want that b is well", got[1])
	}
}

// TestRelays_FirstGoesDownInMidRun: every mail arrives once, over the second relay while the first
// is away, and the log says so.
func TestRelays_FirstGoesDownInMidRun(t *testing.T) {
	const mails, callers = 2000, 16
	a, b := newServer(t, submission.ImplicitTLS, nil).start(), newServer(t, submission.StartTLS, nil).start()
	var log journal
	r := relaysOf(t, submission.WithPauses(submission.Options{Changed: log.changed}, 20*time.Millisecond, time.Minute), a, b)
	var next, overB, overAAgain atomic.Int64
	var sending sync.WaitGroup
	for range callers {
		sending.Go(func() {
			for i := next.Add(1); i <= mails; i = next.Add(1) {
				switch i {
				case mails / 4:
					// What was accepted is answered; everything else, and every new connection, is
					// cut off.
					a.set(map[string]string{"greeting": "(drop)", "mail": "(drop)", "rcpt": "(drop)", "data": "(drop)", "body": "(drop)", "rset": "(drop)"})
				case mails / 2:
					a.set(nil)
				}
				relay := sendUntilAccepted(t, r, fmt.Appendf(nil, "Subject: %d\r\n\r\nmail %d\r\n", i, i))
				if relay == "b" {
					overB.Add(1)
				} else if i > mails/2 {
					overAAgain.Add(1)
				}
			}
		})
	}
	sending.Wait()
	r.Close()
	seen := map[string]int{}
	for _, m := range append(a.mails, b.mails...) {
		seen[string(m)]++
	}
	doubled := 0
	for _, n := range seen {
		doubled += n - 1
	}
	if len(seen) != mails || doubled != 0 {
		t.Errorf("%d of %d mails arrived, %d twice", len(seen), mails, doubled)
	}
	if overB.Load() == 0 || overAAgain.Load() == 0 {
		t.Errorf("%d mails went over the second relay, %d over the first once it was back", overB.Load(), overAAgain.Load())
	}
	if len(log.lines) != 2 || !strings.HasPrefix(log.lines[0], "a open for 0s: relay a: ") || !strings.HasSuffix(log.lines[0], "the server closed the connection") ||
		log.lines[1] != "a closed" {
		t.Errorf("the log says %q, want that a opened, why, and that it closed", log.lines)
	}
	t.Logf("%d mails over the second relay, %d over the first once it was back; %q", overB.Load(), overAAgain.Load(), log.lines)
}

// sendUntilAccepted sends as a worker does: after an ambiguous failure on the same relay first.
func sendUntilAccepted(t *testing.T, r *submission.Relays, msg []byte) (relay string) {
	prefer := ""
	for {
		receipt, err := submitTurn(context.Background(), r, prefer, msg, nil)
		if err == nil {
			return receipt.Relay
		}
		var e *submission.Error
		if !errors.As(err, &e) {
			t.Errorf("got %v, want an *Error", err)
			return ""
		}
		if e.Ambiguous {
			prefer = e.Relay
		}
	}
}
