package queue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

var active, lease, pending = activeKey(tasks.Queue), leaseKey(tasks.Queue), pendingKey(tasks.Queue)

// taken queues n tasks and takes them as a worker does whose leases end at leased.
func taken(t *testing.T, rdb *redis.Client, n int, leased time.Time) (ids []string) {
	t.Helper()
	ctx := context.Background()
	client := asynq.NewClientFromRedisClient(rdb)
	for range n {
		task, id, err := tasks.NewTask(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.EnqueueContext(ctx, task); err != nil {
			t.Fatal(err)
		}
		rdb.LMove(ctx, pending, active, "RIGHT", "LEFT")
		rdb.HSet(ctx, "asynq:{"+tasks.Queue+"}:t:"+id, "state", "active")
		rdb.ZAdd(ctx, lease, redis.Z{Score: float64(leased.Unix()), Member: id})
		ids = append(ids, id)
	}
	return ids
}

func newRescue(rdb *redis.Client) *rescue {
	locked := func(ctx context.Context, id string) (bool, error) { return rdb.SIsMember(ctx, "locked", id).Result() }
	return &rescue{rdb: rdb, locked: locked, log: zap.NewNop().Sugar(), suspects: map[string]bool{}}
}

// turn is one turn of run.
func (r *rescue) turn(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	if err := r.look(context.Background(), tasks.Queue, seen); err != nil {
		t.Error(err)
	}
	r.suspects = seen
}

func counts(rdb *redis.Client) string {
	ctx := context.Background()
	return fmt.Sprintf("%d pending, %d active, %d leases", rdb.LLen(ctx, pending).Val(), rdb.LLen(ctx, active).Val(), rdb.ZCard(ctx, lease).Val())
}

func TestRescue_RequeuesATaskWithoutALiveLease(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	expired := taken(t, rdb, 1, time.Now().Add(-2*time.Second))[0]
	bare := taken(t, rdb, 1, time.Now())[0]
	rdb.ZRem(context.Background(), lease, bare)
	taken(t, rdb, 1, time.Now().Add(30*time.Second))
	s := newRescue(rdb)
	s.turn(t)
	if got, want := counts(rdb), "0 pending, 3 active, 2 leases"; got != want {
		t.Errorf("after one look: %s, want %s", got, want)
	}
	s.turn(t)
	if got, want := counts(rdb), "2 pending, 1 active, 1 leases"; got != want {
		t.Errorf("after two looks: %s, want %s", got, want)
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	for _, id := range []string{expired, bare} {
		if info, err := inspector.GetTaskInfo(tasks.Queue, id); err != nil || info.State != asynq.TaskStatePending {
			t.Errorf("asynq has it as %+v, %v; want pending", info, err)
		}
	}
	if info, err := inspector.GetQueueInfo(tasks.Queue); err != nil || info.Latency > time.Minute {
		t.Errorf("got a latency of %v, %v", info, err)
	}
}

func TestRescue_SkipsATaskWhoseMailIsBeingSent(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	id := taken(t, rdb, 1, time.Now().Add(-time.Minute))[0]
	s := newRescue(rdb)
	rdb.SAdd(t.Context(), "locked", id)
	for range 3 {
		s.turn(t)
	}
	if got, want := counts(rdb), "0 pending, 1 active, 1 leases"; got != want {
		t.Errorf("under the send lock: %s, want %s", got, want)
	}
	rdb.Del(t.Context(), "locked")
	s.turn(t)
	if got, want := counts(rdb), "1 pending, 0 active, 0 leases"; got != want {
		t.Errorf("without it: %s, want %s", got, want)
	}
}

// TestRescue_RemovesAnIDWithoutATask: asynq keeps it for ever, and its queue page and GetQueueInfo fail with it.
func TestRescue_RemovesAnIDWithoutATask(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	ctx := context.Background()
	id := taken(t, rdb, 1, time.Now().Add(30*time.Second))[0]
	rdb.HDel(ctx, "asynq:{"+tasks.Queue+"}:t:"+id, "msg")
	newRescue(rdb).turn(t)
	if got, want := counts(rdb), "0 pending, 0 active, 0 leases"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := rdb.Exists(ctx, "asynq:{"+tasks.Queue+"}:t:"+id).Val(); n != 0 {
		t.Error("its hash is still there, and would block the id")
	}
}

func TestRescue_RequeuesOnceWhateverRunsIt(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	const n = 200
	taken(t, rdb, n, time.Now().Add(-time.Minute))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s := newRescue(rdb)
			s.turn(t)
			s.turn(t)
		})
	}
	all.Wait()
	if got, want := counts(rdb), fmt.Sprintf("%d pending, 0 active, 0 leases", n); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
