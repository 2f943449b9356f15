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
	clusterMasters = 3
	clusterSlots   = 16384
)

// Cluster is a Redis Cluster on 127.0.0.1, with the users of [Redis].
type Cluster struct {
	URL    string               // redis-cluster://... or rediss-cluster://...: the user of workers
	Client *redis.ClusterClient // for the administrator

	t     testing.TB
	tls   *serverTLS
	addrs []string
	nodes []*Redis // in the order of addrs
}

// StartCluster starts a Redis Cluster of three masters. It returns a client for the administrator
// when the cluster serves every slot.
func StartCluster(t testing.TB) *redis.ClusterClient {
	t.Helper()
	return startCluster(t, 0, nil).Client
}

// StartReplicatedCluster starts a Redis Cluster of three masters and three replicas. A replica
// takes over some three seconds after its master was killed.
func StartReplicatedCluster(t testing.TB) *Cluster {
	t.Helper()
	return startCluster(t, clusterMasters, nil)
}

// StartTLSCluster is [StartReplicatedCluster] with TLS on every connection. caFile holds the
// authority of the certificates.
func StartTLSCluster(t testing.TB) (c *Cluster, caFile string) {
	t.Helper()
	tls := newServerTLS(t)
	return startCluster(t, clusterMasters, tls), tls.caFile
}

func startCluster(t testing.TB, replicas int, tls *serverTLS) *Cluster {
	t.Helper()
	c := &Cluster{t: t, tls: tls}
	size := clusterMasters + replicas
	ports := freePorts(t, 2*size) // two for a node: one for clients, one for the other nodes
	for i := range size {
		port, bus := ports[2*i], ports[2*i+1]
		args := append(tls.portArgs(port), "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus), "--appendfsync", "no",
			"--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
		if tls != nil {
			args = append(args, "--tls-cluster", "yes")
		}
		node := StartRedis(t, args...)
		c.nodes, c.addrs = append(c.nodes, node), append(c.addrs, fmt.Sprintf("127.0.0.1:%d", port))
		c.must(node.Client.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i < clusterMasters {
			c.must(node.Client.ClusterAddSlotsRange(t.Context(), i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1).Err())
		}
		for j := range i { // the nodes would take seconds to tell each other
			c.must(node.Client.Do(t.Context(), "CLUSTER", "MEET", "127.0.0.1", ports[2*j], ports[2*j+1]).Err())
		}
	}
	for _, node := range c.nodes {
		waitFor(t, "the nodes of the cluster know each other", func() bool {
			info := node.Client.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r\n", size)) && strings.Contains(info, "cluster_state:ok")
		})
	}
	for i, replica := range c.nodes[clusterMasters:] {
		c.must(replica.Client.ClusterReplicate(t.Context(), c.nodes[i].Client.ClusterMyID(t.Context()).Val()).Err())
		replica.waitReplica()
	}
	for _, node := range c.nodes { // only then can a replica take over
		waitFor(t, "the nodes of the cluster know the replicas", func() bool {
			shards, err := node.Client.ClusterShards(t.Context()).Result()
			online := 0
			for _, shard := range shards {
				for _, node := range shard.Nodes {
					if node.Health == "online" {
						online++
					}
				}
			}
			return err == nil && online == size
		})
	}
	c.URL = fmt.Sprintf("%s-cluster://%s:%s@%s", tls.scheme(), Worker, RedisPassword, strings.Join(c.addrs, ","))
	c.Client = c.As(admin)
	return c
}

func (c *Cluster) must(err error) {
	if err != nil {
		c.t.Helper()
		c.t.Fatal(err)
	}
}

// As returns a client for one of the users.
func (c *Cluster) As(user string) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs, Username: user, Password: RedisPassword, DisableIdentity: true,
		TLSConfig: c.tls.clientConfig(), ClusterStateReloadInterval: time.Second, MaxRedirects: 10})
	c.t.Cleanup(func() { client.Close() })
	return client
}

// KillMaster kills the master that serves a key with SIGKILL, and returns when another node serves
// the key. revive starts the dead node again, and waits until it is a replica with all data.
func (c *Cluster) KillMaster(key string) (revive func()) {
	c.t.Helper()
	dead := c.master(key)
	if dead == nil {
		c.t.Fatalf("no node serves %s", key)
	}
	dead.Kill()
	waitFor(c.t, "another node of the cluster serves the key", func() bool {
		now := c.master(key)
		return now != nil && now != dead
	})
	return func() {
		dead.Start()
		dead.waitReplica()
	}
}

// master returns the node that serves a key, or nil if none does.
func (c *Cluster) master(key string) *Redis {
	for _, node := range c.nodes {
		if node.process != nil && node.Client.Exists(context.Background(), key).Err() == nil && node.role() == "master" {
			return node
		}
	}
	return nil
}

// role returns "master" or "slave", the words of Redis, or "" if the server does not answer.
func (r *Redis) role() string {
	role, _ := r.Client.Do(context.Background(), "ROLE").Slice()
	if len(role) == 0 {
		return ""
	}
	return fmt.Sprint(role[0])
}

// waitReplica waits until the server has all data of its master.
func (r *Redis) waitReplica() {
	r.t.Helper()
	waitFor(r.t, "the replica has its master's data", func() bool {
		return strings.Contains(r.Client.Info(context.Background(), "replication").Val(), "master_link_status:up")
	})
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout after 30 s, while waiting until %s", what)
		}
	}
}
