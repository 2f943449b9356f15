package queue

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// enqueueAttempts is how often a task is offered to Redis when the reply is lost.
const enqueueAttempts = 3

// Client puts tasks into Redis.
type Client struct {
	rdb         redis.UniversalClient
	client      *asynq.Client
	replicas    int // how many replicas have to have a task; 0 for none
	replicaWait time.Duration
}

// NewClient returns a client over rdb, which stays the caller's to close.
func NewClient(rdb redis.UniversalClient) *Client {
	return &Client{rdb: rdb, client: asynq.NewClientFromRedisClient(rdb)}
}

// WithReplicas makes Enqueue return only when n replicas have the task too, and fail if fewer have it after wait.
func (c *Client) WithReplicas(n int, wait time.Duration) { c.replicas, c.replicaWait = n, wait }

// Enqueue offers a task to Redis until there is a reply. It reports whether a task of this id was there already: one that an
// earlier call queued, or this one, because the reply to an earlier attempt was lost (also inside go-redis, which repeats by
// itself).
func (c *Client) Enqueue(ctx context.Context, t tasks.Task) (conflict bool, err error) {
	task, err := t.Encode()
	if err != nil {
		return false, err
	}
	for range enqueueAttempts {
		_, err = c.client.EnqueueContext(ctx, task)
		if errors.Is(err, asynq.ErrTaskIDConflict) {
			conflict, err = true, nil
		}
		if err == nil {
			err = c.replicated(ctx, taskKey(t.Queue(), t.AsynqID()))
		}
		if err == nil {
			return conflict, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return false, fmt.Errorf("queue the mail: %w", err)
}

var (
	//go:embed lua/remove.lua
	removeSource string
	removeScript = redis.NewScript(removeSource)
)

// Remove deletes a task that has finished, if it is there. asynq keeps a completed one for an hour and an archived one for 90
// days, under the id that a new task needs.
func (c *Client) Remove(ctx context.Context, t tasks.Task) error {
	keys := []string{taskKey(t.Queue(), t.AsynqID()), archivedKey(t.Queue()), completedKey(t.Queue())}
	if err := removeScript.Run(ctx, c.rdb, keys, t.AsynqID()).Err(); err != nil {
		return fmt.Errorf("delete the task of a mail that has ended: %w", err)
	}
	return nil
}

// errGone is returned where the server that answers now does not have the task: there was a failover since.
var errGone = errors.New("a failover lost it again")

// replicated waits until the replicas have a task that was queued a moment ago. WAIT is about what its own connection
// wrote (redis.io/commands/wait), which was another connection than the task's. But replication is one stream, so a
// replica that has a later write to the same server has the task.
func (c *Client) replicated(ctx context.Context, key string) error {
	if c.replicas == 0 {
		return nil
	}
	server := c.rdb
	if cluster, ok := c.rdb.(*redis.ClusterClient); ok { // on which WAIT, which has no key, would go anywhere
		master, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			return fmt.Errorf("find the server of the queue: %w", err)
		}
		server = master
	}
	const write = `if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end redis.call('HSET', KEYS[1], 'replicas', ARGV[1]) return 1`
	pipe := server.Pipeline() // one connection
	there := pipe.Eval(ctx, write, []string{key}, c.replicas)
	replicas := pipe.Do(ctx, "WAIT", c.replicas, c.replicaWait.Milliseconds())
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("wait for the replicas: %w", err)
	}
	if n, _ := there.Int(); n == 0 {
		return errGone
	}
	if n, _ := replicas.Int(); n < c.replicas {
		return fmt.Errorf("%d of %d replicas had it after %v", n, c.replicas, c.replicaWait)
	}
	return nil
}

// Waiting is a task that asynq has.
type Waiting struct {
	Task     tasks.Task
	Invalid  bool      // the task could not be read, and only its ID is set
	Finished bool      // it is completed or archived: no worker will take it
	NextRun  time.Time // where it was deferred; otherwise zero
}

// Find returns the task of the first sending of a mail that a worker will take, or [tasks.ErrNotFound].
func (c *Client) Find(id string) (Waiting, error) {
	w, err := c.Lookup(id)
	if err == nil && w.Finished {
		return Waiting{}, tasks.ErrNotFound
	}
	return w, err
}

// Lookup is Find, for a task that has finished too. One that has not goes before: a mail of another kind, which had the same
// idempotency key once, can have left a finished task in another queue.
func (c *Client) Lookup(id string) (Waiting, error) {
	found := Waiting{}
	for _, queue := range queues {
		info, err := inspector(c.rdb).GetTaskInfo(queue, id)
		if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		if err != nil {
			return Waiting{}, fmt.Errorf("look for the mail in the queue: %w", err)
		}
		found = waiting(id, info)
		if !found.Finished {
			return found, nil
		}
	}
	if found.Task.ID == "" {
		return Waiting{}, tasks.ErrNotFound
	}
	return found, nil
}

func waiting(id string, info *asynq.TaskInfo) Waiting {
	w := Waiting{Task: tasks.Task{ID: id}, Finished: info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateArchived}
	if info.State == asynq.TaskStateRetry {
		w.NextRun = info.NextProcessAt.UTC()
	}
	if t, err := tasks.ParseTask(info.Type, info.Payload); err == nil {
		w.Task = t
	} else {
		w.Invalid = true
	}
	return w
}
