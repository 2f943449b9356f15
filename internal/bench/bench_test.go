package bench_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// The worker and the baselines use these values, the worker's defaults.
const (
	concurrency = 32
	connections = 20
	product     = "Example"
)

// relay returns one port of the sink as a relay.
func (s *sink) relay(mode submission.TLSMode) submission.Relay {
	r := submission.Relay{Name: "sink", Host: "127.0.0.1", Port: s.ImplicitPort, TLS: mode, RootCAs: s.roots(), Username: "user",
		Password: secret.New("password"), LocalName: "localhost", MaxConnections: connections}
	if mode == submission.StartTLS {
		r.Port = s.StartTLSPort
	}
	return r
}

// startRedis starts a redis-server. fsync is the appendfsync of its append-only file: always or
// everysec.
func startRedis(t testing.TB, fsync string, args ...string) *testserver.Redis {
	t.Helper()
	return testserver.StartRedis(t, append([]string{"--appendfsync", fsync}, args...)...)
}

// client returns a client with the settings of a worker's.
func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Config{URL: secret.New(url)}.WorkerClient(32)
	if err != nil {
		t.Fatal(err)
	}
	return rdb
}

// fill enqueues n mails, each to another recipient.
func fill(t testing.TB, rdb redis.UniversalClient, kind tasks.Kind, n int) {
	t.Helper()
	producer, err := securemail.NewClient(rdb)
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	var sending sync.WaitGroup
	for range 64 {
		sending.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				m := sample(kind)
				m.To = fmt.Sprintf("user%d@example.com", i)
				if _, err := producer.Send(t.Context(), m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	// Redis syncs its file once a second. It must not do so for these mails during the measurement.
	time.Sleep(1500 * time.Millisecond)
}

// askers counts the mails, so that each is asked for by another person.
var askers atomic.Uint32

// sample returns a mail with all fields that an application usually sets.
func sample(kind tasks.Kind) tasks.Mail {
	n := askers.Add(1)
	return tasks.Mail{Kind: kind, To: "alice@example.com", Purpose: "sign-in", Vars: map[string]string{"name": "Alice"},
		Origin: tasks.Origin{IP: fmt.Sprintf("10.%d.%d.%d", byte(n>>16), byte(n>>8), byte(n)), Agent: "Firefox on Linux", At: time.Now()}}
}

// counter writes the worker's log to a file, as in production, and closes done after n runs, each
// of which logs one line. Use a counter for one measurement only.
type counter struct {
	file *os.File
	left atomic.Int64
	done chan struct{}
}

func newCounter(t testing.TB, n int) *counter {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	c := &counter{file: file, done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *counter) down() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

func (c *counter) Write(line []byte) (int, error) {
	if strings.Contains(string(line[:min(len(line), 200)]), `"msg":"mail `) {
		defer c.down()
	}
	return c.file.Write(line)
}

func (c *counter) log() *zap.Logger {
	settings := zap.NewProductionEncoderConfig()
	settings.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(settings), zapcore.Lock(zapcore.AddSync(c)), zapcore.InfoLevel))
}

// startWorker starts a worker as cmd/worker does. It returns the worker's metrics and a function
// that stops it.
func startWorker(t testing.TB, url string, relay submission.Relay, ring string, log *zap.Logger) (*prometheus.Registry, func()) {
	t.Helper()
	rdb := client(t, url)
	w := harness.StartWorker(t, harness.Config{Redis: rdb, KeyRing: ring, Log: log, Relays: []submission.Relay{relay}, Concurrency: concurrency})
	return w.Metrics, func() {
		w.Stop()
		rdb.Close()
	}
}

// accepted returns how many mails the workers' metrics count as accepted.
func accepted(t testing.TB, registries ...*prometheus.Registry) (n int) {
	t.Helper()
	for _, r := range registries {
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if f.GetName() == "securemail_runs_total" && l.GetValue() == "accepted" {
						n += int(m.GetCounter().GetValue())
					}
				}
			}
		}
	}
	return n
}

// drainOurs lets workers send a backlog of n mails. It returns the time until all are accepted, and
// the CPU time of the workers, Redis and the receiving server.
func drainOurs(t testing.TB, s *sink, mode submission.TLSMode, fsync string, kind tasks.Kind, n, workers int) (time.Duration, usage) {
	t.Helper()
	server := startRedis(t, fsync)
	defer server.Kill()
	fill(t, server.Client, kind, n)
	ring, count := harness.NewKeyRing(t), newCounter(t, n)
	log := count.log()
	var registries []*prometheus.Registry
	var stops []func()
	before, begun := used(t, s, server), time.Now()
	for range workers {
		metrics, stop := startWorker(t, server.URL, s.relay(mode), ring, log)
		registries, stops = append(registries, metrics), append(stops, stop)
	}
	<-count.done
	took, cpu := time.Since(begun), used(t, s, server).minus(before)
	for _, stop := range stops {
		stop()
	}
	if got := accepted(t, registries...); got != n {
		t.Fatalf("%d of %d mails were accepted", got, n)
	}
	return took, cpu
}

// drainNoop lets asynq run the same tasks with a handler that does nothing. It returns the time and
// the CPU time of asynq and Redis.
func drainNoop(t testing.TB, s *sink, fsync string, kind tasks.Kind, n, servers int) (time.Duration, usage) {
	t.Helper()
	server := startRedis(t, fsync)
	defer server.Kill()
	fill(t, server.Client, kind, n)
	count := newCounter(t, n)
	before, begun := used(t, s, server), time.Now()
	var stops []func()
	for range servers {
		rdb := client(t, server.URL)
		a := asynq.NewServerFromRedisClient(rdb, asynq.Config{Concurrency: concurrency, Queues: map[string]int{tasks.QueueCodes: 2, tasks.Queue: 1},
			StrictPriority: true, LogLevel: asynq.FatalLevel})
		if err := a.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			count.down()
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		stops = append(stops, func() { a.Shutdown(); rdb.Close() })
	}
	<-count.done
	took, cpu := time.Since(begun), used(t, s, server).minus(before)
	for _, stop := range stops {
		stop()
	}
	return took, cpu
}
