package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// canaryBuffer is a buffer that several goroutines can write to.
type canaryBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *canaryBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *canaryBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// canaryTap records every command that Redis runs from now on, in the form of MONITOR. stop ends
// that, and returns the recorded text.
func canaryTap(t *testing.T, rdb *redis.Client) (stop func() string) {
	t.Helper()
	conn, err := net.Dial("unix", rdb.Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s %s\r\nMONITOR\r\n", rdb.Options().Username, rdb.Options().Password); err != nil {
		t.Fatal(err)
	}
	ok := make([]byte, len("+OK\r\n+OK\r\n"))
	if _, err := io.ReadFull(conn, ok); err != nil || string(ok) != "+OK\r\n+OK\r\n" {
		t.Fatalf("MONITOR: %q, %v", ok, err)
	}
	var record canaryBuffer
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(&record, conn) })
	stop = sync.OnceValue(func() string {
		const last = "the last command"
		rdb.Echo(context.Background(), last)
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(record.String(), last); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("MONITOR did not report every command")
				break
			}
		}
		conn.Close()
		reading.Wait()
		return record.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// canaryFiles returns the content of all files under dir whose names match pattern.
func canaryFiles(t *testing.T, dir, pattern string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if match, _ := filepath.Match(pattern, entry.Name()); err != nil || !match || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil || all.Len() == 0 {
		t.Fatalf("%s in %s: %d bytes, %v", pattern, dir, all.Len(), err)
	}
	return all.String()
}

// canaryKeys returns the name and the content of every key, as a client reads them.
func canaryKeys(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	var all strings.Builder
	ctx := t.Context()
	for keys := rdb.Scan(ctx, 0, "*", 100).Iterator(); keys.Next(ctx); {
		key := keys.Val()
		read := map[string][]any{"string": {"GET", key}, "hash": {"HGETALL", key}, "list": {"LRANGE", key, 0, -1},
			"set": {"SMEMBERS", key}, "zset": {"ZRANGE", key, 0, -1}}
		kind := rdb.Type(ctx, key).Val()
		if kind == "none" {
			continue // the key has expired
		}
		reply, err := rdb.Do(ctx, read[kind]...).Result()
		if err != nil {
			t.Fatalf("%s, a %s: %v", key, kind, err)
		}
		fmt.Fprintln(&all, key, reply)
	}
	return all.String()
}

// canaryErrors returns the error texts and the results that asynq keeps of every task.
func canaryErrors(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	queues, err := inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, queue := range queues {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){inspector.ListPendingTasks, inspector.ListActiveTasks,
			inspector.ListScheduledTasks, inspector.ListRetryTasks, inspector.ListArchivedTasks, inspector.ListCompletedTasks} {
			infos, err := list(queue, asynq.PageSize(10_000))
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range infos {
				fmt.Fprintln(&all, info.LastErr, string(info.Result))
			}
		}
	}
	return all.String()
}

// canaryAdmin reads the pages of an admin listener.
type canaryAdmin struct {
	t             *testing.T
	url, password string
	http          *http.Client
}

func (a *canaryAdmin) get(path string) string {
	request, err := http.NewRequestWithContext(a.t.Context(), "GET", a.url+path, nil)
	if err != nil {
		a.t.Error(err)
		return ""
	}
	request.SetBasicAuth("operator", a.password)
	answer, err := a.http.Do(request)
	if err != nil {
		a.t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode == http.StatusUnauthorized {
		a.t.Errorf("%s: %s, %v", path, answer.Status, err)
	}
	return string(body)
}

// glance returns the pages that change all the time: the first page of each list, and the running
// tasks of the workers.
func (a *canaryAdmin) glance() string { return a.lists("") + a.get("/monitor/api/servers") }

func (a *canaryAdmin) lists(query string) string {
	var all strings.Builder
	for _, queue := range a.queues() {
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			all.WriteString(a.get("/monitor/api/queues/" + queue + "/" + state + "_tasks" + query))
		}
	}
	return all.String()
}

func (a *canaryAdmin) queues() (names []string) {
	var list struct{ Queues []struct{ Queue string } }
	if err := json.Unmarshal([]byte(a.get("/monitor/api/queues")), &list); err != nil {
		a.t.Error(err)
	}
	for _, q := range list.Queues {
		names = append(names, q.Queue)
	}
	return names
}

var (
	canaryTaskID = regexp.MustCompile(`"id":"([^"]+)"`)
	// Some counters and clocks of Redis are numbers with as many digits as a code.
	canaryCounters = regexp.MustCompile(`[a-z_0-9]+"?:"?[0-9]+\b`)
)

// everything returns all that /monitor shows: the response for each path that its page requests.
func (a *canaryAdmin) everything() string {
	var all strings.Builder
	for _, path := range []string{"/monitor", "/monitor/queues/secure-mail", "/monitor/api/queues", "/monitor/api/servers", "/monitor/api/queue_stats",
		"/monitor/api/scheduler_entries", "/monitor/api/metrics"} {
		all.WriteString(a.get(path))
	}
	all.WriteString(canaryCounters.ReplaceAllString(a.get("/monitor/api/redis_info"), ""))
	lists := a.lists("?size=10000")
	all.WriteString(lists)
	queues := a.queues()
	for _, match := range canaryTaskID.FindAllStringSubmatch(lists, -1) {
		for _, queue := range queues {
			all.WriteString(a.get("/monitor/api/queues/" + queue + "/tasks/" + match[1]))
		}
	}
	for _, queue := range queues {
		all.WriteString(a.get("/monitor/api/queues/" + queue))
		all.WriteString(a.get("/monitor/api/queues/" + queue + "/groups"))
	}
	return all.String()
}
