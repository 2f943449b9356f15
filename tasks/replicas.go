package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// WithReplicas makes Send and Resend return only when n replicas of Redis have the task too, so that a failover to one of
// them does not lose it. They try three times, wait for up to the time given each time, 1 ms to 2 s, and fail if there are fewer by then; the mail
// may have been queued all the same, so call again with the same IdempotencyKey. It costs a second round trip, and the
// time of the n-th replica. What a replica has is in its memory; on its disk it is when appendfsync says.
func WithReplicas(n int, wait time.Duration) Option {
	return func(c *Client) error {
		if n < 1 || wait < time.Millisecond || wait > 2*time.Second {
			return fmt.Errorf("tasks: WithReplicas(%d, %v): ask for 1 or more, and wait for 1ms to 2s", n, wait)
		}
		c.replicas, c.replicaWait = n, wait
		return nil
	}
}

// errGone says that the server which answers now does not have the task: there was a failover since it was queued.
var errGone = errors.New("a failover lost it again")

// replicated waits until the replicas have a task that was queued a moment ago. WAIT speaks of what its own connection wrote
// (redis.io/commands/wait), which was another one than the task's; but replication is one stream, so that whoever has
// a later write to the same server has the task.
func (c *Client) replicated(ctx context.Context, queue, taskID string) error {
	if c.replicas == 0 {
		return nil
	}
	server, key := c.rdb, "asynq:{"+queue+"}:t:"+taskID
	if cluster, ok := c.rdb.(*redis.ClusterClient); ok { // where WAIT, which has no key, would go anywhere
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
