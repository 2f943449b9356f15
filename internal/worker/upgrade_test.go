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

// TestARollingUpgradeLosesNoTaskOfTomorrow: the old worker leaves a newer version's task waiting, and the new worker, which
// is this one's source with a higher version number, takes it, beside the old one's tasks.
func TestARollingUpgradeLosesNoTaskOfTomorrow(t *testing.T) {
	h := newFixture(t)
	id, body := payload(t, func(p map[string]any) { p["v"] = 2 })
	h.enqueue(id, tasks.Type, body)
	if info := h.task(id, asynq.TaskStateRetry); !strings.HasPrefix(info.LastErr, "newer; ") {
		t.Fatalf("the old worker left it with %q, want newer", info.LastErr)
	}

	next := newProcess(t, h.redis.URL, h.env, testserver.Overlay(t, "../../tasks/wire.go", "version    = 1", "version    = 2"))
	next.Environ = append(next.Environ, "SECUREMAIL_KEYRING_FILE="+h.ring)
	next.Start("")
	defer next.Kill()
	waitUntil(t, h.ctx, "the new worker is there", func() bool {
		servers, err := asynq.NewInspectorFromRedisClient(h.redis.Client).Servers()
		return err == nil && slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.PID == next.Pid() })
	})
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted) // while both run
	h.stop()
	h.redis.Client.ZAddXX(h.ctx, "asynq:{"+tasks.Queue+"}:retry", redis.Z{Score: 1, Member: id}) // half a minute passes
	h.until(id, tasks.Accepted)
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "carol@example.com"}), tasks.Accepted)
}
