package submission_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"example.com/securemail/internal/submission"
)

// TestBody_IsWrittenInBlocks sends messages whose length on the wire is around the end of a block:
// the last write must hold the final dot.
func TestBody_IsWrittenInBlocks(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	var want [][]byte
	const end = len(".\r\n")
	for _, n := range []int{3, 4, 5, 100} {
		for d := -8; d <= 8; d++ {
			msg := lines(n*submission.BlockSize/3 + d - end)
			want = append(want, msg)
			if _, err := c.Submit(context.Background(), envelope, msg, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Close()
	s.stop()
	for i := range want {
		if !bytes.Equal(s.mails[i], want[i]) {
			t.Errorf("message %d of %d octets came out as %d octets", i, len(want[i]), len(s.mails[i]))
		}
	}
}

// lines returns a message of n octets.
func lines(n int) []byte {
	b := bytes.Repeat([]byte("x234567890123456789012345678901234567890123456789012345678901234567890\r\n"), n/72+1)[:n]
	copy(b[n-4:], "yy\r\n")
	return bytes.ReplaceAll(b, []byte("\ryy\r\n"), []byte("xyy\r\n"))
}

func TestBeforeDot_StopsTheMail(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		for _, msg := range [][]byte{mail, lines(10 * submission.BlockSize)} {
			s := newServer(t, mode, nil).start()
			c := s.client()
			lost := errors.New("the lock is lost")
			calls := 0
			_, err := c.Submit(context.Background(), envelope, msg, func(context.Context) error { calls++; return lost })
			e := failure(t, err)
			if !errors.Is(err, lost) || e.Phase != submission.PhaseBody || e.Scope != submission.ScopeCaller || e.Ambiguous || calls != 1 {
				t.Errorf("got %v in scope %s after %d calls, want the caller's error", e, e.Scope, calls)
			}
			c.Close()
			s.stop()
			if len(s.mails) != 0 {
				t.Errorf("the server got %q", s.mails)
			}
		}
	})
}

// TestBody_LastBlockHoldsTheDot: a mail that is stopped before the final dot has sent none of it, not
// even its CRLF, and all that comes before the last block. Nothing follows, such as a QUIT that would
// be taken for text.
func TestBody_LastBlockHoldsTheDot(t *testing.T) {
	const end = len("\r\n.\r\n")
	for d := -end - 2; d <= end+2; d++ {
		s := newServer(t, submission.ImplicitTLS, nil).start()
		msg := lines(2*submission.BlockSize + d)
		onWire := len(msg) + len(".\r\n")
		stop := errors.New("stop")
		c := s.client()
		if _, err := c.Submit(context.Background(), envelope, msg, func(context.Context) error { return stop }); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		c.Close()
		s.stop()
		if n := len(s.half); !bytes.HasPrefix(msg, s.half) || n > onWire-end || n < onWire-submission.BlockSize {
			t.Errorf("%d octets of %d came before the last block, ending in %q", n, onWire, s.half[max(0, n-8):])
		}
	}
}

func TestBeforeDot_CancelStopsTheMail(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.client().Submit(ctx, envelope, mail, func(context.Context) error { cancel(); return nil })
	if e := failure(t, err); e.Phase != submission.PhaseBody || e.Ambiguous || e.Scope != submission.ScopeCaller {
		t.Errorf("got %v, want the caller's cancellation, not ambiguous", e)
	}
	s.stop()
	if len(s.mails) != 0 {
		t.Errorf("the server got %q", s.mails)
	}
}

// TestBody_CutInTheMiddleIsNotAmbiguous has more body than all buffers on the way hold, so that the
// server closes before the last block is written.
func TestBody_CutInTheMiddleIsNotAmbiguous(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		huge := lines(32 << 20)
		for _, action := range []string{"(drop)", "421 4.3.0 out of here"} {
			s := newServer(t, mode, map[string]string{"body": action, "dot": "(drop)"}).start()
			if action != "(drop)" {
				s.script = map[string]string{"data": `354 go\r\n421 4.3.0 out of here`}
			}
			_, err := s.client().Submit(context.Background(), envelope, huge, nil)
			if e := failure(t, err); e.Phase != submission.PhaseBody || e.Ambiguous {
				t.Errorf("%s: got %v, want a failure in phase body that is not ambiguous", action, e)
			}
		}
	})
}

// TestBody_TimesOutWhenTheServerStopsReading has a server that stops reading.
func TestBody_TimesOutWhenTheServerStopsReading(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil)
	stop := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(stop) }) })
	s.script = map[string]string{"body": "(stuck)"}
	s.stuck = stop
	r := s.start().relay()
	r.Timeouts.Data = impatient
	_, err := s.clientOf(r).Submit(context.Background(), envelope, lines(32<<20), nil)
	once.Do(func() { close(stop) })
	e := failure(t, err)
	if e.Phase != submission.PhaseBody || e.Ambiguous || e.Scope != submission.ScopeNetwork || !strings.Contains(e.Error(), "in time") {
		t.Errorf("got %v, want a timeout in phase body", e)
	}
}

// TestSubmit_CutAtEveryByte closes the connection at each byte of the server's side of the
// conversation, and at every fifth of what TCP carries, handshakes included. Only a server that may
// have got the final dot may have taken the mail.
func TestSubmit_CutAtEveryByte(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		t.Parallel()
		whole := newServer(t, mode, nil).start()
		c := whole.client()
		if _, err := submit(c); err != nil {
			t.Fatal(err)
		}
		c.Close()
		whole.stop()
		end := whole.dotAt + len("250 2.0.0 Ok: queued as 4XyZ1\r\n")
		for cut := range end + 1 {
			s := newServer(t, mode, nil)
			s.cut = cut
			s.start()
			_, err := submit(s.client())
			checkCut(t, s, cut, err, cut == end, cut >= whole.dotAt)
		}
		// What TLS itself sends varies in length from run to run, so here the server says whether
		// it got the dot.
		for cut := 0; ; cut += 5 {
			s := newServer(t, mode, nil)
			s.cutRaw = cut
			s.start()
			c := s.client()
			_, err := submit(c)
			c.Close()
			s.stop()
			checkCut(t, s, cut, err, err == nil, len(s.mails) == 1)
			if err == nil {
				break
			}
		}
	})
}

func checkCut(t *testing.T, s *server, cut int, err error, success, ambiguous bool) {
	t.Helper()
	if success {
		if err != nil {
			t.Errorf("cut at byte %d: got %v, want success", cut, err)
		}
		return
	}
	if err == nil {
		t.Fatalf("cut at byte %d: no error", cut)
	}
	if e := failure(t, err); e.Ambiguous != ambiguous || e.Scope != submission.ScopeNetwork {
		t.Errorf("cut at byte %d: ambiguous %v, want %v, in %v of scope %s", cut, e.Ambiguous, ambiguous, e, e.Scope)
	}
}
