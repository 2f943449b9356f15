package queue

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// rescueInterval is how often orphaned tasks are looked for. A task is requeued at the second look that finds it orphaned,
// so a worker's death shows within its lease (30 s in asynq) and two of these.
const rescueInterval = 5 * time.Second

// rescue takes back the tasks of workers that died. asynq itself does so after one to two minutes, and never where a task
// has lost its lease. Every worker runs one; the first that finds a task requeues it, in one script.
//
// A task is orphaned when its lease has ended by Redis' clock, which tolerates a worker's clock that is up to 20 s slow,
// and no worker holds the mail's send lock. It is requeued only when two looks in a row find it so: after an outage of
// Redis every lease has ended, and the workers that are alive need a moment to write down what they did meanwhile.
type rescue struct {
	rdb    redis.UniversalClient
	locked func(ctx context.Context, id string) (bool, error)
	log    Logger

	suspects map[string]bool // by queue and id, what the last look found
}

var (
	//go:embed lua/orphans.lua
	orphansSource string
	//go:embed lua/requeue.lua
	requeueSource string

	orphansScript = redis.NewScript(orphansSource)
	requeueScript = redis.NewScript(requeueSource)
)

// run looks until ctx ends.
func (r *rescue) run(ctx context.Context) {
	ticker := time.NewTicker(rescueInterval)
	defer ticker.Stop()
	for {
		seen := map[string]bool{}
		for _, queue := range queues {
			if err := r.look(ctx, queue, seen); err != nil {
				clear(seen) // what was found before an outage of Redis says nothing after it
				if ctx.Err() == nil {
					r.log.Warnw("cannot scan for orphaned tasks", "error", err.Error())
				}
				break
			}
		}
		r.suspects = seen
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *rescue) look(ctx context.Context, queue string, seen map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, rescueInterval)
	defer cancel()
	reply, err := orphansScript.Run(ctx, r.rdb, []string{activeKey(queue), leaseKey(queue)}, taskKey(queue, "")).Slice()
	if err != nil {
		return fmt.Errorf("look for tasks without a lease: %w", err)
	}
	forgotten, orphans := reply[0].([]any), reply[1].([]any)
	if len(forgotten) > 0 { // a lost connection can leave them behind
		r.log.Warnw("removed queue entries whose task no longer exists", "queue", queue, "ids", len(forgotten))
	}
	for _, o := range orphans {
		taskID := o.(string)
		if !r.suspects[queue+taskID] {
			seen[queue+taskID] = true
			continue
		}
		id, _, _ := strings.Cut(taskID, ".") // a resend's is <id>.<resends>
		locked, err := r.locked(ctx, id)
		if err != nil {
			return err
		}
		if locked {
			seen[queue+taskID] = true
			continue
		}
		requeued, err := requeue(ctx, r.rdb, queue, taskID, false)
		if err != nil {
			return fmt.Errorf("requeue an orphaned task: %w", err)
		}
		if requeued {
			r.log.Warnw("requeued orphaned task (worker lost)", "id", id)
		}
	}
	return nil
}

// requeue puts a task back that is orphaned, or that this worker has fetched and does not begin (own).
func requeue(ctx context.Context, rdb redis.UniversalClient, queue, taskID string, own bool) (bool, error) {
	keys := []string{activeKey(queue), leaseKey(queue), pendingKey(queue), taskKey(queue, taskID)}
	return requeueScript.Run(ctx, rdb, keys, taskID, own).Bool()
}
