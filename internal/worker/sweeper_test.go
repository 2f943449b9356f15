package worker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const activeKey, leaseKey, pendingKey = "asynq:{" + tasks.Queue + "}:active", "asynq:{" + tasks.Queue + "}:lease", "asynq:{" + tasks.Queue + "}:pending"

// taken queues n tasks and takes them as a worker does whose leases end at the given time.
func taken(t *testing.T, rdb *redis.Client, n int, lease time.Time) (ids []string) {
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
		rdb.LMove(ctx, pendingKey, activeKey, "RIGHT", "LEFT")
		rdb.HSet(ctx, "asynq:{"+tasks.Queue+"}:t:"+id, "state", "active")
		rdb.ZAdd(ctx, leaseKey, redis.Z{Score: float64(lease.Unix()), Member: id})
		ids = append(ids, id)
	}
	return ids
}

func newSweeper(rdb *redis.Client) *sweeper {
	return &sweeper{rdb: rdb, records: record.NewStore(rdb, time.Hour), log: zap.NewNop(), suspects: map[string]bool{}}
}

// look is one turn of run.
func (s *sweeper) look(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	if err := s.sweep(context.Background(), tasks.Queue, seen); err != nil {
		t.Error(err)
	}
	s.suspects = seen
}

func counts(rdb *redis.Client) string {
	ctx := context.Background()
	return fmt.Sprintf("%d pending, %d active, %d leases", rdb.LLen(ctx, pendingKey).Val(), rdb.LLen(ctx, activeKey).Val(), rdb.ZCard(ctx, leaseKey).Val())
}

func TestATaskWithoutALiveLeaseIsQueuedAgain(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	expired := taken(t, rdb, 1, time.Now().Add(-2*time.Second))[0]
	bare := taken(t, rdb, 1, time.Now())[0]
	rdb.ZRem(context.Background(), leaseKey, bare)
	taken(t, rdb, 1, time.Now().Add(30*time.Second))
	s := newSweeper(rdb)
	s.look(t)
	if got, want := counts(rdb), "0 pending, 3 active, 2 leases"; got != want {
		t.Errorf("after one look: %s, want %s", got, want)
	}
	s.look(t)
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

func TestATaskWhoseMailIsBeingSentIsLeftAlone(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	id := taken(t, rdb, 1, time.Now().Add(-time.Minute))[0]
	s := newSweeper(rdb)
	now := time.Now()
	a, err := s.records.Open(context.Background(), record.Mail{ID: id, Seed: make([]byte, 32), CreatedAt: now, ExpiresAt: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.look(t)
	}
	if got, want := counts(rdb), "0 pending, 1 active, 1 leases"; got != want {
		t.Errorf("under the send lock: %s, want %s", got, want)
	}
	if err := s.records.Defer(context.Background(), a, record.Result{}, now, false); err != nil {
		t.Fatal(err)
	}
	s.look(t)
	if got, want := counts(rdb), "1 pending, 0 active, 0 leases"; got != want {
		t.Errorf("without it: %s, want %s", got, want)
	}
}

// TestAnIDWithoutATaskDoesNotStayInTheQueue: asynq keeps it for ever, and its queue page and GetQueueInfo fail with it.
func TestAnIDWithoutATaskDoesNotStayInTheQueue(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	ctx := context.Background()
	id := taken(t, rdb, 1, time.Now().Add(30*time.Second))[0]
	rdb.HDel(ctx, "asynq:{"+tasks.Queue+"}:t:"+id, "msg")
	newSweeper(rdb).look(t)
	if got, want := counts(rdb), "0 pending, 0 active, 0 leases"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := rdb.Exists(ctx, "asynq:{"+tasks.Queue+"}:t:"+id).Val(); n != 0 {
		t.Error("its hash is still there, and would block the id")
	}
}

func TestManySweepersRequeueATaskOnce(t *testing.T) {
	rdb := testserver.StartRedis(t).Client
	const n = 200
	taken(t, rdb, n, time.Now().Add(-time.Minute))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s := newSweeper(rdb)
			s.look(t)
			s.look(t)
		})
	}
	all.Wait()
	if got, want := counts(rdb), fmt.Sprintf("%d pending, 0 active, 0 leases", n); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
