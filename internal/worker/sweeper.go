package worker

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// sweepInterval is how often the sweeper looks. A task is taken back at the second look that finds it orphaned, so a worker's
// death shows within its lease (30 s in asynq) and two of these.
const sweepInterval = 5 * time.Second

// sweeper takes back the tasks of workers that died. asynq itself does so after one to two minutes, and never where a task
// has lost its lease. Every worker has a sweeper; whichever comes first requeues a task, in one script.
//
// A task is an orphan when its lease has ended by Redis's clock, which forgives a worker's clock that is up to 20 s slow,
// and nobody holds the mail's send lock. It is requeued only when two looks, one after the other, find it so: after an
// outage of Redis every lease has ended, and the workers that are alive need a moment to say what they did meanwhile.
type sweeper struct {
	rdb     redis.UniversalClient
	records *record.Store
	log     *zap.Logger

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
func (s *sweeper) run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		seen := map[string]bool{}
		for _, queue := range []string{tasks.QueueCodes, tasks.Queue} {
			if err := s.sweep(ctx, queue, seen); err != nil {
				clear(seen) // what was found before an outage of Redis says nothing after it
				if ctx.Err() == nil {
					s.log.Warn("the tasks of dead workers cannot be looked for", zap.Error(err))
				}
				break
			}
		}
		s.suspects = seen
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *sweeper) sweep(ctx context.Context, queue string, seen map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, sweepInterval)
	defer cancel()
	prefix := "asynq:{" + queue + "}:"
	reply, err := orphansScript.Run(ctx, s.rdb, []string{prefix + "active", prefix + "lease"}, prefix+"t:").Slice()
	if err != nil {
		return fmt.Errorf("look for tasks without a lease: %w", err)
	}
	forgotten, orphans := reply[0].([]any), reply[1].([]any)
	if len(forgotten) > 0 {
		s.log.Warn("the queue had ids without a task, as a lost connection can leave them behind; they are removed",
			zap.String("queue", queue), zap.Int("ids", len(forgotten)))
	}
	for _, o := range orphans {
		taskID := o.(string)
		if !s.suspects[queue+taskID] {
			seen[queue+taskID] = true
			continue
		}
		id, _, _ := strings.Cut(taskID, ".") // the task of a resend is <id>.<n>
		locked, err := s.records.Locked(ctx, id)
		if err != nil {
			return err
		}
		if locked {
			seen[queue+taskID] = true
			continue
		}
		taken, err := requeueScript.Run(ctx, s.rdb, []string{prefix + "active", prefix + "lease", prefix + "pending", prefix + "t:" + taskID}, taskID).Bool()
		if err != nil {
			return fmt.Errorf("requeue the task of a dead worker: %w", err)
		}
		if taken {
			s.log.Warn("a worker died with this mail, or lost Redis for too long; it is queued again", zap.String("id", id))
		}
	}
	return nil
}
