package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"example.com/securemail"
	"example.com/securemail/internal/admin"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// TestMain fails when any test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "p&ss wörd/+"

// running is a server that serves.
type running struct {
	url  string
	http *http.Client
	stop func() error // ends Serve and returns its error; a second call does nothing
}

// start serves on any free port. rdb must fail fast; nil means a Redis that is down.
func start(t *testing.T, rdb *redis.Client, change func(*admin.Config)) *running {
	t.Helper()
	if rdb == nil {
		rdb = redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(t.TempDir(), "nobody"), MaxRetries: -1})
		t.Cleanup(func() { rdb.Close() })
	}
	c := admin.Config{Addr: "127.0.0.1:0", Password: secret.New(password), Redis: rdb, Ready: func() error { return nil },
		Metrics: prometheus.NewRegistry()}
	if change != nil {
		change(&c)
	}
	server, err := admin.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	transport := &http.Transport{}
	var ended bool
	r := &running{url: "http://" + server.Addr(), http: &http.Client{Transport: transport, Timeout: 20 * time.Second}, stop: func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-served
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		transport.CloseIdleConnections()
	})
	return r
}

// ask sends a request, with the password unless it is empty, and returns the response and its body.
func (r *running) ask(t *testing.T, method, path, password string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		request.SetBasicAuth("anybody", password)
	}
	answer, err := r.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func (r *running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	answer, body := r.ask(t, "GET", path, password)
	return answer.StatusCode, body
}

func TestServer_ReportsHealth(t *testing.T) {
	var notReady error
	r := start(t, nil, func(c *admin.Config) { c.Ready = func() error { return notReady } })
	for _, test := range []struct {
		notReady error
		status   int
		body     string
	}{
		{nil, 200, "ok\n"},
		{errors.New("Redis is out of reach"), 503, "Redis is out of reach\n"},
		{errors.New("the worker is stopping"), 503, "the worker is stopping\n"},
		{nil, 200, "ok\n"},
	} {
		notReady = test.notReady
		if status, body := r.get(t, "/readyz"); status != test.status || body != test.body {
			t.Errorf("readyz, %v: got %d %q, want %d %q", notReady, status, body, test.status, test.body)
		}
		if status, body := r.get(t, "/livez"); status != 200 || body != "ok\n" {
			t.Errorf("livez, %v: got %d %q, want 200", notReady, status, body)
		}
	}
}

func TestServer_AnswersItsPaths(t *testing.T) {
	r := start(t, nil, nil)
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "/livez /readyz /metrics /monitor\n"},
		{"HEAD", "/livez", 200, ""},
		{"POST", "/livez", 405, "Method Not Allowed\n"},
		{"PUT", "/readyz", 405, "Method Not Allowed\n"},
		{"DELETE", "/metrics", 405, "Method Not Allowed\n"},
		{"GET", "/nothing", 404, "404 page not found\n"},
		{"GET", "/debug/pprof/", 404, "404 page not found\n"},
		{"GET", "/monitoring", 404, "404 page not found\n"},
	} {
		if answer, body := r.ask(t, test.method, test.path, ""); answer.StatusCode != test.status || body != test.body {
			t.Errorf("%s %s: got %d %q, want %d %q", test.method, test.path, answer.StatusCode, body, test.status, test.body)
		}
	}
}

func TestServer_ReportsMetrics(t *testing.T) {
	r := testserver.StartRedis(t, "--appendfsync", "always")
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "own_total"}))
	a := start(t, r.As(testserver.Worker), func(c *admin.Config) { c.Metrics = registry })
	scrape := func(want ...string) string {
		t.Helper()
		begun := time.Now()
		status, body := a.get(t, "/metrics")
		for _, line := range append(want, "own_total 0") {
			if status != 200 || !strings.Contains(body, line+"\n") {
				t.Errorf("got %d and %s\nwant 200 with the line %s", status, body, line)
			}
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the scrape took %v; Prometheus waits 10s", took)
		}
		return body
	}
	without := func(body, name string) {
		t.Helper()
		if strings.Contains(body, name) {
			t.Errorf("got %s\nwant nothing of %s", body, name)
		}
	}

	without(scrape(), "asynq_") // in an empty Redis no queue exists

	client, err := securemail.NewClient(r.As(testserver.Producer))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := client.Send(t.Context(), tasks.Mail{Kind: tasks.Code, To: "alice@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	body := scrape(`asynq_tasks_enqueued_total{queue="secure-mail-codes",state="pending"} 3`, `asynq_queue_size{queue="secure-mail-codes"} 3`,
		`asynq_tasks_enqueued_total{queue="secure-mail-codes",state="active"} 0`,
		`asynq_tasks_enqueued_total{queue="secure-mail-codes",state="scheduled"} 0`,
		`asynq_tasks_enqueued_total{queue="secure-mail-codes",state="retry"} 0`, `asynq_tasks_enqueued_total{queue="secure-mail-codes",state="archived"} 0`,
		`asynq_tasks_enqueued_total{queue="secure-mail-codes",state="completed"} 0`)
	if !strings.Contains(body, `asynq_queue_latency_seconds{queue="secure-mail-codes"} `) {
		t.Errorf("got %s\nwant the age of the queue", body)
	}
	without(body, `queue="secure-mail"`)

	// asynq cannot count a queue in which the hash of a task is missing. The other queue is counted
	// nevertheless.
	if _, err := client.Send(t.Context(), tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Client.LPush(t.Context(), "asynq:{secure-mail-codes}:active", "ghost").Err(); err != nil {
		t.Fatal(err)
	}
	without(scrape(`asynq_queue_size{queue="secure-mail"} 1`), `queue="secure-mail-codes"`)

	r.Kill()
	without(scrape(), "asynq_")
	r.Start()
	scrape(`asynq_queue_size{queue="secure-mail"} 1`)
}

func TestListen_FailsIfThePortIsInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	addr := other.Addr().String()
	_, err = admin.Listen(admin.Config{Addr: addr})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "admin.addr: cannot listen on "+addr+"; free that port or set another: ") {
		t.Errorf("got %v, want an error that names admin.addr, %s and what to do", err, addr)
	}
}
