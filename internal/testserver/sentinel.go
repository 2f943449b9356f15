package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	sentinelMaster = "main"
	// SentinelPassword is the password of the default user of every Sentinel.
	SentinelPassword = "password-of-a-test-sentinel"
)

// Sentinels are three Sentinels that watch a master and two replicas, all on 127.0.0.1, with the
// users of [Redis].
type Sentinels struct {
	URL    string        // redis-sentinel://... or rediss-sentinel://..., for the user of workers
	Client *redis.Client // for the administrator; it follows the master

	Addrs []string // of the Sentinels

	t         testing.TB
	tls       *serverTLS
	processes []*exec.Cmd // in the order of Addrs
	stopped   [3]bool
	servers   map[string]*Redis
}

// StartSentinels starts the servers and the Sentinels. It returns when the Sentinels are able to
// replace the master. They take some three seconds for that.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	return startSentinels(t, nil)
}

// StartTLSSentinels is [StartSentinels] with TLS on every connection. caFile holds the authority of
// the certificates.
func StartTLSSentinels(t testing.TB) (s *Sentinels, caFile string) {
	t.Helper()
	tls := newServerTLS(t)
	return startSentinels(t, tls), tls.caFile
}

func startSentinels(t testing.TB, tls *serverTLS) *Sentinels {
	t.Helper()
	ports := freePorts(t, 6)
	s := &Sentinels{t: t, tls: tls, servers: map[string]*Redis{}}
	for i, port := range ports[:3] {
		args := append(tls.portArgs(port), "--appendfsync", "no", "--repl-diskless-sync-delay", "0")
		if i > 0 {
			args = append(args, "--replicaof", fmt.Sprintf("127.0.0.1 %d", ports[0]))
		}
		server := StartRedis(t, args...)
		s.servers[fmt.Sprintf("127.0.0.1:%d", port)] = server
		if i > 0 {
			server.waitReplica()
		}
	}
	for _, port := range ports[3:] {
		s.Addrs = append(s.Addrs, fmt.Sprintf("127.0.0.1:%d", port))
		s.processes = append(s.processes, s.startSentinel(port, ports[0]))
	}
	s.waitReady()
	s.URL = fmt.Sprintf("%s-sentinel://%s:%s@%s/0?master=%s&sentinel_password=%s", tls.scheme(), Worker, RedisPassword, strings.Join(s.Addrs, ","),
		sentinelMaster, SentinelPassword)
	s.Client = s.As(admin)
	return s
}

func (s *Sentinels) startSentinel(port, master int) *exec.Cmd {
	s.t.Helper()
	dir := s.t.TempDir()
	// A Sentinel pings every second. With down-after-milliseconds 1000, every late reply would
	// cause a failover.
	settings := filepath.Join(dir, "sentinel.conf") // a Sentinel also keeps its state in this file
	if err := os.WriteFile(settings, fmt.Appendf(nil, `port 0
dir %[1]s
logfile %[1]s/log
requirepass %[2]s
sentinel sentinel-pass %[2]s
sentinel monitor %[3]s 127.0.0.1 %[4]d 2
sentinel auth-user %[3]s %[5]s
sentinel auth-pass %[3]s %[6]s
sentinel down-after-milliseconds %[3]s 2000
sentinel failover-timeout %[3]s 5000
`, dir, SentinelPassword, sentinelMaster, master, admin, RedisPassword), 0o600); err != nil {
		s.t.Fatal(err)
	}
	process := exec.Command(Need(s.t, "redis-server", "redis-server"), append([]string{settings, "--sentinel"}, s.tls.portArgs(port)...)...)
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
	})
	return process
}

// waitReady waits until every Sentinel knows the other Sentinels and two replicas that can take
// over.
func (s *Sentinels) waitReady() {
	s.t.Helper()
	ctx := context.Background()
	for i, addr := range s.Addrs {
		if s.stopped[i] {
			continue
		}
		sentinel := s.sentinel(addr)
		waitFor(s.t, "the Sentinels know each other and the replicas", func() bool {
			// By default a Sentinel sends INFO every ten seconds.
			sentinel.Process(ctx, redis.NewStatusCmd(ctx, "SENTINEL", "DEBUG", "INFO-PERIOD", 500))
			good := 0
			for _, replica := range sentinel.Replicas(ctx, sentinelMaster).Val() {
				if replica["flags"] == "slave" && replica["master-link-status"] == "ok" {
					good++
				}
			}
			master := sentinel.Master(ctx, sentinelMaster).Val()
			return good == 2 && master["num-other-sentinels"] == "2" && master["flags"] == "master"
		})
		sentinel.Close()
	}
}

func (s *Sentinels) sentinel(addr string) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: addr, Password: SentinelPassword, DisableIdentity: true, MaxRetries: -1,
		TLSConfig: s.tls.clientConfig()})
}

// As returns a client for one of the users. It follows the master.
func (s *Sentinels) As(user string) *redis.Client {
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: sentinelMaster, SentinelAddrs: s.Addrs, SentinelPassword: SentinelPassword,
		Username: user, Password: RedisPassword, DisableIdentity: true, TLSConfig: s.tls.clientConfig()})
	s.t.Cleanup(func() { client.Close() })
	return client
}

// KillMaster kills the master with SIGKILL, and returns when the Sentinels have made another server
// the master. revive starts the dead server again, and waits until it is a replica with all data.
func (s *Sentinels) KillMaster() (revive func()) {
	s.t.Helper()
	addr := s.master()
	dead := s.servers[addr]
	if dead == nil {
		s.t.Fatalf("the Sentinels do not agree on a master")
	}
	dead.Kill()
	waitFor(s.t, "the Sentinels have made another server the master", func() bool {
		now := s.servers[s.master()]
		return now != nil && now != dead && now.role() == "master"
	})
	return func() {
		// A Sentinel that has not finished the failover would make the revived server the master
		// again.
		waitFor(s.t, "every Sentinel has finished its failover", s.settled)
		dead.Start()
		// A Sentinel would also do this, but only after ten seconds.
		host, port, _ := strings.Cut(s.master(), ":")
		if err := dead.Client.Do(context.Background(), "REPLICAOF", host, port).Err(); err != nil {
			s.t.Fatal(err)
		}
		dead.waitReplica()
		s.waitReady()
	}
}

// StopSentinel stops one of the three Sentinels for the rest of the test. Connections to it still
// succeed, and it does not answer.
func (s *Sentinels) StopSentinel(n int) {
	s.stopped[n] = true
	s.processes[n].Process.Signal(syscall.SIGSTOP)
}

// settled reports whether every Sentinel watches the same master and considers it healthy.
func (s *Sentinels) settled() bool {
	agreed := s.master()
	for i, addr := range s.Addrs {
		if s.stopped[i] {
			continue
		}
		sentinel := s.sentinel(addr)
		master := sentinel.Master(context.Background(), sentinelMaster).Val()
		sentinel.Close()
		if master["flags"] != "master" || master["ip"]+":"+master["port"] != agreed {
			return false
		}
	}
	return true
}

// master returns the address of the master if the Sentinels agree on one, and otherwise "".
func (s *Sentinels) master() string {
	agreed := ""
	for i, addr := range s.Addrs {
		if s.stopped[i] {
			continue
		}
		sentinel := s.sentinel(addr)
		found, err := sentinel.GetMasterAddrByName(context.Background(), sentinelMaster).Result()
		sentinel.Close()
		switch {
		case err != nil:
			return ""
		case agreed != "" && agreed != strings.Join(found, ":"):
			return ""
		default:
			agreed = strings.Join(found, ":")
		}
	}
	return agreed
}
