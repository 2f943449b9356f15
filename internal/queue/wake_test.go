package queue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// woken is a server on a real Redis whose runs the test sees.
type woken struct {
	*Server
	t     *testing.T
	redis *testserver.Redis
	runs  chan string
	logs  *observer.ObservedLogs
	stop  func()
}

// startWoken starts a server as the user, which waits until nothing is left to do.
func startWoken(t *testing.T, r *testserver.Redis, rdb redis.UniversalClient) *woken {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	w := &woken{t: t, redis: r, runs: make(chan string, 1000), logs: logs}
	w.Server = NewServer(Config{Redis: rdb, Concurrency: 4, DrainTime: 10 * time.Second, Log: zap.New(core).Sugar(),
		Locked: func(context.Context, string) (bool, error) { return false, nil },
		Handle: func(_ context.Context, d Delivery) Disposition {
			w.runs <- d.ID
			return Done()
		}})
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); serving.Wait() })
	t.Cleanup(w.stop)
	w.idle()
	return w
}

// idle waits until the dequeuer waits.
func (w *woken) idle() {
	w.t.Helper()
	select {
	case <-w.bell.idle():
	case <-time.After(20 * time.Second):
		w.t.Fatal("the dequeuer does not come to rest")
	}
}

// enqueue queues a task as a plain asynq client does.
func (w *woken) enqueue(queue string) (id string) {
	w.t.Helper()
	task := asynq.NewTask(tasks.Type, []byte("{}"), asynq.Queue(queue), asynq.Retention(time.Minute))
	info, err := asynq.NewClientFromRedisClient(w.redis.Client).Enqueue(task)
	if err != nil {
		w.t.Fatal(err)
	}
	return info.ID
}

// runsSoon waits for the run of a task. It has to come well before the dequeuer looks by itself.
func (w *woken) runsSoon(id string) {
	w.t.Helper()
	select {
	case got := <-w.runs:
		if got != id {
			w.t.Errorf("%s ran, want %s", got, id)
		}
	case <-time.After(lookInterval - time.Second):
		w.t.Errorf("nothing ran within %v: no wake-up", lookInterval-time.Second)
	}
}

// commands counts the commands of d, those in scripts included.
func (w *woken) commands(d time.Duration) int {
	w.t.Helper()
	read := func() int {
		n, err := strconv.Atoi(w.redis.Client.InfoMap(context.Background(), "stats").Item("Stats", "total_commands_processed"))
		if err != nil {
			w.t.Fatal(err)
		}
		return n
	}
	before := read()
	time.Sleep(d)
	return read() - before
}

// TestWake_WorkersHearOfTasksAtOnce, whoever queues them, and cost next to nothing meanwhile.
func TestWake_WorkersHearOfTasksAtOnce(t *testing.T) {
	r := testserver.StartRedis(t)
	w := startWoken(t, r, r.As(testserver.Worker))
	for _, queue := range []string{tasks.QueueCodes, tasks.Queue, tasks.Queue, tasks.QueueCodes} {
		w.idle()
		w.runsSoon(w.enqueue(queue))
	}
	// asynqmon's "run" of a task that waits for its time.
	info, err := asynq.NewClientFromRedisClient(r.Client).Enqueue(asynq.NewTask(tasks.Type, nil, asynq.Queue(tasks.Queue), asynq.ProcessIn(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	w.idle()
	if err := inspector(r.Client).RunTask(tasks.Queue, info.ID); err != nil {
		t.Fatal(err)
	}
	w.runsSoon(info.ID)
	w.idle()
	if n := w.commands(3 * time.Second); n > 60 {
		t.Errorf("an idle worker cost %d commands in 3 s, want 60 at most", n)
	}
	if !w.Woken() {
		t.Error("the worker polls")
	}
}

// TestWake_AFailureIsNoHotLoopAndLosesNoTask: the connection that waits is killed, unblocked, refused or moved.
func TestWake_AFailureIsNoHotLoopAndLosesNoTask(t *testing.T) {
	for name, fail := range map[string]func(ctx context.Context, rdb *redis.Client){
		"kill": func(ctx context.Context, rdb *redis.Client) {
			for range 5 {
				rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				time.Sleep(100 * time.Millisecond)
			}
		},
		"unblock": func(ctx context.Context, rdb *redis.Client) {
			for range 5 {
				for line := range strings.SplitSeq(rdb.ClientList(ctx).Val(), "\n") {
					if _, rest, ok := strings.Cut(line, "id="); ok && strings.Contains(line, "cmd=blmove") {
						id, _, _ := strings.Cut(rest, " ")
						rdb.Do(ctx, "CLIENT", "UNBLOCK", id, "ERROR")
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		},
		"replica for a while": func(ctx context.Context, rdb *redis.Client) {
			rdb.Do(ctx, "REPLICAOF", "127.0.0.1", "1")
			time.Sleep(time.Second)
			rdb.Do(ctx, "REPLICAOF", "NO", "ONE")
		},
		"no memory for a while": func(ctx context.Context, rdb *redis.Client) {
			rdb.ConfigSet(ctx, "maxmemory", "1")
			time.Sleep(time.Second)
			rdb.ConfigSet(ctx, "maxmemory", "0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testserver.StartRedis(t)
			w := startWoken(t, r, r.As(testserver.Worker))
			failed := make(chan struct{})
			go func() {
				fail(context.Background(), r.Client)
				close(failed)
			}()
			if n := w.commands(2 * time.Second); n > 400 {
				t.Errorf("%d commands in 2 s", n)
			}
			<-failed
			id := w.enqueue(tasks.Queue)
			select {
			case got := <-w.runs:
				if got != id {
					t.Errorf("%s ran, want %s", got, id)
				}
			case <-time.After(lookInterval + 2*time.Second):
				t.Error("the task did not run")
			}
			w.idle()
			w.runsSoon(w.enqueue(tasks.QueueCodes))
		})
	}
}

// TestWake_APausedQueueIsNoHotLoop: its list is full, so that Redis wakes the worker at once, and it gives nothing.
func TestWake_APausedQueueIsNoHotLoop(t *testing.T) {
	r := testserver.StartRedis(t)
	w := startWoken(t, r, r.As(testserver.Worker))
	w.runsSoon(w.enqueue(tasks.Queue))
	if err := inspector(r.Client).PauseQueue(tasks.Queue); err != nil {
		t.Fatal(err)
	}
	id := w.enqueue(tasks.Queue)
	w.commands(time.Second) // the first few looks come faster
	if n := w.commands(2 * time.Second); n > 150 {
		t.Errorf("a paused queue cost %d commands in 2 s", n)
	}
	w.runsSoon(w.enqueue(tasks.QueueCodes)) // the other queue is not slower for it
	if err := inspector(r.Client).UnpauseQueue(tasks.Queue); err != nil {
		t.Fatal(err)
	}
	w.runsSoon(id)
}

// TestWake_WhereRedisCannotItIsAsked four times a second, and the log says so once.
func TestWake_WhereRedisCannotItIsAsked(t *testing.T) {
	r := testserver.StartRedis(t)
	if err := r.Client.Do(t.Context(), "ACL", "SETUSER", testserver.Worker, "-blmove").Err(); err != nil {
		t.Fatal(err)
	}
	defer r.Client.ACLLogReset(context.Background())
	w := startWoken(t, r, r.As(testserver.Worker))
	await(t, t.Context(), "the server polls", func() bool { return !w.Woken() })
	for range 3 {
		w.runsSoon(w.enqueue(tasks.Queue))
	}
	if n := w.commands(2 * time.Second); n > 150 {
		t.Errorf("polling cost %d commands in 2 s", n)
	}
	if n := w.logs.FilterMessageSnippet("cannot wake the worker").Len(); n != 1 {
		t.Errorf("the log says it %d times, want once", n)
	}
}

// TestWake_ManyIdleWorkersSendATaskOnce, and do not crowd Redis for it.
func TestWake_ManyIdleWorkersSendATaskOnce(t *testing.T) {
	r := testserver.StartRedis(t)
	var all []*woken
	for range 5 {
		all = append(all, startWoken(t, r, r.As(testserver.Worker)))
	}
	ran := map[string]int{}
	for n := range 20 {
		for _, w := range all {
			w.idle()
		}
		id := all[0].enqueue(queues[n%2])
		deadline := time.After(lookInterval - time.Second)
		for ran[id] == 0 {
			select {
			case <-deadline:
				t.Fatal("nobody woke")
			case got := <-merged(all):
				ran[got]++
			}
		}
	}
	for id, n := range ran {
		if n != 1 {
			t.Errorf("%s ran %d times", id, n)
		}
	}
}

// merged returns the next run of any server.
func merged(all []*woken) <-chan string {
	out := make(chan string, 1)
	for {
		for _, w := range all {
			select {
			case id := <-w.runs:
				out <- id
				return out
			default:
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// TestFetch_DropsIdsWithoutATask: asynq takes such an id for the end of the queue, and sleeps.
func TestFetch_DropsIdsWithoutATask(t *testing.T) {
	r := testserver.StartRedis(t)
	w := startWoken(t, r, r.As(testserver.Worker))
	w.runsSoon(w.enqueue(tasks.Queue))
	w.idle()
	var gone []any
	for n := range 5000 {
		gone = append(gone, fmt.Sprintf("gone-%d", n))
	}
	if err := r.Client.LPush(t.Context(), pendingKey(tasks.Queue), gone...).Err(); err != nil {
		t.Fatal(err)
	}
	w.runsSoon(w.enqueue(tasks.Queue))
	if n := r.Client.LLen(t.Context(), activeKey(tasks.Queue)).Val(); n > 1 {
		t.Errorf("%d ids without a task are active", n)
	}
}
