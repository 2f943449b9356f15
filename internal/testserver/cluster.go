package testserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// StartCluster starts a Redis Cluster of three nodes on 127.0.0.1, and returns a client of it when it serves every slot.
func StartCluster(t testing.TB) *redis.ClusterClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ports := freePorts(t, 2*clusterNodes) // a node talks to the others on a port of its own
	var addrs []string
	for i := range clusterNodes {
		port, bus := ports[2*i], ports[2*i+1]
		node := StartRedis(t, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus),
			"--appendfsync", "no")
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
		first, last := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		if err := node.Client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			t.Fatal(err)
		}
		if err := node.Client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := node.Client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", ports[0], ports[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range addrs {
		node := redis.NewClient(&redis.Options{Addr: addr})
		defer node.Close()
		for !strings.Contains(node.ClusterInfo(ctx).Val(), "cluster_state:ok") {
			if ctx.Err() != nil {
				t.Fatalf("the cluster does not come up: %s", node.ClusterInfo(context.Background()).Val())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { client.Close() })
	return client
}
