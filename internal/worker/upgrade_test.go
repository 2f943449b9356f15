package worker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// The old worker defers a task of a newer version. The new worker, which is built from the same
// source with a higher version number, runs that task and tasks of the old version.
func TestWorker_LosesNoTaskInARollingUpgrade(t *testing.T) {
	h := newFixture(t)
	id, body := payload(t, func(p map[string]any) { p["v"] = 3 })
	h.enqueue(id, tasks.Type, body)
	if info := h.task(id, asynq.TaskStateRetry); !strings.HasPrefix(info.LastErr, "newer; ") {
		t.Fatalf("the old worker deferred the task with %q, want newer", info.LastErr)
	}

	next := newProcess(t, h.redis.URL, h.env, testserver.Overlay(t, "../../tasks/wire.go", "\tVersion = 2", "\tVersion = 3"))
	next.Environ = append(next.Environ, "SECUREMAIL_KEYRING_FILE="+h.ring)
	next.Start("")
	defer next.Kill()
	waitUntil(t, h.ctx, "the new worker is there", func() bool {
		servers, err := asynq.NewInspectorFromRedisClient(h.redis.Client).Servers()
		return err == nil && slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.PID == next.Pid() })
	})
	// Both workers are running.
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
	h.stop()
	// This is instead of waiting for half a minute.
	h.redis.Client.ZAddXX(h.ctx, "asynq:{"+tasks.Queue+"}:retry", redis.Z{Score: 1, Member: id})
	h.until(id, tasks.Accepted)
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "carol@example.com"}), tasks.Accepted)
}
