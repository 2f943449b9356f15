package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

const (
	// checkInterval paces asynq's own loop; the dequeuer waits for the bell in [fetcher].
	checkInterval = time.Millisecond
	// deferredInterval is how late a deferred task may run again.
	deferredInterval = time.Second
	// recoveredDelay is for a task that asynq takes back from a worker whose lease ended. After an outage of Redis that
	// worker may be alive, and needs a moment to write down what it did.
	recoveredDelay = 5 * time.Second
	// putBackTime is how long it may take to put tasks back.
	putBackTime = 5 * time.Second
)

// Config is what a server works with. All fields are required.
type Config struct {
	// Redis is a client that retries long enough to outlast a restart of Redis. The server adds a hook to it that only
	// the server's own dequeue calls meet.
	Redis       redis.UniversalClient
	Concurrency int // how many tasks run at a time
	Handle      Handler
	// Locked reports whether a worker is at work on the mail with this id: its task is not taken back.
	Locked func(ctx context.Context, id string) (bool, error)
	// DrainTime is the longest that a run takes. A server that stops waits for its runs that long.
	DrainTime time.Duration
	Log       Logger
}

// Server takes tasks and runs them.
type Server struct {
	config  Config
	asynq   *asynq.Server
	fetcher *fetcher
	bell    *bell
	rescue  *rescue
	stop    context.CancelFunc
	running sync.WaitGroup // of runs: asynq lets go of a task whose lease is lost, and does not wait for it
}

// NewServer returns a server that has not started.
func NewServer(c Config) *Server {
	stopping, stop := context.WithCancel(context.Background())
	s := &Server{config: c, stop: stop, bell: newBell(), rescue: &rescue{rdb: c.Redis, locked: c.Locked, log: c.Log}}
	s.fetcher = newFetcher(stopping, c.Concurrency, s.bell, s.putBack)
	c.Redis.AddHook(s.fetcher)
	s.asynq = asynq.NewServerFromRedisClient(c.Redis, asynq.Config{
		Concurrency:              c.Concurrency,
		Queues:                   map[string]int{tasks.QueueCodes: 2, tasks.Queue: 1},
		StrictPriority:           true, // a person waits for a code with a form open
		TaskCheckInterval:        checkInterval,
		DelayedTaskCheckInterval: deferredInterval,
		RetryDelayFunc:           retryDelay,
		// asynq counts no failures of ours: its limit would end a mail without an outcome. The record counts attempts.
		IsFailure:       func(err error) bool { return !errors.As(err, new(*retry)) },
		ShutdownTimeout: c.DrainTime,
		Logger:          c.Log,
		LogLevel:        asynq.ErrorLevel, // below that, asynq reports each ended task, as the handler does
	})
	return s
}

// Run takes tasks until ctx ends, and returns when the last run has ended. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	waiters, err := alone(s.config.Redis)
	if err != nil {
		return fmt.Errorf("connect to be woken: %w", err)
	}
	if err := s.asynq.Start(asynq.HandlerFunc(s.process)); err != nil {
		waiters.Close()
		return fmt.Errorf("start the queue server: %w", err)
	}
	var besides sync.WaitGroup
	besides.Go(func() { s.rescue.run(ctx) })
	for _, queue := range queues {
		w := &waiter{rdb: waiters, pending: pendingKey(queue), bell: s.bell, log: s.config.Log}
		besides.Go(func() { w.run(ctx) })
	}
	<-ctx.Done()
	s.stop()
	waiters.Close() // ends a BLMOVE that waits
	s.fetcher.drain()
	s.asynq.Shutdown()
	s.fetcher.drain() // of what the dequeuer was just fetching
	s.running.Wait()  // also for runs that asynq has let go of; each has its own end, within DrainTime
	besides.Wait()
	return nil
}

// Woken reports whether Redis wakes the worker when a task comes. Otherwise the worker asks for tasks four times a second.
func (s *Server) Woken() bool { return !s.bell.polling.Load() }

// process is one run. asynq acts on what it returns, and keeps the error's text.
func (s *Server) process(ctx context.Context, t *asynq.Task) error {
	s.running.Add(1)
	defer s.running.Done()
	id, _ := asynq.GetTaskID(ctx)
	s.fetcher.began(id)
	defer s.fetcher.ended(id)
	return s.config.Handle(ctx, Delivery{ID: id, Type: t.Type(), Payload: t.Payload()}).err
}

// putBack puts tasks back that were fetched from a pending list and that no run has begun. Where that fails they are orphaned,
// and come back when their leases have ended.
func (s *Server) putBack(pending string, ids []string) {
	ctx, cancel := context.WithTimeout(context.Background(), putBackTime)
	defer cancel()
	queue := queues[slices.IndexFunc(queues, func(queue string) bool { return pendingKey(queue) == pending })]
	for _, id := range ids {
		if _, err := requeue(ctx, s.config.Redis, queue, id, true); err != nil {
			s.config.Log.Warnw("cannot put a fetched task back; the rescue does when its lease has ended", "error", err.Error())
		}
	}
}

// retryDelay tells asynq when a task runs again. Other errors than ours are asynq's own: a lease that ended.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var r *retry
	if errors.As(err, &r) {
		return r.after
	}
	return recoveredDelay
}
