package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// TestContract_Asynq pins what this package relies on of asynq's internals, so that an upgrade of asynq that changes one
// of them fails here, with a sentence that says what to look at. docs/decisions/asynq.md has the list.
func TestContract_Asynq(t *testing.T) {
	r := testserver.StartRedis(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := &seenCommands{}
	rdb := r.As(testserver.Worker)
	rdb.AddHook(seen)

	task, err := tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	id := task.ID
	if _, err := NewClient(rdb).Enqueue(ctx, task); err != nil {
		t.Fatal(err)
	}
	if got := r.Client.LRange(ctx, pendingKey(tasks.Queue), 0, -1).Val(); !slices.Equal(got, []string{id}) {
		t.Errorf("%s holds %q, not the id: look at pendingKey, lua/requeue.lua and the wake-up", pendingKey(tasks.Queue), got)
	}
	fields := r.Client.HGetAll(ctx, taskKey(tasks.Queue, id)).Val()
	if fields["msg"] == "" || fields["state"] != "pending" || len(fields["pending_since"]) < 19 {
		t.Errorf("a pending task's hash is %v: look at taskKey, lua/orphans.lua (msg) and lua/requeue.lua (state, pending_since in ns)", keysOf(fields))
	}
	if _, err := NewClient(rdb).Enqueue(ctx, task); err != nil || r.Client.LLen(ctx, pendingKey(tasks.Queue)).Val() != 1 {
		t.Errorf("the same task again: got %v: look at Enqueue, for which a conflict of ids is success", err)
	}

	running, resume := make(chan struct{}), make(chan Disposition)
	server := NewServer(Config{Redis: rdb, Concurrency: 1, DrainTime: 10 * time.Second, Log: zap.NewNop().Sugar(),
		Locked: func(context.Context, string) (bool, error) { return false, nil },
		Handle: func(ctx context.Context, d Delivery) Disposition {
			if d.ID != id || d.Type != tasks.Type {
				t.Errorf("the handler got %s of type %s, want %s", d.ID, d.Type, id)
			}
			running <- struct{}{}
			return <-resume
		}})
	ctxRun, stop := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Run(ctxRun); err != nil {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer stop()
	<-running
	if seen.count(dequeueSHA) == 0 {
		t.Errorf("asynq dequeued by another script than %s: look at its dequeueCmd, whose first key has to be the pending list, and set dequeueSHA", dequeueSHA)
	}
	if got := r.Client.LRange(ctx, activeKey(tasks.Queue), 0, -1).Val(); !slices.Equal(got, []string{id}) {
		t.Errorf("%s holds %q while the task runs: look at activeKey and the rescue of orphaned tasks", activeKey(tasks.Queue), got)
	}
	if state := r.Client.HGet(ctx, taskKey(tasks.Queue, id), "state").Val(); state != "active" {
		t.Errorf("the state is %q while the task runs: look at lua/requeue.lua", state)
	}
	lease, err := r.Client.ZScore(ctx, leaseKey(tasks.Queue), id).Result()
	if left := time.Until(time.Unix(int64(lease), 0)); err != nil || left < 20*time.Second || left > 31*time.Second {
		t.Errorf("the lease ends in %v (%v), want 30 s, in seconds since 1970: look at the rescue, whose two looks assume it, and at the retries of a worker's client (25 s)", left, err)
	}

	inspect := inspector(r.Client)
	resume <- Retry(time.Hour, tasks.ReasonNetwork)
	await(t, ctx, "the task is deferred", func() bool {
		info, err := inspect.GetTaskInfo(tasks.Queue, id)
		return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0 && time.Until(info.NextProcessAt) > 50*time.Minute
	})
	again := func(d Disposition) {
		t.Helper()
		if err := inspect.RunTask(tasks.Queue, id); err != nil {
			t.Fatal(err)
		}
		<-running
		resume <- d
	}
	again(Archive(tasks.Refused, tasks.ReasonRecipient))
	await(t, ctx, "the task is archived", func() bool {
		info, err := inspect.GetTaskInfo(tasks.Queue, id)
		return err == nil && info.State == asynq.TaskStateArchived
	})
	if err := r.Client.ZScore(ctx, archivedKey(tasks.Queue), id).Err(); err != nil {
		t.Errorf("an archived task is not in %s (%v): look at archivedKey and lua/remove.lua", archivedKey(tasks.Queue), err)
	}
	again(Drop(tasks.Expired, tasks.ReasonLate))
	await(t, ctx, "the task is dropped", func() bool {
		_, err := inspect.GetTaskInfo(tasks.Queue, id)
		return errors.Is(err, asynq.ErrTaskNotFound)
	})

	servers, err := inspect.Servers()
	if err != nil || len(servers) == 0 || servers[0].Status != "active" || servers[0].Queues[tasks.Queue] == 0 {
		t.Errorf("asynq knows of %v, %v: look at Served, which looks for an active server of the queue", servers, err)
	}
	if !Served(r.As(testserver.Producer)) { // which may not see what workers work on: deploy/redis.acl has no HVALS for it
		t.Error("Served does not see the worker: look at withoutWork, which has asynq leave out HVALS")
	}
}

func keysOf(m map[string]string) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

func await(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s: look at Disposition, and at what asynq makes of SkipRetry, RevokeTask and IsFailure", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// seenCommands counts what reaches Redis: commands by name, scripts by their SHA-1.
type seenCommands struct {
	mu  sync.Mutex
	all map[string]int
}

func (s *seenCommands) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[name]
}

func (s *seenCommands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *seenCommands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		name := cmd.Name()
		if strings.HasPrefix(name, "evalsha") {
			name = fmt.Sprint(cmd.Args()[1])
		}
		s.mu.Lock()
		if s.all == nil {
			s.all = map[string]int{}
		}
		s.all[name]++
		s.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (s *seenCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
