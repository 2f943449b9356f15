package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// A worker that has nothing to do waits in Redis, not beside it: BLMOVE of a pending list onto itself, from the right end to
// the right end, moves nothing (redis.io/commands/lmove), and returns at the moment when somebody pushes a task. It asks
// nothing of producers: asynq's client, its forwarder and the rescue of orphaned tasks all push onto that list.
const (
	// blockTime is how long one BLMOVE waits. Whole seconds: before Redis 7.0.8, shorter ones could block for ever.
	blockTime = 5 * time.Second
	// lookInterval is how late a task may be noticed that no BLMOVE told of.
	lookInterval = 5 * time.Second
	// pollInterval paces the looks where Redis, or a proxy before it, has no BLMOVE, and of a queue that is paused.
	pollInterval = 250 * time.Millisecond
	// retryInterval is how often a Redis without BLMOVE is tried again.
	retryInterval = time.Hour
	// After lostRaces in a row, others are faster: the waiter pauses up to raceTime before it waits again.
	lostRaces = 3
	raceTime  = 50 * time.Millisecond
	// After pausedRaces in a row the queue is rather paused: its list is full, and gives nothing.
	pausedRaces = 10
	// A connection that closes on BLMOVE this often in a row, while PING works, is a proxy's that does not take it.
	closedTimes = 3
)

// bell wakes the dequeuer, which waits while all queues are empty.
type bell struct {
	rings chan string // the pending list that has got a task; one is enough, because the dequeuer then looks into all

	mu      sync.Mutex
	waiting chan struct{}  // closed while the dequeuer waits
	races   map[string]int // rings in a row after which the list gave nothing
	polling atomic.Bool    // Redis cannot wake the worker: look often
}

func newBell() *bell {
	return &bell{rings: make(chan string, 1), waiting: make(chan struct{}), races: map[string]int{}}
}

// wait returns when a list has got a task, when it is time to look, or when ctx has ended.
func (b *bell) wait(ctx context.Context) {
	b.mu.Lock()
	close(b.waiting)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.waiting = make(chan struct{})
	}()
	look := lookInterval
	if b.polling.Load() {
		look = pollInterval
	}
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case pending := <-b.rings:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.races[pending]++ // found takes it back
	case <-timer.C:
	case <-ctx.Done():
	}
}

// found notes that a list has given a task.
func (b *bell) found(pending string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.races, pending)
}

// ring wakes the dequeuer, if it waits.
func (b *bell) ring(pending string) {
	select {
	case b.rings <- pending:
	default:
	}
}

// idle returns a channel that is closed while the dequeuer waits.
func (b *bell) idle() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

// pause is how long a waiter of the list waits before it asks again, so that neither a paused queue nor a crowd of idle
// workers makes it ask all the time.
func (b *bell) pause(pending string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch races := b.races[pending]; {
	case races >= pausedRaces:
		return pollInterval
	case races >= lostRaces:
		return rand.N(raceTime)
	}
	return 0
}

// waiter waits for tasks of one queue and rings the bell.
type waiter struct {
	rdb     redis.UniversalClient // without retries, and nobody else's
	pending string
	bell    *bell
	log     Logger

	failures int // in a row
	closed   int // in a row, of connections that closed on BLMOVE
}

// run waits until ctx ends. Closing the client ends a BLMOVE that waits.
func (w *waiter) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-w.bell.idle():
		case <-ctx.Done():
			return
		}
		sleep(ctx, w.bell.pause(w.pending))
		err := w.rdb.BLMove(ctx, w.pending, w.pending, "RIGHT", "RIGHT", blockTime).Err()
		switch {
		case err == nil:
			w.worked()
			w.bell.ring(w.pending)
			w.rung(ctx)
		case err == redis.Nil: // nothing came
			w.worked()
		case ctx.Err() != nil:
			return
		case w.refused(ctx, err):
			if !w.bell.polling.Swap(true) {
				w.log.Warnw("this Redis cannot wake the worker (BLMOVE); it asks for tasks four times a second instead", "error", err.Error())
			}
			w.bell.ring(w.pending) // so that the dequeuer, which waits for longer, waits anew
			sleep(ctx, retryInterval)
			w.closed = 0
		default: // a failover, a restart: something may have come meanwhile, so look once
			w.failures++
			w.bell.ring(w.pending)
			sleep(ctx, min(minBackoff<<min(w.failures-1, 10), maxBackoff))
		}
	}
}

// refusal reports whether err is the answer of a Redis, or of a proxy, that has no BLMOVE for this user.
func refusal(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.HasPrefix(text, "err unknown") || strings.HasPrefix(text, "err unsupported") || strings.HasPrefix(text, "noperm")
}

// worked notes that Redis can wake the worker.
func (w *waiter) worked() {
	w.failures, w.closed = 0, 0
	w.bell.polling.Store(false)
}

// rung waits until the dequeuer has heard the bell, or is at work anyway.
func (w *waiter) rung(ctx context.Context) {
	for len(w.bell.rings) > 0 && ctx.Err() == nil {
		select {
		case <-w.bell.idle():
			sleep(ctx, time.Millisecond)
		default:
			return
		}
	}
}

// refused reports whether err says that BLMOVE is not to be had here.
func (w *waiter) refused(ctx context.Context, err error) bool {
	if refusal(err) {
		return true
	}
	if redis.HasErrorPrefix(err, "") { // another answer of Redis
		return false
	}
	w.closed++
	return w.closed >= closedTimes && w.rdb.Ping(ctx).Err() == nil
}

// Wakes reports whether this Redis can wake a worker. It takes a second.
func Wakes(ctx context.Context, rdb redis.UniversalClient) (bool, error) {
	own, err := alone(rdb)
	if err != nil {
		return false, err
	}
	defer own.Close()
	list := pendingKey(tasks.Queue)
	err = own.BLMove(ctx, list, list, "RIGHT", "RIGHT", time.Second).Err()
	switch {
	case err == nil || err == redis.Nil:
		return true, nil
	case refusal(err):
		return false, nil
	}
	return false, fmt.Errorf("wait for a task: %w", err)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// alone returns a client to the same Redis as rdb that shares nothing with it: no pool, no hook and no retry.
func alone(rdb redis.UniversalClient) (redis.UniversalClient, error) {
	const connections = 4 // one for each waiter, and one to try whether Redis answers
	switch c := rdb.(type) {
	case *redis.Client:
		o := *c.Options()
		o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxRetries = connections, 0, 0, -1
		o.PushNotificationProcessor = nil // that of rdb has handlers which every client registers anew
		return redis.NewClient(&o), nil
	case *redis.ClusterClient:
		o := *c.Options()
		o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxRetries = connections, 0, 0, -1
		o.PushNotificationProcessor = nil
		return redis.NewClusterClient(&o), nil
	}
	return nil, fmt.Errorf("a client of type %T is neither one server's nor a cluster's", rdb)
}
