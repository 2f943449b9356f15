// Package worker turns one queued task into one submitted message.
//
// [Worker.Run] takes tasks from asynq until its context ends, and then lets the ones in hand finish. What happens to a
// task is written out in one function, handler.send, in this order:
//
//  1. parse the task; what is malformed is refused, what is of a newer version waits for a newer worker
//  2. too little life left to be of use: expired, nothing is sent; no relay to be had: wait for one, in place
//  3. open the record: take the send lock, get the seed and the number of this sending
//  4. derive the secret and compose the whole message, before any connection is touched
//  5. submit it; the lock and the remaining life are checked once more before the last byte
//  6. write down that it was accepted, for as long as that takes: from here on nothing may become an error
//  7. or let verdict say what the failure means: later, refused, or the relay's own trouble
//  8. one log line, and the counters
//
// The packages that do these things do not know each other; here they meet.
package worker

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

const (
	// While idle, each queue server asks Redis once per queue this often, give or take half of it; so with six of them a lone
	// task waits for about a seventh of it.
	pollInterval = 70 * time.Millisecond
	// queueServers is how many asynq servers share the places. Each has one goroutine that fetches tasks, with a round trip
	// for each, and one alone cannot keep the handlers busy.
	queueServers = 6
	// How late a deferred task may be taken up again.
	deferredInterval = time.Second
	// acceptTime is how long an accepted mail's record is tried to be written: a restart of Redis that reads back a
	// large append-only file takes a minute or two.
	acceptTime = 2 * time.Minute
	// settleTime is how long the end of a failed try is tried to be written; without it, the lock runs out by itself.
	settleTime = 30 * time.Second
	// relayWait is how long a task holds its place while no relay takes mail. So an outage turns over as many tasks as
	// there are places, twice a minute, and not the backlog.
	relayWait = 30 * time.Second
	// drainMargin is what stopping takes besides the tries in hand.
	drainMargin = 10 * time.Second
)

// Config is what a worker works with. All fields are required but ReplyTo.
type Config struct {
	// Redis is a client that retries long enough to outlast a restart of Redis. [New] adds a hook to it that only this
	// worker's asynq server meets.
	Redis      redis.UniversalClient
	KeyRing    *keyring.File
	Relays     *submission.Relays
	TryTimeout time.Duration // the longest that a submission takes, over all relays that it fails over to
	// StopOnUnknown ends a mail as unknown when the relay's reply to it was lost, instead of sending it again.
	StopOnUnknown bool

	From    mail.Address
	ReplyTo string
	Product string

	MaxLife     map[tasks.Kind]time.Duration
	CodeDigits  int
	Retention   time.Duration // of records, past a secret's expiry
	Concurrency int
	Unlimited   bool // recipients may have any number of mails: for development

	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Worker takes tasks and sends mails.
type Worker struct {
	servers []*asynq.Server
	handler *handler
	sweeper *sweeper
	stop    context.CancelFunc
}

// New returns a worker that has not started.
func New(c Config) *Worker {
	stopping, stop := context.WithCancel(context.Background())
	records := record.NewStore(c.Redis, c.Retention)
	w := &Worker{
		stop:    stop,
		handler: &handler{Config: c, records: records, metrics: newMetrics(c.Metrics), stopping: stopping},
		sweeper: &sweeper{rdb: c.Redis, records: records, log: c.Log},
	}
	c.Redis.AddHook(newDequeueHook(stopping))
	servers := min(queueServers, c.Concurrency)
	for i := range servers {
		w.servers = append(w.servers, asynq.NewServerFromRedisClient(c.Redis, asynq.Config{
			Concurrency:              (c.Concurrency + i) / servers,
			Queues:                   map[string]int{tasks.QueueCodes: 2, tasks.Queue: 1},
			StrictPriority:           true, // somebody waits for a code with a form open
			TaskCheckInterval:        pollInterval,
			DelayedTaskCheckInterval: deferredInterval,
			RetryDelayFunc:           retryDelay,
			// asynq counts no failures of ours: its limit would end a mail without an outcome. The record counts tries.
			IsFailure:       func(err error) bool { return !errors.As(err, new(*later)) },
			ShutdownTimeout: w.DrainTime(),
			Logger:          c.Log.Named("asynq").WithOptions(zap.WithCaller(false)).Sugar(),
			LogLevel:        asynq.ErrorLevel, // below that it says of each ended mail, in other words, what report says
		}))
	}
	return w
}

// DrainTime is the longest that Run takes to return once its context has ended: a try that has just begun, and the
// record of what it came to. Whoever stops the process must not kill it earlier.
func (w *Worker) DrainTime() time.Duration { return w.handler.TryTimeout + acceptTime + drainMargin }

// Run takes tasks until ctx ends, and returns when the last one in hand has ended. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	for _, s := range w.servers {
		if err := s.Start(w.handler); err != nil {
			return fmt.Errorf("start the queue server: %w", err)
		}
	}
	var sweeping sync.WaitGroup
	sweeping.Go(func() { w.sweeper.run(ctx) })
	<-ctx.Done()
	w.handler.Log.Info("worker stopping: the mails in hand finish first; a second signal quits at once")
	w.stop()
	var draining sync.WaitGroup
	for _, s := range w.servers {
		draining.Go(s.Shutdown)
	}
	draining.Wait()
	w.handler.running.Wait() // those too that asynq has let go of; each has its own end, within DrainTime
	sweeping.Wait()
	return nil
}

// Ready returns nil while the worker takes tasks and Redis answers within a second, and otherwise why not.
func (w *Worker) Ready() error {
	if w.handler.stopping.Err() != nil {
		return errors.New("the worker is stopping")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if w.handler.Redis.Ping(ctx).Err() != nil {
		return errors.New("no answer from Redis")
	}
	return nil
}
