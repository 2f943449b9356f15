// Package testserver starts the real servers that tests talk to: redis-server and Postfix. Each has
// its own folder and stops when the test ends. Only tests import this package.
//
// If a program is missing, the test is skipped with a message. With CI=true in the environment it
// fails instead, so that a green run has talked to the real server.
package testserver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Need returns the path of a program. If it is missing, Need skips the test, or fails it with
// CI=true.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		// Debian keeps servers in a folder that is not in an ordinary user's PATH.
		if path, err = exec.LookPath("/usr/sbin/" + program); err == nil {
			return path
		}
		complain := t.Skipf
		if os.Getenv("CI") == "true" {
			complain = t.Fatalf
		}
		complain("%s is not installed (Debian package %s), and this test needs it", program, debianPackage)
	}
	return path
}

// The users of every server: those of deploy/redis.acl, and an administrator that may do
// everything.
const (
	Worker   = "worker"
	Producer = "producer"
	Sender   = "sender"
	admin    = "admin"

	// RedisPassword is the password of each user.
	RedisPassword = "password-of-a-test-redis"
)

// Redis is a running redis-server on a Unix socket. Its users are those of deploy/redis.acl.
type Redis struct {
	URL    string        // unix://..., for the settings of a worker: it names the user of workers
	Dir    string        // the folder of the server's files
	Client *redis.Client // for the administrator, without retries

	t       testing.TB
	program string
	args    []string
	process *exec.Cmd
}

// StartRedis starts a redis-server with an append-only file, and waits until it answers. args are
// further arguments of the server, such as "--appendfsync", "always".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	program := Need(t, "redis-server", "redis-server")
	// The path of a socket has at most 107 bytes, and that of t.TempDir can be longer.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	socket, users := filepath.Join(dir, "s"), filepath.Join(dir, "users.acl")
	if err := os.WriteFile(users, []byte(accessList(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &Redis{URL: fmt.Sprintf("unix://%s:%s@%s", Worker, RedisPassword, socket), Dir: dir, t: t, program: program}
	r.args = append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--save", "",
		"--maxmemory-policy", "noeviction", "--aclfile", users, "--masteruser", admin, "--masterauth", RedisPassword}, args...)
	t.Cleanup(func() {
		r.Kill()
		os.RemoveAll(dir)
	})
	r.Client = r.As(admin)
	t.Cleanup(r.checkDenied)
	r.Start()
	return r
}

// checkDenied fails the test for every command that a user was denied, because deploy/redis.acl
// must allow all that the code needs. A test that tries forbidden commands empties the log (ACL LOG
// RESET).
func (r *Redis) checkDenied() {
	denied, err := r.Client.ACLLog(context.Background(), 100).Result()
	if r.process == nil || err != nil { // the server was killed, or is stopped
		return
	}
	for _, d := range denied {
		r.t.Errorf("deploy/redis.acl does not allow %s %s (%s, %s)", d.Username, d.Object, d.Reason, d.Context)
	}
}

// As returns a client for one of the users, without retries.
func (r *Redis) As(user string) *redis.Client {
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(r.Dir, "s"), Username: user, Password: RedisPassword,
		MaxRetries: -1, DisableIdentity: true})
	r.t.Cleanup(func() { client.Close() })
	return client
}

// StartTLSRedis is [StartRedis] with a port for TLS, which URL names. caFile holds the authority of
// its certificate.
func StartTLSRedis(t testing.TB) (r *Redis, caFile string) {
	t.Helper()
	tls, port := newServerTLS(t), freePorts(t, 1)[0]
	r = StartRedis(t, tls.portArgs(port)...)
	r.URL = fmt.Sprintf("rediss://%s:%s@127.0.0.1:%d", Worker, RedisPassword, port)
	return r, tls.caFile
}

// serverTLS has the files for servers that talk TLS to clients and to each other. A nil serverTLS
// means no TLS.
type serverTLS struct {
	caFile, keyFile string
	client          *tls.Config
}

func newServerTLS(t testing.TB) *serverTLS {
	t.Helper()
	dir, made := t.TempDir(), newCertificate(t)
	s := &serverTLS{caFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), client: &tls.Config{RootCAs: made.roots}}
	for path, content := range map[string][]byte{s.caFile: made.certPEM, s.keyFile: made.keyPEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// portArgs returns the arguments that let a redis-server listen only on this port of 127.0.0.1.
func (s *serverTLS) portArgs(port int) []string {
	if s == nil {
		return []string{"--bind", "127.0.0.1", "--port", fmt.Sprint(port)}
	}
	return []string{"--bind", "127.0.0.1", "--tls-port", fmt.Sprint(port), "--tls-cert-file", s.caFile, "--tls-key-file", s.keyFile,
		"--tls-ca-cert-file", s.caFile, "--tls-auth-clients", "no", "--tls-replication", "yes"}
}

// clientConfig returns the TLS settings of a client, or nil without TLS.
func (s *serverTLS) clientConfig() *tls.Config {
	if s == nil {
		return nil
	}
	return s.client
}

// scheme returns the scheme of a URL of these servers.
func (s *serverTLS) scheme() string {
	if s == nil {
		return "redis"
	}
	return "rediss"
}

// accessList returns deploy/redis.acl with passwords, and with the administrator.
func accessList(t testing.TB) string {
	t.Helper()
	path := filepath.Join("deploy", "redis.acl")
	content, err := os.ReadFile(path)
	for up := 0; err != nil && up < 5; up++ { // a test runs in its package's folder
		path = filepath.Join("..", path)
		content, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(RedisPassword)))
	users := strings.NewReplacer("WORKER_SHA256", hash, "PRODUCER_SHA256", hash, "SENDER_SHA256", hash).Replace(string(content))
	return fmt.Sprintf("%suser %s on #%s ~* &* +@all\n", users, admin, hash)
}

// Start starts the server again after Kill, with the same files.
func (r *Redis) Start() {
	r.t.Helper()
	r.process = exec.Command(r.program, r.args...)
	log, err := os.OpenFile(filepath.Join(r.Dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.process.Stdout, r.process.Stderr = log, log
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !r.listens() || r.Client.Ping(ctx).Err() != nil {
		if ctx.Err() != nil {
			text, _ := os.ReadFile(filepath.Join(r.Dir, "log"))
			r.t.Fatalf("redis-server does not answer: %s", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// listens reports whether the server listens. go-redis would retry and log a connection that fails.
func (r *Redis) listens() bool {
	conn, err := net.Dial("unix", r.Client.Options().Addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Kill kills the server with SIGKILL, which is like a power failure.
func (r *Redis) Kill() {
	if r.process == nil {
		return
	}
	r.process.Process.Kill()
	r.process.Wait()
	r.process = nil
}

// Pid returns the server's process id, for a test that stops the process or limits its resources.
func (r *Redis) Pid() int { return r.process.Process.Pid }
