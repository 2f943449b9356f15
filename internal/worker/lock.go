package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"example.com/securemail/internal/record"
)

// sendLock keeps a send lock renewed while an attempt goes on.
type sendLock struct {
	records *record.Store
	attempt *record.Attempt
	cancel  context.CancelFunc
	done    sync.WaitGroup

	renewedAt atomic.Pointer[time.Time] // when the call began that took or renewed it last; it holds for record.LockTime from then
	lost      atomic.Bool
}

// lockMargin is what may pass between a check and the write that follows it.
const lockMargin = 3 * time.Second

// keepLock renews the lock that an Open requested at requestedAt has taken, until stop.
func keepLock(ctx context.Context, records *record.Store, attempt *record.Attempt, requestedAt time.Time) *sendLock {
	l := &sendLock{records: records, attempt: attempt}
	l.renewedAt.Store(&requestedAt)
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

func (l *sendLock) stop() {
	l.cancel()
	l.done.Wait()
}

func (l *sendLock) renew(ctx context.Context) {
	requestedAt := time.Now()
	ctx, cancel := context.WithTimeout(ctx, record.LockTime/3)
	defer cancel()
	switch err := l.records.Renew(ctx, l.attempt); {
	case err == nil:
		l.renewedAt.Store(&requestedAt)
	case errors.Is(err, record.ErrLostLock):
		l.lost.Store(true)
	}
}

// check returns nil if the lock will hold for a moment longer, and record.ErrLostLock otherwise.
func (l *sendLock) check(ctx context.Context) error {
	if l.valid() {
		return nil
	}
	l.renew(ctx)
	if !l.valid() {
		return record.ErrLostLock
	}
	return nil
}

// valid also looks at the wall clock, because the monotonic clock of Linux stands still while the machine is suspended.
func (l *sendLock) valid() bool {
	now, renewedAt := time.Now(), *l.renewedAt.Load()
	age := max(now.Sub(renewedAt), now.Round(0).Sub(renewedAt.Round(0)))
	return !l.lost.Load() && age+lockMargin < record.LockTime
}
