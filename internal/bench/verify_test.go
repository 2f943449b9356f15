package bench_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// verifier is an application that verifies answers.
type verifier struct {
	rdb     redis.UniversalClient
	ring    string
	client  *securemail.Client
	records *record.Store
}

// newVerifier returns a verifier whose Redis is on a Unix socket ("unix"), on a TCP port of
// 127.0.0.1 ("tcp"), or on a Unix socket with 1 ms for each round trip ("1ms").
func newVerifier(t testing.TB, network string) *verifier {
	t.Helper()
	// Of the users in deploy/redis.acl, only this one may also open records.
	options := &redis.Options{Username: testserver.Worker, Password: testserver.RedisPassword, DisableIdentity: true}
	if network == "tcp" {
		l := listen()
		l.Close()
		options.Addr = l.Addr().String()
		startRedis(t, "everysec", "--port", strconv.Itoa(port(l)), "--bind", "127.0.0.1")
	} else {
		server := startRedis(t, "everysec")
		options.Network, options.Addr = "unix", server.Client.Options().Addr
	}
	if network == "1ms" {
		options.Dialer = func(context.Context, string, string) (net.Conn, error) {
			c, err := net.Dial(options.Network, options.Addr)
			return distantConn{c}, err
		}
	}
	c := &verifier{rdb: redis.NewClient(options), ring: harness.NewKeyRing(t)}
	t.Cleanup(func() { c.rdb.Close() })
	var err error
	if c.client, err = securemail.NewClient(c.rdb, securemail.WithKeyRingFile(c.ring)); err != nil {
		t.Fatal(err)
	}
	c.records = record.NewStore(c.rdb, 7*24*time.Hour)
	return c
}

// distantConn delays every write by a millisecond. The client writes once for each round trip, so
// this delays each round trip once.
type distantConn struct{ net.Conn }

func (c distantConn) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return c.Conn.Write(b)
}

// answer is what a person types, and the secret that it answers.
type answer struct {
	tasks.Ref
	typed string
}

// answer returns the right answer to a new key, with a record as of a worker that has just mailed
// it.
func (c *verifier) answer(t testing.TB) answer {
	t.Helper()
	ring, err := keyring.Load(c.ring)
	if err != nil {
		t.Fatal(err)
	}
	kid, key := ring.Active()
	id := rand.Text()
	p := credential.Params{Kind: tasks.Key, ID: id, Purpose: "sign-in", To: id + "@example.com", Seed: make([]byte, 32)}
	rand.Read(p.Seed)
	cred, err := credential.Derive(key, p)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	m := record.Entry{ID: id, Kind: "key", Purpose: p.Purpose, Seed: p.Seed, KeyID: kid, Sealed: make([]byte, 400),
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), Address: record.AddressTag(ring.Recipients(), id, p.To)}
	m.Sign(key)
	if _, err := c.records.Open(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return answer{tasks.Ref{ID: id, Purpose: p.Purpose, To: p.To}, cred.Display().Reveal()}
}

// BenchmarkVerify verifies right answers, one after the other or 32 at a time, and calls as many
// empty scripts. One after the other, verifications and scripts take turns, because the time of a
// lone call depends on how deeply the processes sleep before it.
func BenchmarkVerify(b *testing.B) {
	const calls = 2560
	for _, network := range []string{"unix", "tcp", "1ms"} {
		for _, c := range []struct{ callers, turn int }{{1, 1}, {32, 320}} {
			b.Run(fmt.Sprintf("%s-%d", network, c.callers), func(b *testing.B) {
				app := newVerifier(b, network)
				script := redis.NewScript("return 1")
				if err := script.Run(b.Context(), app.rdb, nil).Err(); err != nil {
					b.Fatal(err)
				}
				var bare, ours time.Duration
				for b.Loop() {
					answers := make(chan answer, calls)
					for range calls {
						answers <- app.answer(b)
					}
					for range calls / c.turn {
						bare += times(b, c.callers, c.turn, func(ctx context.Context) error { return script.EvalSha(ctx, app.rdb, nil).Err() })
						ours += times(b, c.callers, c.turn, func(ctx context.Context) error { a := <-answers; return app.client.Verify(ctx, a.Ref, a.typed) })
					}
				}
				n := float64(calls * b.N)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(n/ours.Seconds(), "verify/s")
				b.ReportMetric(n/bare.Seconds(), "evalsha/s")
				b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-evalsha")
			})
		}
	}
}

// times calls do n times, from this goroutine or from several, and returns how long that takes.
func times(t testing.TB, callers, n int, do func(context.Context) error) time.Duration {
	some := func(n int) {
		for range n {
			if err := do(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	}
	begun := time.Now()
	if callers == 1 {
		some(n)
		return time.Since(begun)
	}
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() { some(n / callers) })
	}
	calling.Wait()
	return time.Since(begun)
}
