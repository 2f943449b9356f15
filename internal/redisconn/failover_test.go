package redisconn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
)

func workerClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := redisconn.Config{URL: secret.New(url)}.WorkerClient(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// survives calls fail, which ends with the master dead and replaced, and wants every command that the client is given in
// the meantime to be carried out in the end. It returns how long the slowest took.
func survives(t *testing.T, client redis.UniversalClient, fail func()) (longest time.Duration) {
	t.Helper()
	if err := client.Ping(t.Context()).Err(); err != nil { // it knows its servers before one fails
		t.Fatal(err)
	}
	ctx, failed := context.WithCancel(t.Context())
	go func() {
		defer failed()
		fail()
	}()
	for after := 0; after < 10; {
		if ctx.Err() != nil {
			after++
		}
		begun := time.Now()
		if err := client.Set(t.Context(), "asynq:{secure-mail}:test", 1, 0).Err(); err != nil {
			t.Errorf("after %v: %v", time.Since(begun), err)
			<-ctx.Done()
			return 0
		}
		longest = max(longest, time.Since(begun))
		time.Sleep(time.Millisecond) // a client that has something to do once in a while
	}
	return longest
}

func TestAWorkersClientOutlastsAFailoverOfACluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartReplicatedCluster(t)
	client := workerClient(t, cluster.URL)
	t.Logf("the slowest command took %v", survives(t, client, func() { cluster.KillMaster("asynq:{secure-mail}:test") }))
}

func TestAWorkersClientOutlastsAFailoverWithSentinel(t *testing.T) {
	t.Parallel()
	sentinels := testserver.StartSentinels(t)
	client := workerClient(t, sentinels.URL)
	t.Logf("the slowest command took %v", survives(t, client, func() { sentinels.KillMaster() }))
}

// TestAWorkersClientLeavesASentinelThatIsSilent: the machine of the master is gone, and on it was the Sentinel that the
// client asks.
func TestAWorkersClientLeavesASentinelThatIsSilent(t *testing.T) {
	t.Parallel()
	sentinels := testserver.StartSentinels(t)
	client := workerClient(t, strings.Replace(sentinels.URL, strings.Join(sentinels.Addrs, ","), sentinels.Addrs[0], 1))
	t.Logf("the slowest command took %v", survives(t, client, func() {
		sentinels.StopSentinel(0)
		sentinels.KillMaster()
	}))
}
