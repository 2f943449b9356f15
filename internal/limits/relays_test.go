package limits_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/testserver"
)

// allowed asks n times at once and returns how many were let through, and the longest wait of the others.
func allowed(t *testing.T, rdb redis.UniversalClient, l limits.Limit, n int) (int, time.Duration) {
	t.Helper()
	relays := limits.NewPerRelay(rdb, map[string]limits.Limit{"r1": l})
	var through, longest atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			wait, err := relays.Reserve(context.Background(), "r1")
			if err != nil {
				t.Error(err)
			}
			if wait == 0 {
				through.Add(1)
			} else if w := int64(wait); w > longest.Load() {
				longest.Store(w)
			}
		})
	}
	all.Wait()
	return int(through.Load()), time.Duration(longest.Load())
}

func TestReserve_HoldsADaysLimitAcrossCallers(t *testing.T) {
	r := testserver.StartRedis(t)
	limit := limits.Limit{PerDay: 30}
	if n, wait := allowed(t, r.Client, limit, 100); n != 30 || wait < 23*time.Hour || wait > 24*time.Hour {
		t.Errorf("got %d through, the others wait %v; want 30, about a day", n, wait)
	}
	// 23 hours later it still counts, 24 hours later it does not.
	now, err := r.Client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	hour := now.Unix() / 3600
	key := "securemail:{relay:r1}"
	age := func(hours int64) {
		r.Client.Del(t.Context(), key)
		r.Client.HSet(t.Context(), key, fmt.Sprintf("h%d", hour-hours), 30)
	}
	age(23)
	if n, wait := allowed(t, r.Client, limit, 10); n != 0 || wait > time.Hour {
		t.Errorf("after 23 hours: got %d through, wait %v; want none, under an hour", n, wait)
	}
	age(24)
	if n, _ := allowed(t, r.Client, limit, 100); n != 30 {
		t.Errorf("after 24 hours: got %d through, want 30", n)
	}
	if fields, _ := r.Client.HLen(t.Context(), key).Result(); fields != 1 {
		t.Errorf("the counters keep %d fields, want this hour's alone", fields)
	}
}

func TestReserve_SpreadsMessages(t *testing.T) {
	r := testserver.StartRedis(t)
	// A message every 1,000 s: the first one, and then none for as long as this test can take.
	if n, wait := allowed(t, r.Client, limits.Limit{PerSecond: 0.001}, 20); n != 1 || wait < 900*time.Second {
		t.Errorf("got %d through, wait %v; want 1, about 1,000 s", n, wait)
	}
}

func TestReserve_AllowsOneSecondsWorthAtOnce(t *testing.T) {
	r := testserver.StartRedis(t)
	begun := time.Now()
	n, _ := allowed(t, r.Client, limits.Limit{PerSecond: 50}, 500)
	if most := 50 + int(time.Since(begun).Seconds()*50) + 1; n < 50 || n > most {
		t.Errorf("got %d through, want 50 to %d", n, most)
	}
}

func TestRelease_GivesBackWhatTheRelayWasNotGiven(t *testing.T) {
	r := testserver.StartRedis(t)
	limit := limits.Limit{PerDay: 30, PerSecond: 0.01}
	release := func(l limits.Limit) {
		limits.NewPerRelay(r.Client, map[string]limits.Limit{"r1": l}).Release(t.Context(), "r1")
	}
	if n, _ := allowed(t, r.Client, limit, 1); n != 1 {
		t.Fatalf("got %d through, want 1", n)
	}
	for range 40 {
		release(limit)
		if n, wait := allowed(t, r.Client, limit, 2); n != 1 || wait < 90*time.Second || wait > 100*time.Second {
			t.Fatalf("got %d through, the other waits %v; want 1, 100 s", n, wait)
		}
	}
	for range 3 { // no more than was counted
		release(limits.Limit{PerDay: 30})
	}
	r.Client.HDel(t.Context(), "securemail:{relay:r1}", "tat")
	if n, _ := allowed(t, r.Client, limits.Limit{PerDay: 30}, 40); n != 30 {
		t.Errorf("got %d through, want 30", n)
	}
}

// TestRelease_RepeatedAfterALostReplyDoesNotGiveBackTwice: the worker's client repeats a command for 25 seconds. A
// second message given back would let an eleventh through where ten a day are the limit.
func TestRelease_RepeatedAfterALostReplyDoesNotGiveBackTwice(t *testing.T) {
	r := testserver.StartRedis(t)
	limit := limits.Limit{PerDay: 10}
	if n, _ := allowed(t, r.Client, limit, 20); n != 10 {
		t.Fatalf("got %d through, want 10", n)
	}
	rdb, lose := losing(t, r)
	relays := limits.NewPerRelay(rdb, map[string]limits.Limit{"r1": limit})
	relays.Release(t.Context(), "r1") // the script is loaded, and one message given back
	lose.Store(2)
	relays.Release(t.Context(), "r1")
	if lose.Load() != 0 {
		t.Fatal("no reply was lost")
	}
	if n, _ := allowed(t, r.Client, limit, 20); n != 2 {
		t.Errorf("got %d more through, want the 2 that were given back", n)
	}
}

// losing returns a client that loses as many replies as the counter says, each with its connection, and repeats those
// commands.
func losing(t *testing.T, r *testserver.Redis) (rdb *redis.Client, lose *atomic.Int64) {
	lose = new(atomic.Int64)
	rdb = redis.NewClient(&redis.Options{MaxRetries: 10, Username: testserver.Worker, Password: testserver.RedisPassword, DisableIdentity: true,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			conn, err := net.Dial("unix", r.Client.Options().Addr)
			return &losingConn{conn, lose}, err
		}})
	t.Cleanup(func() { rdb.Close() })
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return rdb, lose
}

type losingConn struct {
	net.Conn
	lose *atomic.Int64
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.Load() > 0 {
		c.lose.Add(-1)
		c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}
