package submission_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/securemail/internal/submission"
)

// limits is a Limiter made of functions.
type limits struct {
	reserve func(context.Context, string) (time.Duration, error)
	release func(context.Context, string)
}

func (l limits) Reserve(ctx context.Context, relay string) (time.Duration, error) {
	return l.reserve(ctx, relay)
}

func (l limits) Release(ctx context.Context, relay string) {
	if l.release != nil {
		l.release(ctx, relay)
	}
}

// quota allows one message each interval, as a counter in Redis would, and counts how often it is
// asked.
type quota struct {
	interval time.Duration
	mu       sync.Mutex
	next     time.Time
	asked    int
	at       int // how many ask at this moment
}

func (q *quota) reserve(_ context.Context, relay string) (time.Duration, error) {
	if relay != "a" {
		return 0, nil
	}
	q.mu.Lock()
	q.asked++
	q.at++
	q.mu.Unlock()
	time.Sleep(time.Millisecond) // the way to Redis
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.at--; q.at > 0 {
		return 0, errors.New("asked by two at a time")
	}
	if wait := time.Until(q.next); wait > 0 {
		return wait, nil
	}
	q.next = time.Now().Add(q.interval)
	return 0, nil
}

func TestLimits_AreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 100
		q := &quota{interval: time.Second}
		r := relaysNamed(t, submission.Options{Limits: limits{reserve: q.reserve}}, "a")
		begun := time.Now()
		var waiting sync.WaitGroup
		for range callers {
			waiting.Go(func() {
				turn, err := r.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				turn.End(nil)
			})
		}
		waiting.Wait()
		if took := time.Since(begun); took < (callers-1)*time.Second || took > callers*time.Second {
			t.Errorf("it took %v, want one message a second", took)
		}
		if q.asked > 2*callers {
			t.Errorf("asked %d times for %d messages, want twice at most for each", q.asked, callers)
		}
	})
}

func TestLimits_NextRelayTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{interval: time.Minute}
		r := relaysNamed(t, submission.Options{Limits: limits{reserve: q.reserve}}, "a", "b")
		find := func(want string) {
			t.Helper()
			turn, err := r.Acquire(t.Context())
			if err != nil || turn.Relay() != want {
				t.Fatalf("got %+v, %v, want relay %s", turn, err, want)
			}
			turn.End(nil)
		}
		find("a")
		for range 10 {
			find("b")
		}
		if q.asked != 2 {
			t.Errorf("asked %d times, want that it is remembered", q.asked)
		}
		time.Sleep(time.Minute)
		find("a")
		find("b")
	})
}

// TestLimits_UnusedTurnIsReleased: a caller that waits because of it goes on at once.
func TestLimits_UnusedTurnIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left atomic.Int64
		left.Store(1)
		r := relaysNamed(t, submission.Options{Limits: limits{
			reserve: func(context.Context, string) (time.Duration, error) {
				if left.Load() == 0 {
					return 24 * time.Hour, nil
				}
				left.Add(-1)
				return 0, nil
			},
			release: func(context.Context, string) { left.Add(1) },
		}}, "a")
		begun := time.Now()
		unused := mustAcquire(t, r, "a")
		var second *submission.Turn
		var waiting sync.WaitGroup
		waiting.Go(func() { second = acquire(t, r) })
		synctest.Wait()
		unused.Release(t.Context())
		waiting.Wait()
		if second == nil || time.Since(begun) > time.Second {
			t.Fatalf("the next turn came after %v", time.Since(begun))
		}
		second.End(nil)
		if left := left.Load(); left != 0 {
			t.Errorf("%d messages are left, want that the one that was used counts", left)
		}

		// Another worker gives back what it counted: that is noticed within a minute.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		waiting.Go(func() {
			if _, err := r.Acquire(ctx); err != nil {
				t.Errorf("got %v, want a turn", err)
			}
		})
		time.Sleep(time.Second)
		left.Add(1)
		waiting.Wait()
	})
}

// TestLimits_ProbeIsNotLost: a relay that is over its limit does not lose its probe.
func TestLimits_ProbeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{interval: 8 * time.Minute}
		r := relaysNamed(t, submission.Options{Limits: limits{reserve: q.reserve}}, "a")
		turn, err := r.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		turn.End(stale)
		time.Sleep(6 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Acquire(ctx); err == nil || !strings.Contains(err.Error(), "over its limit") {
			t.Errorf("got %v, want that it is over its limit", err)
		}
		if turn, err = r.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		turn.End(nil)
	})
}

func TestLimits_UnknownAreAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost, asked := errors.New("redis is gone"), 0
		r := relaysNamed(t, submission.Options{Limits: limits{reserve: func(context.Context, string) (time.Duration, error) { asked++; return 0, lost }}}, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if _, err := r.Acquire(ctx); !errors.Is(err, submission.ErrNoRelay) || !errors.Is(err, lost) {
					t.Errorf("got %v, want ErrNoRelay and the reason", err)
				}
			})
		}
		waiting.Wait()
		if asked > 11 {
			t.Errorf("asked %d times in 10 s, want once a second", asked)
		}
	})
}

// TestLimits_CancelWhileReserving: a caller that leaves during Reserve leaves nothing behind.
func TestLimits_CancelWhileReserving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := true
		r := relaysNamed(t, submission.Options{Limits: limits{reserve: func(ctx context.Context, _ string) (time.Duration, error) {
			if stuck {
				<-ctx.Done()
			}
			return 0, ctx.Err()
		}}}, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() {
				if _, err := r.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			})
		}
		waiting.Wait()
		stuck = false
		turn, err := r.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		turn.End(nil)
	})
}
