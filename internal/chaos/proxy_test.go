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

// proxy is one worker's way to Redis, which can be cut, and slowed down. It counts the commands.
type proxy struct {
	commands atomic.Int64
	delay    atomic.Int64 // ns, of each answer

	t       *testing.T
	path    string // its Unix socket
	target  string // Redis's
	working sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	conns    []net.Conn
}

// newProxy starts a proxy to the Unix socket of a Redis.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "way") // t.TempDir's paths can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, path: filepath.Join(dir, "s"), target: target}
	t.Cleanup(func() {
		p.cut()
		p.working.Wait()
		os.RemoveAll(dir)
	})
	p.mend()
	return p
}

// mend lets connections through, after cut.
func (p *proxy) mend() {
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

// cut drops every connection, and refuses new ones until mend.
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
	if p.listener != accepted { // cut meanwhile
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
		// A command is an array of strings (RESP), and hardly ever does a string have a line that looks like one.
		p.commands.Add(int64(bytes.Count(append([]byte("\r\n"), request...), []byte("\r\n*"))))
	})
}

// pass copies what comes from one side to the other until one of them is closed.
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

// addProxied adds n workers, each with a proxy as its way to the Redis.
func (s *site) addProxied(n int, binary string, r *testserver.Redis, concurrency int) (ways []*proxy) {
	socket := filepath.Join(r.Dir, "s")
	for range n {
		way := newProxy(s.t, socket)
		s.addWorker(binary, strings.Replace(s.url, socket, way.path, 1), concurrency)
		ways = append(ways, way)
	}
	return ways
}

// workerNumber is the number of the worker that logged in under a name.
func workerNumber(name string) (n int) {
	fmt.Sscanf(name, "worker-%d", &n)
	return n
}
