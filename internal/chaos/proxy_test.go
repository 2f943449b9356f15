package chaos_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/testserver"
)

// proxy forwards one worker's connections to Redis. It can cut them and slow them down, and counts
// the commands.
type proxy struct {
	commands atomic.Int64
	delay    atomic.Int64 // of each reply, in ns

	t       *testing.T
	path    string // its Unix socket
	target  string // the Unix socket of Redis
	working sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	conns    []net.Conn
}

// newProxy starts a proxy to the Unix socket of a Redis.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy") // the paths of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, path: filepath.Join(dir, "s"), target: target}
	t.Cleanup(func() {
		p.cut()
		p.working.Wait()
		os.RemoveAll(dir)
	})
	p.restore()
	return p
}

// restore accepts connections again after cut.
func (p *proxy) restore() {
	listener, err := net.Listen("unix", p.path)
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.listener = listener
	p.mu.Unlock()
	p.working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.working.Go(func() { p.serve(listener, conn) })
		}
	})
}

// cut drops every connection, and refuses new ones until restore.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	p.listener.Close()
	p.listener = nil
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func (p *proxy) serve(accepted net.Listener, conn net.Conn) {
	defer conn.Close()
	redis, err := net.Dial("unix", p.target)
	if err != nil {
		return
	}
	defer redis.Close()
	p.mu.Lock()
	if p.listener != accepted { // cut since then
		p.mu.Unlock()
		return
	}
	p.conns = append(p.conns, conn, redis)
	p.mu.Unlock()
	p.working.Go(func() {
		defer conn.Close()
		defer redis.Close()
		pass(conn, redis, func(answer []byte) { time.Sleep(time.Duration(p.delay.Load())) })
	})
	pass(redis, conn, func(request []byte) {
		// A command is an array of strings (RESP). A line in a string rarely looks like the
		// beginning of an array.
		p.commands.Add(int64(bytes.Count(append([]byte("\r\n"), request...), []byte("\r\n*"))))
	})
}

// pass copies data from one connection to the other until one of them is closed.
func pass(to, from net.Conn, see func([]byte)) {
	block := make([]byte, 32<<10)
	for {
		n, err := from.Read(block)
		if err != nil {
			return
		}
		see(block[:n])
		if _, err := to.Write(block[:n]); err != nil {
			return
		}
	}
}

// addProxied adds n workers, each with a proxy to the Redis.
func (f *fixture) addProxied(n int, binary string, r *testserver.Redis, concurrency int) (proxies []*proxy) {
	socket := filepath.Join(r.Dir, "s")
	for range n {
		p := newProxy(f.t, socket)
		f.addWorker(binary, strings.Replace(f.url, socket, p.path, 1), concurrency)
		proxies = append(proxies, p)
	}
	return proxies
}

// workerNumber returns the number of the worker with this user name.
func workerNumber(name string) (n int) {
	fmt.Sscanf(name, "worker-%d", &n)
	return n
}
