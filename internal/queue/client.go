package queue

import (
	"context"
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

// Enqueue offers a task to Redis until there is a reply. A conflict of task ids is success. The id is this call's own, or
// stands for the same mail. So the task is there already, because the reply to an earlier attempt was lost (also inside
// go-redis, which repeats by itself) or because the caller asks again.
func (c *Client) Enqueue(ctx context.Context, t tasks.Task) error {
	task, err := t.Encode()
	if err != nil {
		return err
	}
	for range enqueueAttempts {
		_, err = c.client.EnqueueContext(ctx, task)
		if err == nil || errors.Is(err, asynq.ErrTaskIDConflict) {
			err = c.replicated(ctx, taskKey(t.Queue(), t.AsynqID()))
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("queue the mail: %w", err)
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

// Waiting is a task that asynq has and no worker has opened.
type Waiting struct {
	Task    tasks.Task
	Invalid bool      // the task could not be read, and only its ID is set
	NextRun time.Time // where it was deferred; otherwise zero
}

// Find returns the task of the first sending of a mail, or [tasks.ErrNotFound].
func (c *Client) Find(id string) (Waiting, error) {
	for _, queue := range queues {
		info, err := inspector(c.rdb).GetTaskInfo(queue, id)
		if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		if err != nil {
			return Waiting{}, fmt.Errorf("look for the mail in the queue: %w", err)
		}
		w := Waiting{Task: tasks.Task{ID: id}}
		if info.State == asynq.TaskStateRetry {
			w.NextRun = info.NextProcessAt.UTC()
		}
		if t, err := tasks.ParseTask(info.Type, info.Payload); err == nil {
			w.Task = t
		} else {
			w.Invalid = true
		}
		return w, nil
	}
	return Waiting{}, tasks.ErrNotFound
}
