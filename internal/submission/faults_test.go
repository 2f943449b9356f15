package submission_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// fault is one line of testdata/faults.txt, which explains the columns.
type fault struct {
	name, step, action   string
	phase, scope         string
	permanent, ambiguous bool
	pause                string
}

func faults(t *testing.T) []fault {
	t.Helper()
	table, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []fault
	for line := range strings.Lines(string(table)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 11 { // the last three are the worker's, whose tests read them
			t.Fatalf("not eleven columns: %s", line)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		all = append(all, fault{f[0], f[1], f[2], f[3], f[4], f[5] == "yes", f[6] == "yes", f[7]})
	}
	if len(all) < 100 {
		t.Fatalf("only %d faults in the table", len(all))
	}
	return all
}

// impatient is a short timeout, long enough for a busy machine to answer what it should answer.
const impatient = 700 * time.Millisecond

func TestFaults(t *testing.T) {
	before := openFiles(t)
	t.Run("all", func(t *testing.T) {
		for _, f := range faults(t) {
			for _, mode := range modes {
				if mode == submission.ImplicitTLS && (f.step == "clear-ehlo" || f.step == "starttls") {
					continue
				}
				t.Run(f.name+"/"+mode.String(), func(t *testing.T) {
					t.Parallel()
					testFault(t, f, mode, false)
				})
				if slices.Contains([]string{"mail", "rcpt", "data", "body", "dot"}, f.step) {
					t.Run(f.name+"/"+mode.String()+"/kept session", func(t *testing.T) {
						t.Parallel()
						testFault(t, f, mode, true)
					})
				}
			}
		}
	})
	if after := openFiles(t); after > before+2 {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// testFault plays one fault on a new session, or on one that has carried a mail, where the answer
// is the same.
func testFault(t *testing.T, f fault, mode submission.TLSMode, kept bool) {
	script := map[string]string{f.step: f.action}
	s := newServer(t, mode, nil).start()
	r := s.relay()
	if f.action == "(silence)" || f.action == "(drip)" {
		r.Timeouts.Command, r.Timeouts.FinalReply = impatient, impatient
		if f.step == "tls" {
			r.Timeouts.Connect = impatient
		}
	}
	c := s.clientOf(r)
	before, conns := 0, 1
	if kept {
		mustSubmit(t, c)
		before = 1
	}
	s.set(script)
	_, err := submit(c)
	e := failure(t, err)
	got := fault{f.name, f.step, f.action, string(e.Phase), string(e.Scope), e.Permanent, e.Ambiguous, string(e.Pause())}
	if got != f {
		t.Errorf("got  %+v\nwant %+v\nfrom %v", got, f, e)
	}
	if errors.Is(err, context.DeadlineExceeded) && f.step != "tls" {
		t.Errorf("the attempt timed out, not the phase: %v", e)
	}
	if f.action[0] == '4' || f.action[0] == '5' {
		if want := f.action[:3]; !strings.Contains(e.Error(), want) {
			t.Errorf("got %v, want the code %s in it", e, want)
		}
	}
	s.stop()
	s.checkNothingInClear()
	if kept && (e.Phase == submission.PhaseMail || e.Phase == submission.PhaseRcpt || e.Phase == submission.PhaseData) &&
		(e.Code == 421 || e.Scope == submission.ScopeNetwork && f.action != "(silence)" && f.action != "(drip)") {
		conns = 2 // what ends a kept session before the body may be no more than that it was idle for too long
	}
	if s.conns != conns {
		t.Errorf("%d connections, want %d", s.conns, conns)
	}
	if f.step != "dot" && len(s.mails) > before && f.action[0] != '4' {
		t.Errorf("a mail went out: %q", s.mails)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("counting open files needs /proc")
	}
	return len(files)
}

func TestReply_EndlessOneTakesLittleMemory(t *testing.T) {
	for _, step := range []string{"greeting", "dot"} {
		for _, action := range []string{"(banner)", "(endless)"} {
			c := newServer(t, submission.ImplicitTLS, map[string]string{step: action}).start().client()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := submit(c)
			runtime.ReadMemStats(&after)
			failure(t, err)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
				t.Errorf("%s at %s: %d bytes allocated by both sides, want at most 2 MiB", action, step, grown)
			}
		}
	}
}

func TestSubmit_CancelEndsEveryWait(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		steps := []string{"greeting", "ehlo", "auth", "mail", "rcpt", "data", "tls"}
		if mode == submission.StartTLS {
			steps = append(steps, "clear-ehlo", "starttls")
		}
		for _, step := range steps {
			s := newServer(t, mode, map[string]string{step: "(silence)"}).start()
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				<-s.reached
				cancel()
			}()
			_, err := s.client().Submit(ctx, envelope, mail, nil)
			e := failure(t, err)
			if e.Scope != submission.ScopeCaller || !errors.Is(err, context.Canceled) || e.Permanent {
				t.Errorf("%s: got scope %s, permanent %v, %v; want the caller's cancellation", step, e.Scope, e.Permanent, e)
			}
			if e.Ambiguous {
				t.Errorf("%s: it is called ambiguous", step)
			}
		}
	})
}

// TestSubmit_CancelAfterTheDotLosesNoReply: a cancel there would mean a second copy.
func TestSubmit_CancelAfterTheDotLosesNoReply(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "(gate)250 2.0.0 ok"}).start()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-s.reached
		cancel()
		close(s.gate)
	}()
	if r, err := s.client().Submit(ctx, envelope, mail, nil); err != nil || r.Code != 250 {
		t.Errorf("got %v, %v; want the reply to the dot", r, err)
	}
}

func TestSubmit_CancelledBeforeItBegan(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.client().Submit(ctx, envelope, mail, nil)
	if e := failure(t, err); e.Phase != submission.PhaseDial || e.Scope != submission.ScopeCaller {
		t.Errorf("got %v, want a cancelled dial", e)
	}
}

func TestTimeouts_TotalBoundsTheAttempt(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"rcpt": "(silence)"}).start()
	r := s.relay()
	r.Timeouts.Total, r.Timeouts.FinalReply = impatient, impatient/2
	_, err := submit(s.clientOf(r))
	e := failure(t, err)
	if e.Phase != submission.PhaseRcpt || e.Scope != submission.ScopeNetwork || !strings.Contains(e.Error(), "the attempt") {
		t.Errorf("got %v in scope %s, want the end of the attempt at RCPT, in scope network", e, e.Scope)
	}
}

func TestTimeouts_NoDotWithoutTimeForItsReply(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.Timeouts.FinalReply = r.Timeouts.Total - time.Nanosecond
	_, err := submit(s.clientOf(r))
	if e := failure(t, err); e.Phase != submission.PhaseBody || e.Ambiguous || e.Scope != submission.ScopeNetwork {
		t.Errorf("got %v, want a refusal to write the dot without time for its reply", e)
	}
	s.stop()
	if len(s.mails) > 0 {
		t.Error("the mail went out")
	}
}

func TestSubmit_Unreachable(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	s.stop()
	_, err := submit(s.clientOf(r))
	if e := failure(t, err); e.Phase != submission.PhaseDial || e.Scope != submission.ScopeNetwork || !strings.Contains(e.Error(), "nothing listens") {
		t.Errorf("got %v", e)
	}
}

// TestError_ExplainsBrokenPaths has errors that a test cannot cause without a network.
func TestError_ExplainsBrokenPaths(t *testing.T) {
	tests := []struct {
		err       error
		scope     submission.Scope
		permanent bool
		want      string
	}{
		{&net.DNSError{Err: "no such host", IsNotFound: true}, submission.ScopeNetwork, false, `no address found for "mail.example.com"`},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, submission.ScopeNetwork, false, "name service"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, submission.ScopeNetwork, false, "in time"},
		{&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, submission.ScopeNetwork, false, "in time"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, submission.ScopeNetwork, false, "nothing listens on port 587"},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, submission.ScopeNetwork, false, "the connection failed"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, submission.ScopeNetwork, false, "closed the connection"},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, submission.ScopeNetwork, false, "closed the connection"},
	}
	for _, tt := range tests {
		e := failure(t, submission.Broken(context.Background(), submission.PhaseDial, tt.err))
		if e.Scope != tt.scope || e.Permanent != tt.permanent || !strings.Contains(e.Error(), tt.want) || !errors.Is(e, tt.err) {
			t.Errorf("%v: got %v, scope %s, permanent %v", tt.err, e, e.Scope, e.Permanent)
		}
	}
}

// TestSession_DiedWhileIdle: the server is gone when the second mail is begun, so it cannot have it.
func TestSession_DiedWhileIdle(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	session, err := s.client().Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.abort()
	e := failure(t, session.Send(envelope.From, []string{envelope.To}, bytes.NewBuffer(mail)))
	if e.Phase != submission.PhaseMail || e.Scope != submission.ScopeNetwork || e.Ambiguous || !session.Dead() {
		t.Errorf("got %v of scope %s, dead %v", e, e.Scope, session.Dead())
	}
}
