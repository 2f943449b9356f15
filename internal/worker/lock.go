package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"example.com/securemail/internal/record"
)

// heldLock keeps a send lock renewed while a try goes on.
type heldLock struct {
	records *record.Store
	attempt *record.Attempt
	cancel  context.CancelFunc
	done    sync.WaitGroup

	held atomic.Pointer[time.Time] // when the call began that took or renewed it last; it holds for record.LockTime from then
	lost atomic.Bool
}

// lockMargin is what may pass between a check and the write that follows it.
const lockMargin = 3 * time.Second

// hold renews the lock that an Open begun at asked has taken, until stop.
func hold(ctx context.Context, records *record.Store, attempt *record.Attempt, asked time.Time) *heldLock {
	l := &heldLock{records: records, attempt: attempt}
	l.held.Store(&asked)
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.done.Go(func() {
		ticker := time.NewTicker(record.LockTime / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				l.renew(ctx)
			}
		}
	})
	return l
}

func (l *heldLock) stop() {
	l.cancel()
	l.done.Wait()
}

func (l *heldLock) renew(ctx context.Context) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, record.LockTime/3)
	defer cancel()
	switch err := l.records.Renew(ctx, l.attempt); {
	case err == nil:
		l.held.Store(&asked)
	case errors.Is(err, record.ErrLostLock):
		l.lost.Store(true)
	}
}

// check returns nil if the lock will hold for a moment longer, and record.ErrLostLock otherwise.
func (l *heldLock) check(ctx context.Context) error {
	if !l.lost.Load() && l.sure() {
		return nil
	}
	l.renew(ctx)
	if l.lost.Load() || !l.sure() {
		return record.ErrLostLock
	}
	return nil
}

// sure also looks at the wall clock, because the monotonic one of Linux stands still while the machine is suspended.
func (l *heldLock) sure() bool {
	now, held := time.Now(), *l.held.Load()
	return max(now.Sub(held), now.Round(0).Sub(held.Round(0)))+lockMargin < record.LockTime
}
