// Package testserver starts the real servers that tests talk to: redis-server and Postfix, each with its own folder,
// stopped when the test ends. Only tests import it.
//
// Where a program is missing, the test is skipped with a word that says so; with CI=true in the environment it fails,
// so that a green run there has really talked to it.
package testserver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Need returns the path of a program, or ends the test: by a skip, or with CI=true by a failure.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		// Debian keeps servers where an ordinary user's PATH does not look.
		if path, err = exec.LookPath("/usr/sbin/" + program); err == nil {
			return path
		}
		complain := t.Skipf
		if os.Getenv("CI") == "true" {
			complain = t.Fatalf
		}
		complain("%s is not installed (Debian package %s): this test needs the real one", program, debianPackage)
	}
	return path
}

// Redis is a running redis-server on a Unix socket.
type Redis struct {
	URL    string // unix://...
	Dir    string // where it keeps its files
	Client *redis.Client

	t       testing.TB
	program string
	args    []string
	process *exec.Cmd
}

// StartRedis starts a redis-server with an append-only file, and waits until it answers. Further arguments are given to
// it as they are, such as "--appendfsync", "always".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	program := Need(t, "redis-server", "redis-server")
	// A socket's path has at most 107 bytes, which t.TempDir's can exceed.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	r := &Redis{URL: "unix://" + socket, Dir: dir, t: t, program: program}
	r.args = append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--save", "",
		"--maxmemory-policy", "noeviction"}, args...)
	r.Client = redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	t.Cleanup(func() {
		r.Kill()
		r.Client.Close()
		os.RemoveAll(dir)
	})
	r.Start()
	return r
}

// Start starts the server again after Kill, over the same files.
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
	for r.Client.Ping(ctx).Err() != nil {
		if ctx.Err() != nil {
			text, _ := os.ReadFile(filepath.Join(r.Dir, "log"))
			r.t.Fatalf("redis-server does not answer: %s", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends the server with SIGKILL, as a power failure would.
func (r *Redis) Kill() {
	if r.process == nil {
		return
	}
	r.process.Process.Kill()
	r.process.Wait()
	r.process = nil
}
