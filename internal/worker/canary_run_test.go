package worker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail"
	"example.com/securemail/internal/admin"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// canaryRun is the whole system. It records every place to which a secret could leak.
type canaryRun struct {
	t      *testing.T
	redis  *testserver.Redis
	rdb    *redis.Client
	env    *dev.Env
	ring   string // the path of the key ring
	key    []byte // its active key
	client *securemail.Client

	log     *zap.Logger
	logs    canaryBuffer
	tap     func() string
	workers []*canaryWorker
	seen    strings.Builder // what /monitor and /metrics returned during the run

	secrets canarySearch // texts that no place may hold
	private canarySearch // recipients' data, which only Redis may hold
}

// canaryWorker is a worker and its admin listener.
type canaryWorker struct {
	metrics *prometheus.Registry
	admin   *canaryAdmin
	stop    func()
}

// canaryRedisLog records the log of go-redis.
type canaryRedisLog struct{ log *zap.SugaredLogger }

func (l canaryRedisLog) Printf(_ context.Context, format string, args ...any) {
	l.log.Warnf(format, args...)
}

func newCanaryRun(t *testing.T) *canaryRun {
	t.Helper()
	r := &canaryRun{t: t, redis: testserver.StartRedis(t, "--rdbcompression", "no"), ring: harness.NewKeyRing(t),
		secrets: canarySearch{}, private: canarySearch{}}
	r.log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&r.logs), zapcore.DebugLevel))
	redis.SetLogger(canaryRedisLog{r.log.Sugar()})
	stdlog.SetOutput(io.MultiWriter(os.Stderr, &r.logs)) // some libraries log there
	t.Cleanup(func() { stdlog.SetOutput(os.Stderr) })

	r.rdb = r.redis.Client
	var err error
	if r.client, err = securemail.NewClient(r.redis.As(testserver.Producer)); err != nil {
		t.Fatal(err)
	}
	r.tap = canaryTap(t, r.rdb)

	r.env = harness.StartDev(t)
	ring, err := keyring.Load(r.ring)
	if err != nil {
		t.Fatal(err)
	}
	_, r.key = ring.Active()
	r.secrets.add("the password of Redis", testserver.RedisPassword)
	r.secrets.add("the relay's password", r.env.Password().Reveal())
	r.secrets.add("the key ring's active key", string(r.key))
	r.secrets.add("the key ring's recipients key", string(ring.Recipients()))
	return r
}

// relay returns one of the two ports as a relay. The timeout for the final reply is long enough for
// asynq to publish what its workers do, which it does every five seconds.
func (r *canaryRun) relay(name string, mode submission.TLSMode) submission.Relay {
	relay := harness.Relay(r.env, name, mode)
	relay.Timeouts = submission.Timeouts{FinalReply: 8 * time.Second, Total: time.Minute}
	return relay
}

// start starts a worker and its admin listener, connected as in cmd/worker.
func (r *canaryRun) start(limiter submission.Limiter, relays ...submission.Relay) {
	t := r.t
	t.Helper()
	conn := redisconn.Config{URL: secret.New(r.redis.URL)}
	rdb, err := conn.WorkerClient(8)
	if err != nil {
		t.Fatal(err)
	}
	monitoring, err := conn.ProducerClient()
	if err != nil {
		t.Fatal(err)
	}
	w := harness.StartWorker(t, harness.Config{Redis: rdb, KeyRing: r.ring, Log: r.log, Relays: relays, Limiter: limiter, TryTimeout: time.Minute,
		Concurrency: 16, MailLimits: &tasks.Limits{}})
	w.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	password := "p&ss wörd/+ " + rand.Text()
	r.secrets.add("an admin password", password)
	listener, err := admin.Listen(admin.Config{Addr: "127.0.0.1:0", Password: secret.New(password), Redis: monitoring, Ready: w.Ready, Metrics: w.Metrics})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := listener.Serve(ctx); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	stop := sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		w.Stop()
		serving.Wait()
		rdb.Close()
		monitoring.Close()
	})
	t.Cleanup(stop)
	pages := &canaryAdmin{t, "http://" + listener.Addr(), password, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	r.workers = append(r.workers, &canaryWorker{w.Metrics, pages, stop})
}

// expect lets the run search for the secret of a mail and for the data of its recipient. It returns
// the secret.
func (r *canaryRun) expect(id string, m tasks.Mail, seed []byte) credential.Credential {
	r.t.Helper()
	p := credential.Params{Kind: m.Kind, ID: id, Purpose: m.Purpose, To: m.To, Seed: seed}
	if m.Kind == tasks.Code {
		p.Digits = 8
	}
	if m.Session != "" {
		p.Session = tasks.SessionHash(m.Session)
		r.secrets.add("the session of "+m.To, m.Session)
	}
	r.secrets.add("the idempotency key of the mail to "+m.To, m.IdempotencyKey)
	cred, err := credential.Derive(r.key, p)
	if err != nil {
		r.t.Fatal(err)
	}
	shown := cred.Display().Reveal()
	bare := strings.NewReplacer(" ", "", "-", "").Replace(shown)
	name := fmt.Sprintf("the %s to %s", m.Kind, m.To)
	r.secrets.add(name, shown, bare, strings.ToLower(shown), strings.ToLower(bare))
	if m.Kind == tasks.TOTP {
		r.secrets.add(name, cred.SharedSecret().Reveal())
	}
	local, _, _ := strings.Cut(m.To, "@")
	r.private.add("the address "+m.To, m.To, local)
	r.private.add("the name of "+m.To, m.Vars["name"])
	r.private.add("the IP address of "+m.To, m.Origin.IP)
	r.private.add("the browser of "+m.To, m.Origin.Agent)
	r.private.add("the seed of "+m.To, string(seed))
	if m.Account != "" {
		r.private.add("the account of "+m.To, m.Account)
	}
	return cred
}

// The recorded places. Those of Redis may hold recipients' data, and the others must not.
const (
	placeMonitor = "Redis: MONITOR"
	placeAOF     = "Redis: the append-only file"
	placeDump    = "Redis: the dump"
	placeKeys    = "Redis: its keys"
	placeErrors  = "asynq's error texts"
	placeLogs    = "the logs"
	placeMetrics = "/metrics"
	placePages   = "/monitor"
)

// places stops the workers, and returns all that was written to each place.
func (r *canaryRun) places() map[string]string {
	r.t.Helper()
	all := map[string]string{placePages: r.seen.String() + r.workers[0].admin.everything()}
	for _, w := range r.workers {
		all[placeMetrics] += w.admin.get("/metrics")
		w.stop()
	}
	all[placeErrors] = canaryErrors(r.t, r.rdb)
	all[placeKeys] = canaryKeys(r.t, r.rdb)
	if err := r.rdb.Save(r.t.Context()).Err(); err != nil {
		r.t.Fatal(err)
	}
	all[placeDump] = canaryFiles(r.t, r.redis.Dir, "dump.rdb")
	all[placeAOF] = canaryFiles(r.t, r.redis.Dir, "*.aof")
	all[placeMonitor] = r.tap()
	all[placeLogs] = r.logs.String()
	return all
}

// find searches all places.
func (r *canaryRun) find(places map[string]string) map[string][]canaryHit {
	found := map[string][]canaryHit{}
	for place, text := range places {
		if text == "" {
			r.t.Errorf("%s is empty, so nothing was searched", place)
		}
		found[place] = r.secrets.find(text)
		if !strings.HasPrefix(place, "Redis") {
			found[place] = append(found[place], r.private.find(text)...)
		}
	}
	return found
}
