package submission_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/securemail/internal/submission"
)

func TestAcquire_WaitsForAProbeOrItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := relaysNamed(t, submission.Options{}, "a", "b")
		mustAcquire(t, r, "a").End(stale)
		mustAcquire(t, r, "b").End(stale)
		begun := time.Now()
		var waiting sync.WaitGroup
		for range 50 {
			waiting.Go(func() {
				turn, err := r.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Minute) // what sending takes
				turn.End(nil)
			})
		}
		waiting.Wait()
		// One probes a, one b, for a minute; then the others follow together.
		if got := time.Since(begun).Round(time.Second); got != 7*time.Minute {
			t.Errorf("it took %v, want 7m", got)
		}
	})
}

func TestAcquire_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := relaysNamed(t, submission.Options{}, "a")
		mustAcquire(t, r, "a").End(stale)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := r.Acquire(ctx)
		var cause *submission.Error
		if !errors.Is(err, submission.ErrNoRelay) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &cause) || cause != stale {
			t.Errorf("got %v, want ErrNoRelay and the stale password", err)
		}
		if got := time.Since(begun); got != 30*time.Second {
			t.Errorf("it took %v", got)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := r.Acquire(ctx); !errors.Is(err, submission.ErrNoRelay) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want ErrNoRelay and the cancellation", err)
		}
	})
}

func TestAcquire_TakesTheNextRelayWhileTheFirstIsSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := relaysNamed(t, submission.Options{}, "a", "b")
		mustAcquire(t, r, "a").End(stale)
		mustAcquire(t, r, "b").End(nil)
		time.Sleep(5*time.Minute + 1)
		probe := mustAcquire(t, r, "a")
		mustAcquire(t, r, "b").End(nil)
		probe.End(nil)
		mustAcquire(t, r, "a").End(nil)
	})
}
