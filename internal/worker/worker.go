// Package worker turns one queued task into one submitted message.
//
// [Worker.Run] takes tasks from the queue until its context ends, and then finishes the mails in flight. What happens to
// a task is one function, run.send, in this order:
//
//  1. parse the task, for a resend the one that the record keeps; an invalid one, or one that the settings do not allow, is
//     refused; one of a newer version waits for a newer worker
//  2. with too little life left to be of use, the mail expires and nothing is sent; without a relay, wait for one
//  3. open the record: take the send lock, get the seed and the number of this sending; check that a worker wrote the record
//     for this task; ask when the mail may go out under all limits, and count it
//  4. derive the secret and compose the whole message, before any connection is touched
//  5. submit it; the lock and the remaining life are checked once more before the last byte
//  6. write down that it was accepted, for as long as that takes: from here on nothing may become an error
//  7. or let the verdict on the failure decide: retry later, refuse, or wait for the relay
//
// Each step returns the outcome of the run or lets the next one go on. [Worker] logs and counts the outcome, and tells
// the queue what becomes of the task. The packages that do these things do not know each other; here they meet.
package worker

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

const (
	// acceptTime is how long the worker tries to write the record of an accepted mail: a restart of Redis that reads back
	// a large append-only file takes a minute or two.
	acceptTime = 2 * time.Minute
	// settleTime is how long the worker tries to write down how a failed attempt ended. Without it, the lock runs out by
	// itself.
	settleTime = 30 * time.Second
	// relayWait is how long a task blocks its slot while no relay takes mail. So during an outage only as many tasks as
	// there are slots are taken and put back, twice a minute, and not the backlog.
	relayWait = 30 * time.Second
	// drainMargin is what stopping takes besides the attempts in flight.
	drainMargin = 10 * time.Second
)

// Config is what a worker works with. All fields are required but ReplyTo and Limits.
type Config struct {
	// Redis is a client that retries long enough to outlast a restart of Redis. The worker's queue server adds a hook to
	// it.
	Redis      redis.UniversalClient
	KeyRing    *keyring.File
	Relays     *submission.Relays
	TryTimeout time.Duration // the longest that an attempt takes, over all relays that it fails over to
	// StopOnUnknown ends a mail as unknown when the relay's reply to it was lost, instead of sending it again.
	StopOnUnknown bool

	From    message.Sender
	ReplyTo mailaddr.Address
	Product string

	MaxLife       tasks.Lives
	MinCodeDigits int           // a code with fewer digits is refused: 6 or 8
	Retention     time.Duration // of records, past a secret's expiry
	Concurrency   int
	Limits        tasks.Limits // of mails; none for development

	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Worker takes tasks and sends mails.
type Worker struct {
	config  Config
	records *record.Store
	mails   *limits.Mails
	metrics *metrics
	queue   *queue.Server
	now     func() time.Time

	stopping context.Context // ends when no further wait is worth it
	stop     context.CancelFunc
}

// New returns a worker that has not started.
func New(c Config) *Worker {
	w := &Worker{config: c, records: record.NewStore(c.Redis, c.Retention), mails: limits.NewMails(c.Redis, c.Limits),
		metrics: newMetrics(c.Metrics), now: time.Now}
	w.stopping, w.stop = context.WithCancel(context.Background())
	w.queue = queue.NewServer(queue.Config{Redis: c.Redis, Concurrency: c.Concurrency, Handle: w.handle, Locked: w.records.Locked,
		DrainTime: w.DrainTime(), Log: c.Log.Named("queue").WithOptions(zap.WithCaller(false)).Sugar()})
	newWakeMetric(c.Metrics, w.queue.Woken)
	return w
}

// DrainTime is the longest that Run takes to return once its context has ended: an attempt that has just begun, and the
// record of its result. A supervisor must not kill the process earlier.
func (w *Worker) DrainTime() time.Duration { return w.config.TryTimeout + acceptTime + drainMargin }

// Run takes tasks until ctx ends, and returns when the last run has ended. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		w.config.Log.Info("shutting down: finishing in-flight mails; signal again to exit immediately")
		w.stop()
	})()
	return w.queue.Run(ctx)
}

// Ready returns nil while the worker takes tasks and Redis answers within a second, and otherwise why not.
func (w *Worker) Ready() error {
	if w.stopping.Err() != nil {
		return errors.New("the worker is stopping")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if w.config.Redis.Ping(ctx).Err() != nil {
		return errors.New("no answer from Redis")
	}
	return nil
}
