package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

const (
	// While idle, each asynq server asks Redis once per queue this often, give or take half of it. With six of them, a
	// lone task waits for about a seventh of it.
	pollInterval = 70 * time.Millisecond
	// asynqServers is how many asynq servers share the slots. Each has one goroutine that fetches tasks, with a round trip
	// for each task, and one alone cannot keep the handlers busy.
	asynqServers = 6
	// deferredInterval is how late a deferred task may run again.
	deferredInterval = time.Second
	// recoveredDelay is for a task that asynq takes back from a worker whose lease ended. After an outage of Redis that
	// worker may be alive, and needs a moment to write down what it did.
	recoveredDelay = 5 * time.Second
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
	servers []*asynq.Server
	rescue  *rescue
	stop    context.CancelFunc
	running sync.WaitGroup // of runs: asynq lets go of a task whose lease is lost, and does not wait for it
}

// NewServer returns a server that has not started.
func NewServer(c Config) *Server {
	stopping, stop := context.WithCancel(context.Background())
	s := &Server{config: c, stop: stop, rescue: &rescue{rdb: c.Redis, locked: c.Locked, log: c.Log}}
	c.Redis.AddHook(newDequeueHook(stopping))
	n := min(asynqServers, c.Concurrency)
	for i := range n {
		s.servers = append(s.servers, asynq.NewServerFromRedisClient(c.Redis, asynq.Config{
			Concurrency:              (c.Concurrency + i) / n,
			Queues:                   map[string]int{tasks.QueueCodes: 2, tasks.Queue: 1},
			StrictPriority:           true, // a person waits for a code with a form open
			TaskCheckInterval:        pollInterval,
			DelayedTaskCheckInterval: deferredInterval,
			RetryDelayFunc:           retryDelay,
			// asynq counts no failures of ours: its limit would end a mail without an outcome. The record counts attempts.
			IsFailure:       func(err error) bool { return !errors.As(err, new(*retry)) },
			ShutdownTimeout: c.DrainTime,
			Logger:          c.Log,
			LogLevel:        asynq.ErrorLevel, // below that, asynq reports each ended task, as the handler does
		}))
	}
	return s
}

// Run takes tasks until ctx ends, and returns when the last run has ended. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	for _, server := range s.servers {
		if err := server.Start(asynq.HandlerFunc(s.process)); err != nil {
			return fmt.Errorf("start the queue server: %w", err)
		}
	}
	var rescuing sync.WaitGroup
	rescuing.Go(func() { s.rescue.run(ctx) })
	<-ctx.Done()
	s.stop()
	var draining sync.WaitGroup
	for _, server := range s.servers {
		draining.Go(server.Shutdown)
	}
	draining.Wait()
	s.running.Wait() // also for runs that asynq has let go of; each has its own end, within DrainTime
	rescuing.Wait()
	return nil
}

// process is one run. asynq acts on what it returns, and keeps the error's text.
func (s *Server) process(ctx context.Context, t *asynq.Task) error {
	s.running.Add(1)
	defer s.running.Done()
	id, _ := asynq.GetTaskID(ctx)
	return s.config.Handle(ctx, Delivery{ID: id, Type: t.Type(), Payload: t.Payload()}).err
}

// retryDelay tells asynq when a task runs again. Other errors than ours are asynq's own: a lease that ended.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var r *retry
	if errors.As(err, &r) {
		return r.after
	}
	return recoveredDelay
}
