// Package queue is the only package that knows asynq at run time. asynq carries tasks from producers to workers; what
// becomes of a mail is decided by the worker and kept in the record.
//
// [Client] puts tasks into Redis, also until replicas have them, and finds a task that no worker has opened. [Server]
// takes tasks, hands each to a function and does what its [Disposition] says. It also takes back the tasks of workers
// that died. [Figures] and [Served] tell how long the queues are and whether a worker takes tasks.
//
// The server works around what asynq leaves open; ARCHITECTURE.md has the list. docs/decisions/asynq.md says which of
// asynq's internals this package relies on. contract_test.go pins each of them, so that an upgrade of asynq fails there.
//
// An idle server waits in Redis ([waiter]) and costs some 12 commands a second, those in scripts included. asynq has one
// dequeuer for all places; [fetcher] fetches as many tasks in one round trip as there are free places.
package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// queues are the queues of a worker, those that are emptied first in front.
var queues = []string{tasks.QueueCodes, tasks.Queue}

// Keys that asynq keeps of a queue (asynq/internal/base/base.go).
func activeKey(queue string) string    { return "asynq:{" + queue + "}:active" }
func leaseKey(queue string) string     { return "asynq:{" + queue + "}:lease" }
func archivedKey(queue string) string  { return "asynq:{" + queue + "}:archived" }
func completedKey(queue string) string { return "asynq:{" + queue + "}:completed" }
func pendingKey(queue string) string   { return "asynq:{" + queue + "}:pending" }
func taskKey(queue, id string) string {
	return "asynq:{" + queue + "}:t:" + id
}

// Delivery is one run of a task.
type Delivery struct {
	ID      string // asynq's: <id>, or <id>.<resends>
	Type    string
	Payload []byte
}

// Disposition is what becomes of a task after a run.
type Disposition struct{ err error }

// Done ends the task.
func Done() Disposition { return Disposition{} }

// Retry runs the task again after a while. asynq keeps the reason, which holds no address and no secret.
func Retry(after time.Duration, reason tasks.Reason) Disposition {
	return Disposition{&retry{after, reason}}
}

// Drop ends the task and forgets it.
func Drop(outcome tasks.State, reason tasks.Reason) Disposition {
	return Disposition{fmt.Errorf("%s: %s: %w", outcome, reason, asynq.RevokeTask)}
}

// Archive ends the task and keeps it where asynqmon shows it, for an operator to look at.
func Archive(outcome tasks.State, reason tasks.Reason) Disposition {
	return Disposition{fmt.Errorf("%s: %s: %w", outcome, reason, asynq.SkipRetry)}
}

// Handler runs a task. The context ends when asynq gives the task up; the handler may go on, and the server waits for it.
type Handler func(ctx context.Context, d Delivery) Disposition

// Logger is what the server logs with; *zap.SugaredLogger is one.
type Logger interface {
	asynq.Logger
	Warnw(message string, keysAndValues ...any)
}

// retry is a task that runs again.
type retry struct {
	after  time.Duration
	reason tasks.Reason
}

func (r *retry) Error() string {
	return fmt.Sprintf("%s; again in %v", r.reason, r.after.Round(time.Second))
}

// inspector is asynq's view of the queues.
func inspector(rdb redis.UniversalClient) *asynq.Inspector {
	return asynq.NewInspectorFromRedisClient(rdb)
}
