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
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// checker is an application that checks answers.
type checker struct {
	rdb     redis.UniversalClient
	ring    string
	client  *securemail.Client
	records *record.Store
}

// newChecker has its Redis on a Unix socket ("unix"), on a TCP port of 127.0.0.1 ("tcp"), or 1 ms away and back ("1ms").
func newChecker(t testing.TB, network string) *checker {
	t.Helper()
	options := &redis.Options{Username: testserver.Worker, Password: testserver.RedisPassword, DisableIdentity: true} // of the users, the one that may open records too
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
	c := &checker{rdb: redis.NewClient(options), ring: newRing(t)}
	t.Cleanup(func() { c.rdb.Close() })
	var err error
	if c.client, err = securemail.NewClient(c.rdb, securemail.WithKeyRingFile(c.ring)); err != nil {
		t.Fatal(err)
	}
	c.records = record.NewStore(c.rdb, 7*24*time.Hour)
	return c
}

// distantConn answers a millisecond late. The client writes once and reads once for each flight, and there is no more to a round
// trip than that the answer comes later.
type distantConn struct{ net.Conn }

func (c distantConn) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return c.Conn.Write(b)
}

// answer is what a person typed, and what it is an answer to.
type answer struct {
	tasks.Ref
	typed string
}

// answer is the right one to a key that a worker has just mailed.
func (c *checker) answer(t testing.TB) answer {
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
	_, err = c.records.Open(t.Context(), record.Entry{ID: id, Kind: "key", Purpose: p.Purpose, Seed: p.Seed, KeyID: kid, Sealed: make([]byte, 400),
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), Address: record.AddressTag(ring.Recipients(), id, p.To)})
	if err != nil {
		t.Fatal(err)
	}
	return answer{tasks.Ref{ID: id, Purpose: p.Purpose, To: p.To}, cred.Display().Reveal()}
}

// BenchmarkVerify checks right answers, one after the other or 32 at a time, and calls as many empty scripts. One after the
// other, checks and scripts take turns: how long a lone call takes hangs on how deep the two processes sleep meanwhile, and so
// both find the same.
func BenchmarkVerify(b *testing.B) {
	const calls = 2560
	for _, network := range []string{"unix", "tcp", "1ms"} {
		for _, c := range []struct{ callers, turn int }{{1, 1}, {32, 320}} {
			b.Run(fmt.Sprintf("%s-%d", network, c.callers), func(b *testing.B) {
				app := newChecker(b, network)
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

// times calls do n times in all, from this goroutine or from several.
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
