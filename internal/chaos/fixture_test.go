package chaos_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// fixture holds the servers, the workers and the logs of one scenario.
type fixture struct {
	t    *testing.T
	ctx  context.Context
	dir  string
	url  string                // for the user of workers
	rdb  redis.UniversalClient // the administrator's, for the test itself
	aofs []string              // the folders of the servers' append-only files
	ring string

	sends    *logFile
	trace    *trace
	receiver *receiver
	workers  []*harness.Process

	mu  sync.Mutex
	ids map[string]string // by recipient
}

// newFixture starts a Redis that syncs every write, and a receiver. args are further arguments of
// the redis-server.
func newFixture(t *testing.T, limit time.Duration, args ...string) (*fixture, *testserver.Redis) {
	t.Helper()
	r := testserver.StartRedis(t, append([]string{"--appendfsync", "always"}, args...)...)
	return newFixtureOver(t, limit, r.URL, r.Client, r.Dir), r
}

// newFixtureOver is newFixture with a Redis that runs already. The scenario must end within the
// limit.
func newFixtureOver(t *testing.T, limit time.Duration, url string, rdb redis.UniversalClient, aofs ...string) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	f := &fixture{t: t, ctx: ctx, dir: t.TempDir(), url: url, rdb: rdb, aofs: aofs, ids: map[string]string{}}
	f.ring = filepath.Join(f.dir, "keyring")
	if err := keyring.New(f.ring); err != nil {
		t.Fatal(err)
	}
	f.sends, f.receiver = openLogFile(t, filepath.Join(f.dir, "sends"), false), startReceiver(t, filepath.Join(f.dir, "received"))
	f.trace = followTrace(t, filepath.Join(f.dir, "trace"))
	for name, text := range map[string]string{"ca": string(f.receiver.authority), "password": rand.Text()} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// addWorker adds a worker, which uses the URL, and does not start it.
func (f *fixture) addWorker(binary, redisURL string, concurrency int) *harness.Process {
	name := fmt.Sprintf("worker-%d", len(f.workers))
	p := &harness.Process{T: f.t, Name: name, Binary: binary, Log: filepath.Join(f.dir, name)}
	in := func(file string) string { return filepath.Join(f.dir, file) }
	p.Environ = append(os.Environ(), "SECUREMAIL_REDIS_URL="+redisURL, "SECUREMAIL_KEYRING_FILE="+f.ring, "SECUREMAIL_FROM=Example <no-reply@example.com>",
		"SECUREMAIL_SMTP_HOST=127.0.0.1", fmt.Sprintf("SECUREMAIL_SMTP_PORT=%d", f.receiver.port), "SECUREMAIL_SMTP_TLS=implicit",
		"SECUREMAIL_SMTP_CA_FILE="+in("ca"), "SECUREMAIL_SMTP_USERNAME="+name, "SECUREMAIL_SMTP_PASSWORD_FILE="+in("password"),
		"SECUREMAIL_ADMIN_ADDR=127.0.0.1:0", fmt.Sprintf("SECUREMAIL_CONCURRENCY=%d", concurrency), "TRACE="+in("trace"))
	f.workers = append(f.workers, p)
	return p
}

// start starts every worker, and waits until all of them take tasks.
func (f *fixture) start() {
	f.t.Helper()
	for _, w := range f.workers {
		w.Start("")
	}
	for _, w := range f.workers {
		f.until(w.Name+" has started", w.Started)
	}
}

// stop stops every running worker, and fails the test if one does not drain.
func (f *fixture) stop() {
	var stopping sync.WaitGroup
	for _, w := range f.workers {
		if w.Running() {
			stopping.Go(w.Stop)
		}
	}
	stopping.Wait()
}

// mailKinds are the kinds that producers send in turn.
var mailKinds = []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP}

// producer sends mails, and logs each call of Send.
type producer struct {
	*fixture
	client *securemail.Client
}

// newProducer returns a producer with its own client, as an application has it.
func (f *fixture) newProducer(options ...securemail.Option) *producer {
	f.t.Helper()
	url := strings.Replace(f.url, "//"+testserver.Worker+":", "//"+testserver.Producer+":", 1)
	rdb, err := redisconn.Config{URL: secret.New(url)}.ProducerClient()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { rdb.Close() })
	client, err := securemail.NewClient(rdb, options...)
	if err != nil {
		f.t.Fatal(err)
	}
	return &producer{f, client}
}

// send sends one mail to name@example.com. It repeats the call, with the same idempotency key,
// until the mail is acknowledged or ctx ends. It returns the mail's id, and whether the mail was
// acknowledged.
func (p *producer) send(ctx context.Context, name string, kind tasks.Kind) (id string, acked bool) {
	m := tasks.Mail{Kind: kind, To: name + "@example.com", Purpose: "chaos", IdempotencyKey: name}
	_, id, err := tasks.NewTask(m)
	if err != nil {
		p.t.Error(err)
		return "", false
	}
	p.mu.Lock()
	p.ids[m.To] = id
	p.mu.Unlock()
	for {
		_, err := p.client.Send(ctx, m)
		line := sendCall{ID: id, To: m.To, Kind: kind, At: time.Now()}
		if err != nil {
			line.Error = err.Error()
		}
		if err := p.sends.add(line); err != nil {
			p.t.Error(err)
		}
		if err == nil {
			return id, true
		}
		select {
		case <-ctx.Done():
			return id, false
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// produce sends a mail every interval, from several producers, until over returns true. It returns
// when the last mail is acknowledged. name(n) is the name of the n-th recipient, and ends with n.
func (f *fixture) produce(producers int, every time.Duration, name func(n int) string, over func(n int) bool, options ...securemail.Option) {
	type mail struct {
		name string
		kind tasks.Kind
	}
	mails := make(chan mail)
	var sending sync.WaitGroup
	for range producers {
		p := f.newProducer(options...)
		sending.Go(func() {
			for m := range mails {
				p.send(f.ctx, m.name, m.kind)
			}
		})
	}
	pace := time.NewTicker(every)
	defer pace.Stop()
	for n := 0; !over(n) && f.ctx.Err() == nil; n++ {
		select {
		case mails <- mail{name(n), mailKinds[n%len(mailKinds)]}:
		case <-f.ctx.Done():
		}
		<-pace.C
	}
	close(mails)
	sending.Wait()
}

// named returns a function that makes names from a prefix and a number.
func named(prefix string) func(n int) string {
	return func(n int) string { return fmt.Sprintf("%s%d", prefix, n) }
}

// background runs f in a goroutine. wait waits until f has returned.
func background(f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(f)
	return running.Wait
}

// id returns the id of the mail to a recipient.
func (f *fixture) id(to string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ids[to]
}

// until waits for a condition. If it stays false, until ends the test, so only the test's own
// goroutine may call it.
func (f *fixture) until(what string, done func() bool) {
	f.t.Helper()
	if !f.wait(what, done) {
		f.t.FailNow()
	}
}

// wait waits for a condition. If it stays false, the test fails, and wait returns false.
func (f *fixture) wait(what string, done func() bool) bool {
	f.t.Helper()
	for !done() {
		select {
		case <-f.ctx.Done():
			f.t.Errorf("timeout, while waiting until %s; in the queue: %s", what, f.inQueue())
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

var queues = []string{tasks.QueueCodes, tasks.Queue}

// inQueue describes the tasks that are left, or returns "" if there is none. It reads a queue in
// one transaction, because tasks move.
func (f *fixture) inQueue() string {
	var have []string
	for _, queue := range queues {
		counts, err := f.rdb.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
			p.LLen(context.Background(), "asynq:{"+queue+"}:pending")
			p.LLen(context.Background(), "asynq:{"+queue+"}:active")
			p.ZCard(context.Background(), "asynq:{"+queue+"}:retry")
			p.ZCard(context.Background(), "asynq:{"+queue+"}:scheduled")
			return nil
		})
		if err != nil {
			have = append(have, err.Error())
		}
		for _, count := range counts {
			if n := count.(*redis.IntCmd); n.Val() > 0 {
				have = append(have, n.String())
			}
		}
	}
	return strings.Join(have, ", ")
}
