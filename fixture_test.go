package securemail_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// fixture is a client with a key ring and a real Redis. Its methods write records as a worker does.
type fixture struct {
	testing.TB
	redis   redis.UniversalClient // for the worker and the tests
	rdb     redis.UniversalClient // for the client
	client  *securemail.Client
	records *record.Store
	ring    string // the path of the key ring
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	server := testserver.StartRedis(t, "--appendfsync", "no")
	return fixtureOver(t, server.Client, server.As(testserver.Producer))
}

// fixtureOver returns a fixture whose client uses another connection to Redis than the worker.
func fixtureOver(t testing.TB, worker, client redis.UniversalClient) *fixture {
	t.Helper()
	h := &fixture{TB: t, redis: worker, rdb: client, ring: filepath.Join(t.TempDir(), "keyring"), records: record.NewStore(worker, 7*24*time.Hour)}
	h.must(keyring.New(h.ring))
	h.client = h.newClient()
	return h
}

func (h *fixture) newClient() *securemail.Client {
	h.Helper()
	client, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring))
	h.must(err)
	return client
}

func (h *fixture) must(err error) {
	if err != nil {
		h.Helper()
		h.Fatal(err)
	}
}

// mailed writes the record of a mail that a worker has opened, and returns the right answer. The
// secret lives for an hour, or for life.
func (h *fixture) mailed(kind tasks.Kind, to, purpose string, life ...time.Duration) answer {
	h.Helper()
	ring, err := keyring.Load(h.ring)
	h.must(err)
	kid, key := ring.Active()
	p := credential.Params{Kind: kind, ID: rand.Text(), Purpose: purpose, To: to, Seed: make([]byte, 32)}
	if kind == tasks.Code {
		p.Digits = 8
	}
	rand.Read(p.Seed)
	secret, err := credential.Derive(key, p)
	h.must(err)
	now := time.Now()
	m := record.Entry{ID: p.ID, Kind: kind, Purpose: purpose, Digits: p.Digits, Seed: p.Seed, KeyID: kid, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		Address: record.AddressTag(ring.Recipients(), p.ID, to)}
	if kind == tasks.TOTP {
		m.TOTP, err = credential.Seal(key, credential.Binding{Use: credential.UseTOTP, ID: p.ID, Purpose: purpose, To: to, KeyID: kid},
			[]byte(secret.SharedSecret().Reveal()))
		h.must(err)
	}
	if len(life) > 0 {
		m.ExpiresAt = now.Add(life[0])
	}
	m.Sign(key)
	_, err = h.records.Open(h.Context(), m)
	h.must(err)
	return answer{tasks.Ref{ID: p.ID, Purpose: purpose, To: to}, secret.Display().Reveal()}
}

// queue sends m and returns its id.
func (h *fixture) queue(m tasks.Mail) string {
	h.Helper()
	receipt, err := h.client.Send(h.Context(), m)
	h.must(err)
	return receipt.ID
}

// wrong returns a wrong answer of the same form as the right answer a.
func wrong(a answer) answer {
	typed := []byte(a.Typed)
	typed[0] = '0' + (typed[0]+1)%10
	a.Typed = string(typed)
	return a
}

func (h *fixture) credential(id string) tasks.CredentialState {
	h.Helper()
	s, err := h.client.Status(h.Context(), id)
	h.must(err)
	return s.Credential
}

// answer is what a person types, and the secret that it answers.
type answer struct {
	tasks.Ref
	Typed string
}

func check(c *securemail.Client, ctx context.Context, a answer) error {
	return c.Verify(ctx, a.Ref, a.Typed)
}

func addressTag(ring *keyring.Ring, a answer) string {
	return record.AddressTag(ring.Recipients(), a.ID, a.To)
}

func (h *fixture) counters(address string) string {
	h.Helper()
	ring, err := keyring.Load(h.ring)
	h.must(err)
	to, err := mailaddr.Parse(address)
	h.must(err)
	return limits.RecipientKey(ring.Recipients(), to)
}

// misses returns how many wrong answers of the recipient Redis counts.
func (h *fixture) misses(address string) int {
	h.Helper()
	fields, err := h.redis.HKeys(context.Background(), h.counters(address)).Result()
	h.must(err)
	misses := 0
	for _, field := range fields {
		if strings.HasPrefix(field, "m:") {
			misses++
		}
	}
	return misses
}

// age makes the recipient's counted mails and wrong answers older.
func (h *fixture) age(address string, by time.Duration) {
	h.Helper()
	counters, ctx := h.counters(address), context.Background()
	fields, err := h.redis.HGetAll(ctx, counters).Result()
	h.must(err)
	for field := range fields {
		h.must(h.redis.HIncrBy(ctx, counters, field, -by.Milliseconds()).Err())
	}
}

// commands records the commands that go-redis sends, and scripts by their hash.
type commands struct {
	redis.Hook
	mu  sync.Mutex
	all []string
}

func (c *commands) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

func (c *commands) add(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		name := cmd.Name()
		if name == "evalsha" {
			name += fmt.Sprint(" ", cmd.Args()[1])
		}
		c.all = append(c.all, name)
	}
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.add(cmd)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.add(cmds...)
		return next(ctx, cmds)
	}
}
