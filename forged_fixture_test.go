package securemail_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const session = "a cookie of this session"

// forge is a fixture with a real worker: its records are those that a worker writes. Its redis may write anything.
type forge struct {
	*fixture
	server *testserver.Redis
	env    *dev.Env
	logs   *observer.ObservedLogs
	log    *zap.Logger
	worker *harness.Worker
}

func newForge(t *testing.T) *forge {
	t.Helper()
	server := testserver.StartRedis(t, "--appendfsync", "no")
	core, logs := observer.New(zapcore.InfoLevel)
	f := &forge{fixture: fixtureOver(t, server.Client, server.As(testserver.Producer)), server: server, env: harness.StartDev(t), logs: logs, log: zap.New(core)}
	f.start(tasks.Limits{})
	return f
}

// start starts a worker.
func (f *forge) start(limits tasks.Limits, minDigits ...int) {
	f.Helper()
	f.worker = harness.StartWorker(f.TB.(*testing.T), harness.Config{MinCodeDigits: append(minDigits, 0)[0], Redis: f.server.As(testserver.Worker), KeyRing: f.ring, Log: f.log,
		Relays: []submission.Relay{harness.Relay(f.env, "dev", submission.ImplicitTLS)}, MailLimits: &limits})
}

// stop stops it, and waits until it has ended.
func (f *forge) stop() { f.worker.Stop() }

// eventually waits until done, for a minute at most.
func (f *forge) eventually(what string, done func() bool) {
	f.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("%s: not within a minute", what)
		}
	}
}

// sent sends m, waits until the mail is in the state, and returns its id.
func (f *forge) sent(m tasks.Mail, state tasks.State) string {
	f.Helper()
	id := f.queue(m)
	f.eventually(m.To+" is "+string(state), func() bool {
		s, err := f.client.Status(f.Context(), id)
		f.must(err)
		return s.State == state
	})
	return id
}

// base is a mail whose record is changed, with what its answers are.
type base struct {
	tasks.Ref
	state  string
	typed  string // the right answer; for a TOTP the shared secret
	kind   tasks.Kind
	record map[string]string // what Redis has of it: DUMP by key
}

// bases are mails in the states in which an answer is compared, or was.
func (f *forge) bases() map[string]base {
	f.Helper()
	all := map[string]base{}
	for state, m := range map[string]tasks.Mail{
		"code": {Kind: tasks.Code, IdempotencyKey: "code-1", Session: session, ClientRef: "order 2"}, "key": {Kind: tasks.Key},
		"pending": {Kind: tasks.TOTP}, "active": {Kind: tasks.TOTP}, "used": {Kind: tasks.Code}, "locked": {Kind: tasks.Key},
	} {
		m.To, m.Purpose = alice, "sign-in"
		b := base{Ref: tasks.Ref{ID: f.sent(m, tasks.Accepted), To: alice, Purpose: "sign-in", Session: session}, state: state, kind: m.Kind}
		b.typed = f.secret(b.ID, m.Session)
		all[state] = b
	}
	expired := f.mailed(tasks.Code, alice, "sign-in", -time.Second)
	all["expired"] = base{Ref: expired.Ref, state: "expired", typed: expired.Typed, kind: tasks.Code}
	want := func(state, ask, want string) {
		if got := f.ask(all[state], ask); got != want {
			f.Fatalf("%s %s: got %s, want %s", state, ask, got, want)
		}
	}
	want("code", "repeated", "wrong")
	want("key", "wrong", "wrong")
	want("pending", "wrong", "wrong")
	want("active", "stale", "right") // from now on it is
	want("used", "again", "right")
	for range 5 {
		want("locked", "wrong", "wrong")
	}
	f.must(f.redis.Del(f.Context(), f.counters(alice)).Err())
	for state, b := range all {
		b.record = f.dump(b.ID)
		all[state] = b
	}
	return all
}

// secret returns what was mailed, by the record.
func (f *forge) secret(id, session string) string {
	f.Helper()
	ring, err := keyring.Load(f.ring)
	f.must(err)
	r := f.redis.HGetAll(f.Context(), "securemail:{"+id+"}").Val()
	key, _ := ring.Key(r["kid"])
	p := credential.Params{Kind: tasks.Kind(r["kind"]), ID: id, Purpose: r["purpose"], To: alice, Seed: []byte(r["seed"])}
	if p.Kind == tasks.Code {
		p.Digits = 8
	}
	if session != "" {
		p.Session = tasks.SessionHash(session)
	}
	secret, err := credential.Derive(key, p)
	f.must(err)
	if p.Kind == tasks.TOTP {
		return secret.SharedSecret().Reveal()
	}
	return secret.Display().Reveal()
}

// asks are what every forged record is asked: the right answer, the export, and what a stranger would try.
var asks = []string{"right", "wrong", "repeated", "short", "again", "stale", "unbound", "export"}

// ask asks one of them, and returns a word for the result, or "" where the record has no such ask.
func (f *forge) ask(b base, ask string) string {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	ref, typed := b.Ref, b.typed
	if b.kind == tasks.TOTP {
		typed = otpauth.Code([]byte(b.typed), time.Now().Add(30*time.Second))
	}
	switch ask {
	case "wrong":
		typed = "00000000"
	case "repeated": // an attempt that was wrong before
		if ref.Attempt, typed = "W", "00000000"; b.state != "code" {
			return ""
		}
	case "again": // the attempt that used a secret up
		if ref.Attempt = "A"; b.state != "used" {
			return ""
		}
	case "short": // what a stranger would try of a code that was made shorter
		if typed = strings.ReplaceAll(typed, " ", "")[:6]; b.kind != tasks.Code {
			typed = "000000"
		}
	case "stale": // a code of an authenticator that was used
		if b.state != "active" {
			return ""
		}
		typed = otpauth.Code([]byte(b.typed), time.Now())
	case "unbound": // without the session
		if ref.Session = ""; b.state != "code" {
			return ""
		}
	case "export":
		_, err := f.client.Export(ctx, ref)
		return wordOf(err)
	}
	return wordOf(f.client.Verify(ctx, ref, typed))
}

// wordOf is resultOf without what differs from record to record.
func wordOf(err error) string {
	word, _, _ := strings.Cut(resultOf(err), ",")
	word, _, _ = strings.Cut(word, ":")
	return word
}

// dump returns what Redis has of a mail.
func (f *forge) dump(id string) map[string]string {
	f.Helper()
	record := map[string]string{}
	for _, suffix := range []string{"", ":mail", ":export", ":reserved"} {
		value, err := f.redis.Dump(f.Context(), "securemail:{"+id+"}"+suffix).Result()
		if err != redis.Nil {
			f.must(err)
			record[suffix] = value
		}
	}
	return record
}

// restore puts a record in place of what Redis has of id, and clears what is counted of its recipient.
func (f *forge) restore(id string, record map[string]string) {
	f.Helper()
	key := "securemail:{" + id + "}"
	f.must(f.redis.Del(f.Context(), key, key+":mail", key+":export", f.counters(alice)).Err())
	for suffix, value := range record {
		f.must(f.redis.RestoreReplace(f.Context(), key+suffix, time.Hour, value).Err())
	}
}

// set writes a value into a field of a record, or deletes the field if it is empty.
func (f *forge) set(id, field, value string) {
	f.Helper()
	key := "securemail:{" + id + "}"
	if value == "" {
		f.must(f.redis.HDel(f.Context(), key, field).Err())
		return
	}
	f.must(f.redis.HSet(f.Context(), key, field, value).Err())
}

// again makes the deferred tasks of the queues run now.
func (f *forge) again(queues ...string) {
	f.Helper()
	for _, queue := range queues {
		_, err := asynq.NewInspectorFromRedisClient(f.redis).RunAllRetryTasks(queue)
		f.must(err)
	}
}
