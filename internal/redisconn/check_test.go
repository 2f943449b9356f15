package redisconn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/testserver"
)

// TestARedisThatForgetsIsRefused, with what would be lost and the lines that mend it.
func TestARedisThatForgetsIsRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  []string
		lines []string // of redis.conf, in the error; none where it is good
		warns string
	}{
		{"good", []string{"--appendfsync", "always"}, nil, ""},
		{"everysec", []string{"--appendfsync", "everysec"}, nil, "appendfsync is everysec"},
		{"no append-only file", []string{"--appendonly", "no"}, []string{"appendonly yes", "appendfsync always"}, ""},
		{"evicts", []string{"--maxmemory-policy", "allkeys-lru"}, []string{"maxmemory-policy noeviction"}, ""},
		{"evicts what expires", []string{"--maxmemory-policy", "volatile-ttl"}, []string{"maxmemory-policy noeviction"}, ""},
		{"both", []string{"--appendonly", "no", "--maxmemory-policy", "allkeys-random"}, []string{"appendonly yes", "maxmemory-policy noeviction"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			warnings, err := redisconn.Check(context.Background(), defaultUser(t, testserver.StartRedis(t, test.args...)))
			if errors.Is(err, redisconn.ErrVolatile) != (test.lines != nil) {
				t.Fatalf("got %v", err)
			}
			for _, line := range test.lines {
				if !strings.Contains(err.Error(), "\n  "+line) {
					t.Errorf("got %v, want the line %q", err, line)
				}
			}
			if got := strings.Join(warnings, "; "); (got != "") != (test.warns != "") || !strings.Contains(got, test.warns) {
				t.Errorf("got the warnings %q, want %q", got, test.warns)
			}
		})
	}
}

// defaultUser is a client of the user of whom nobody asks a password, and who may do everything: Redis as it is installed.
func defaultUser(t *testing.T, r *testserver.Redis) *redis.Client {
	t.Helper()
	if err := r.Client.ACLSetUser(context.Background(), "default", "on", "nopass", "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Client.Options().Addr})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// TestTheCheckOfRedisNeedsNoRights but INFO: what a worker of least privilege cannot see is said, and nothing it may not do
// is tried.
func TestTheCheckOfRedisNeedsNoRights(t *testing.T) {
	r := testserver.StartRedis(t, "--maxmemory-policy", "allkeys-lru") // which looks at the ACL's log in the end
	rdb := r.As(testserver.Worker)
	if _, err := redisconn.Check(context.Background(), rdb); !errors.Is(err, redisconn.ErrVolatile) {
		t.Errorf("got %v, want that it evicts", err)
	}
	r.Client.ConfigSet(context.Background(), "maxmemory-policy", "noeviction")
	warnings, err := redisconn.Check(context.Background(), rdb)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "appendfsync is unknown") {
		t.Errorf("got %q, %v; want a word about appendfsync", warnings, err)
	}
}

func TestAReplicaIsNotForWorkers(t *testing.T) {
	r := testserver.StartRedis(t)
	r.Client.Do(context.Background(), "REPLICAOF", "127.0.0.1", "1")
	if _, err := redisconn.Check(context.Background(), r.Client); err == nil || errors.Is(err, redisconn.ErrVolatile) || !strings.Contains(err.Error(), "replica") {
		t.Errorf("got %v, want that it is a replica", err)
	}
}

func TestEveryMasterOfAClusterIsChecked(t *testing.T) {
	rdb := testserver.StartCluster(t)
	ctx := context.Background()
	if _, err := redisconn.Check(ctx, rdb); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var one *redis.Client
	if err := rdb.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		one = master
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	one.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru")
	if _, err := redisconn.Check(ctx, rdb); !errors.Is(err, redisconn.ErrVolatile) || !strings.Contains(err.Error(), one.Options().Addr) {
		t.Errorf("got %v, want it to name %s", err, one.Options().Addr)
	}
}
