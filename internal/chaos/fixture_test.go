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

// site is everything around the workers of one scenario, and its three files.
type site struct {
	t    *testing.T
	ctx  context.Context
	dir  string
	url  string                // for the user of workers
	rdb  redis.UniversalClient // the test's own, for looking
	aofs []string              // the folders of the append-only files
	ring string

	p        *book
	trace    *trace
	receiver *receiver
	workers  []*harness.Process

	mu  sync.Mutex
	ids map[string]string // by recipient
}

// newSite starts a Redis that syncs every write, and a receiver. Further arguments are Redis's.
func newSite(t *testing.T, limit time.Duration, args ...string) (*site, *testserver.Redis) {
	t.Helper()
	r := testserver.StartRedis(t, append([]string{"--appendfsync", "always"}, args...)...)
	return newSiteOver(t, limit, r.URL, r.Client, r.Dir), r
}

// newSiteOver is newSite over a Redis that runs. Everything has to be over within the limit.
func newSiteOver(t *testing.T, limit time.Duration, url string, rdb redis.UniversalClient, aofs ...string) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, dir: t.TempDir(), url: url, rdb: rdb, aofs: aofs, ids: map[string]string{}}
	s.ring = filepath.Join(s.dir, "keyring")
	if err := keyring.New(s.ring); err != nil {
		t.Fatal(err)
	}
	s.p, s.receiver = openBook(t, filepath.Join(s.dir, "P"), false), startReceiver(t, filepath.Join(s.dir, "S"))
	s.trace = followTrace(t, filepath.Join(s.dir, "W"))
	for name, text := range map[string]string{"ca": string(s.receiver.authority), "password": rand.Text()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.stop)
	return s
}

// addWorker returns a worker of the site that has not started. It reaches Redis by the URL.
func (s *site) addWorker(binary, redisURL string, concurrency int) *harness.Process {
	name := fmt.Sprintf("worker-%d", len(s.workers))
	p := &harness.Process{T: s.t, Name: name, Binary: binary, Log: filepath.Join(s.dir, name)}
	in := func(file string) string { return filepath.Join(s.dir, file) }
	p.Environ = append(os.Environ(), "SECUREMAIL_REDIS_URL="+redisURL, "SECUREMAIL_KEYRING_FILE="+s.ring, "SECUREMAIL_FROM=Example <no-reply@example.com>",
		"SECUREMAIL_SMTP_HOST=127.0.0.1", fmt.Sprintf("SECUREMAIL_SMTP_PORT=%d", s.receiver.port), "SECUREMAIL_SMTP_TLS=implicit",
		"SECUREMAIL_SMTP_CA_FILE="+in("ca"), "SECUREMAIL_SMTP_USERNAME="+name, "SECUREMAIL_SMTP_PASSWORD_FILE="+in("password"),
		"SECUREMAIL_ADMIN_ADDR=127.0.0.1:0", fmt.Sprintf("SECUREMAIL_CONCURRENCY=%d", concurrency), "TRACE="+in("W"))
	s.workers = append(s.workers, p)
	return p
}

// start starts every worker, and waits until all take tasks.
func (s *site) start() {
	s.t.Helper()
	for _, w := range s.workers {
		w.Start("")
	}
	for _, w := range s.workers {
		s.until(w.Name+" has started", w.Started)
	}
}

// stop stops every worker, each of which has to drain.
func (s *site) stop() {
	var stopping sync.WaitGroup
	for _, w := range s.workers {
		if w.Running() {
			stopping.Go(w.Stop)
		}
	}
	stopping.Wait()
}

// mailKinds is the mix that producers send.
var mailKinds = []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP}

// producer sends mails, and writes P.
type producer struct {
	*site
	client *securemail.Client
}

// newProducer returns a producer with a client of its own, as an application has it.
func (s *site) newProducer(options ...securemail.Option) *producer {
	s.t.Helper()
	url := strings.Replace(s.url, "//"+testserver.Worker+":", "//"+testserver.Producer+":", 1)
	rdb, err := redisconn.Config{URL: secret.New(url)}.ProducerClient()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { rdb.Close() })
	client, err := securemail.NewClient(rdb, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	return &producer{s, client}
}

// send offers one mail to name@example.com until it is acknowledged, always as the same mail. It returns the mail's id, and
// whether it was acknowledged before ctx ended.
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
		line := offered{ID: id, To: m.To, Kind: kind, At: time.Now()}
		if err != nil {
			line.Error = err.Error()
		}
		if err := p.p.add(line); err != nil {
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

// produce sends mails at a pace from several producers until over, and waits until the last is acknowledged. name gives the
// n-th its name, and ends with n.
func (s *site) produce(producers int, every time.Duration, name func(n int) string, over func(n int) bool, options ...securemail.Option) {
	type mail struct {
		name string
		kind tasks.Kind
	}
	mails := make(chan mail)
	var sending sync.WaitGroup
	for range producers {
		p := s.newProducer(options...)
		sending.Go(func() {
			for m := range mails {
				p.send(s.ctx, m.name, m.kind)
			}
		})
	}
	pace := time.NewTicker(every)
	defer pace.Stop()
	for n := 0; !over(n) && s.ctx.Err() == nil; n++ {
		select {
		case mails <- mail{name(n), mailKinds[n%len(mailKinds)]}:
		case <-s.ctx.Done():
		}
		<-pace.C
	}
	close(mails)
	sending.Wait()
}

// named gives mails their names: a prefix and their number.
func named(prefix string) func(n int) string {
	return func(n int) string { return fmt.Sprintf("%s%d", prefix, n) }
}

// background runs f, which ends by itself; wait waits for it.
func background(f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(f)
	return running.Wait
}

// id returns the id of the mail to a recipient.
func (s *site) id(to string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[to]
}

// until waits for a condition, and ends the test where it does not come. It is for the test's own goroutine.
func (s *site) until(what string, done func() bool) {
	s.t.Helper()
	if !s.wait(what, done) {
		s.t.FailNow()
	}
}

// wait waits for a condition. That it does not come is an error.
func (s *site) wait(what string, done func() bool) bool {
	s.t.Helper()
	for !done() {
		select {
		case <-s.ctx.Done():
			s.t.Errorf("waited in vain until %s; in the queue: %s", what, s.inQueue())
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

var queues = []string{tasks.QueueCodes, tasks.Queue}

// inQueue says how many tasks there still are, or "" if there is none. It looks at a whole queue in one moment, since tasks move.
func (s *site) inQueue() string {
	var have []string
	for _, queue := range queues {
		counts, err := s.rdb.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
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
