package worker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// TestARollingUpgradeLosesNoTaskOfTomorrow: the old worker leaves a newer version's task waiting, and the new worker, which
// is this one's source with a higher version number, takes it, beside the old one's tasks.
func TestARollingUpgradeLosesNoTaskOfTomorrow(t *testing.T) {
	h := newHouse(t)
	id, body := payload(t, func(p map[string]any) { p["v"] = 2 })
	h.enqueue(id, tasks.Type, body)
	if info := h.task(id, asynq.TaskStateRetry); !strings.HasPrefix(info.LastErr, "newer; ") {
		t.Fatalf("the old worker left it with %q, want newer", info.LastErr)
	}

	next := newProcess(t, h.redis.URL, h.env, "-overlay", overlay(t, "../../tasks/wire.go", "version    = 1", "version    = 2"))
	next.environ = append(next.environ, "SECUREMAIL_KEYRING_FILE="+h.ring)
	next.start("")
	defer next.kill()
	waitUntil(t, h.ctx, "the new worker is there", func() bool {
		servers, err := asynq.NewInspectorFromRedisClient(h.redis.Client).Servers()
		return err == nil && slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.PID == next.running.Process.Pid })
	})
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted) // while both run
	h.stop()
	h.redis.Client.ZAddXX(h.ctx, "asynq:{"+tasks.Queue+"}:retry", redis.Z{Score: 1, Member: id}) // half a minute passes
	h.until(id, tasks.Accepted)
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "carol@example.com"}), tasks.Accepted)
}

// overlay is for go build: the file, with one string in it replaced.
func overlay(t *testing.T, file, old, replacement string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", file, old, n)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, filepath.Base(file)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), old, replacement, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}
