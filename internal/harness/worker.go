// Package harness starts workers for tests, in the test's own process or as processes that can be
// killed, and runs the test scripts of the commands.
//
// Package testserver starts the real servers that they use. Only tests import these two packages.
package harness

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/worker"
	"example.com/securemail/tasks"
)

// StartDev starts the development environment on free ports, for as long as the test runs.
func StartDev(t testing.TB) *dev.Env {
	t.Helper()
	const free = "127.0.0.1:0"
	env, err := dev.Start(context.Background(), dev.Options{RedisAddr: free, SMTPSAddr: free, SubmissionAddr: free, InboxAddr: free})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { env.Close() })
	return env
}

// Relay is the submission server of a development environment.
func Relay(env *dev.Env, name string, mode submission.TLSMode) submission.Relay {
	addr := env.SMTPSAddr()
	if mode == submission.StartTLS {
		addr = env.SubmissionAddr()
	}
	host, port, _ := net.SplitHostPort(addr) // the address that a listener gave
	number, _ := strconv.Atoi(port)
	return submission.Relay{Name: name, Host: host, Port: number, TLS: mode, RootCAs: env.RootCAs(),
		Username: env.Username(), Password: env.Password(), LocalName: "localhost"}
}

// NewKeyRing makes a key ring and returns its file.
func NewKeyRing(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	if err := keyring.New(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Sender is who the mails are from.
func Sender(t testing.TB) message.Sender {
	t.Helper()
	address, err := mailaddr.Parse("no-reply@example.com")
	if err != nil {
		t.Fatal(err)
	}
	return message.Sender{Name: "Example", Address: address}
}

// Config is how a worker of a test differs from one in production.
type Config struct {
	Redis   redis.UniversalClient // required
	KeyRing string                // the file; required
	Log     *zap.Logger           // required
	Relays  []submission.Relay    // required
	Limits  map[string]limits.Limit
	// Limiter replaces Limits.
	Limiter       submission.Limiter
	Changed       func(relay string, open bool, cause error, until time.Time)
	TryTimeout    time.Duration // default 3 minutes
	Concurrency   int           // default 8
	MailLimits    *tasks.Limits // nil: the default
	StopOnUnknown bool
	MinCodeDigits int // default 6
}

// Worker is a running worker.
type Worker struct {
	*worker.Worker
	Metrics *prometheus.Registry
	Stop    func() // stops it, and waits until it has drained; may be called again
}

// StartWorker starts a worker in this process. The end of the test stops it.
func StartWorker(t testing.TB, c Config) *Worker {
	t.Helper()
	ring, err := keyring.Open(c.KeyRing)
	if err != nil {
		t.Fatal(err)
	}
	if c.Limiter == nil {
		c.Limiter = limits.NewPerRelay(c.Redis, c.Limits)
	}
	relays, err := submission.NewRelays(c.Relays, submission.Options{Limits: c.Limiter, Changed: c.Changed})
	if err != nil {
		t.Fatal(err)
	}
	if c.TryTimeout == 0 {
		c.TryTimeout = 3 * time.Minute
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.MinCodeDigits == 0 {
		c.MinCodeDigits = 6
	}
	if c.MailLimits == nil {
		standard := tasks.DefaultLimits()
		c.MailLimits = &standard
	}
	w := &Worker{Metrics: prometheus.NewRegistry()}
	w.Worker = worker.New(worker.Config{Redis: c.Redis, KeyRing: ring, Relays: relays, TryTimeout: c.TryTimeout,
		StopOnUnknown: c.StopOnUnknown, From: Sender(t), Product: "Example", MaxLife: tasks.DefaultLives(), MinCodeDigits: c.MinCodeDigits,
		Retention: 7 * 24 * time.Hour, Concurrency: c.Concurrency, Limits: *c.MailLimits, Log: c.Log, Metrics: w.Metrics})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w.Stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		relays.Close()
	})
	t.Cleanup(w.Stop)
	return w
}
