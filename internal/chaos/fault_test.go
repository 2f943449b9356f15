package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/testserver"
)

// fault is something that is wrong with Redis for a while.
type fault struct {
	name       string
	begin, end func() error
	refuses    bool // it answers with errors, which asynq by itself answers with a hot loop
}

// mostCommands is how many commands a second a worker may send while Redis refuses them. Idle, it sends about a hundred.
const mostCommands = 200

// redisIsAtFault lets one thing after the other go wrong with Redis under load.
func redisIsAtFault(t *testing.T, l *lab, report *table) {
	s, r := newSite(t, l.limit())
	ways := s.addProxied(2, l.binary, r, 8)
	do := func(args ...any) func() error {
		return func() error { return s.rdb.Do(s.ctx, args...).Err() }
	}
	last := l.faultTime()
	delay := func(d time.Duration) func() error {
		return func() error {
			for _, way := range ways {
				way.delay.Store(int64(d))
			}
			return nil
		}
	}
	nothing := func() error { return nil }
	s.withFaults(l, report, ways, []fault{
		{"READONLY (REPLICAOF)", do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE"), true},
		{"OOM (maxmemory 1mb)", do("CONFIG", "SET", "maxmemory", "1mb"), do("CONFIG", "SET", "maxmemory", "0"), true},
		{"CLIENT PAUSE", do("CLIENT", "PAUSE", last.Milliseconds(), "ALL"), nothing, false},
		{"200 ms more for each answer", delay(200 * time.Millisecond), delay(0), false},
		{"SIGSTOP", func() error { return syscall.Kill(r.Pid(), syscall.SIGSTOP) }, func() error { return syscall.Kill(r.Pid(), syscall.SIGCONT) }, false},
	})
	report.title = "Redis at fault under load (append-only file, fsync always)"
}

// theDiskIsFull does not let the append-only file grow. With fsync always Redis ends itself then; with everysec, it refuses to write.
func theDiskIsFull(t *testing.T, l *lab, report *table) {
	prlimit := testserver.Need(t, "prlimit", "util-linux")
	// Whoever is not ignoring this signal is killed by it when a file is to become larger than allowed.
	signal.Ignore(syscall.SIGXFSZ)
	s, r := newSite(t, l.limit(), "--appendfsync", "everysec")
	signal.Reset(syscall.SIGXFSZ)
	limit := func(size string) func() error {
		return func() error {
			out, err := exec.Command(prlimit, "--pid", strconv.Itoa(r.Pid()), "--fsize="+size).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}
	}
	full := func() error {
		if err := limit("1:unlimited")(); err != nil {
			return err
		}
		s.until("Redis finds the disk full", func() bool {
			err := s.rdb.Set(s.ctx, "probe", "", time.Second).Err()
			return err != nil && strings.HasPrefix(err.Error(), "MISCONF")
		})
		return nil
	}
	ways := s.addProxied(2, l.binary, r, 8)
	s.withFaults(l, report, ways, []fault{{"MISCONF (disk full)", full, limit("unlimited"), true}})
	report.title = "The disk of Redis is full under load (append-only file, fsync everysec)"
}

func (l *lab) faultTime() time.Duration { return pick(l, 2*time.Second, 35*time.Second) }

// withFaults sends mails all the time, and has the faults one after the other. After each, a mail has to come through.
func (s *site) withFaults(l *lab, report *table, ways []*proxy, faults []fault) {
	s.receiver.hook(hooks{ // so that many mails are in flight when it begins
		begin: func() { time.Sleep(rand.N(500 * time.Millisecond)) },
		reply: func(taken) { time.Sleep(rand.N(500 * time.Millisecond)) },
	})
	s.start()
	var over atomic.Bool
	var now atomic.Int32 // which fault it is
	produced := background(func() {
		s.produce(4, pick(l, 100*time.Millisecond, 50*time.Millisecond), func(n int) string { return fmt.Sprintf("fault%d-%d", now.Load(), n) }, func(int) bool { return over.Load() })
	})
	type seen struct {
		perSecond float64 // commands of the busiest worker
		again     time.Duration
	}
	all := make([]seen, len(faults))
	for i, f := range faults {
		now.Store(int32(i))
		s.comesThrough(fmt.Sprintf("before-%d", i))
		if err := f.begin(); err != nil {
			s.t.Fatalf("%s: %v", f.name, err)
		}
		all[i].perSecond = busiest(ways, l.faultTime())
		if err := f.end(); err != nil {
			s.t.Fatalf("end of %s: %v", f.name, err)
		}
		all[i].again = s.comesThrough(fmt.Sprintf("after-%d", i))
		if f.refuses && all[i].perSecond > mostCommands {
			s.t.Errorf("%s: a worker sent %.0f commands a second to a Redis that refuses them, want at most %d", f.name, all[i].perSecond, mostCommands)
		}
	}
	over.Store(true)
	produced()
	s.drain()
	c := s.examine()
	s.laws(c)
	report.head = "| fault | for | mails acknowledged | calls of Send that failed | lost | second secrets | copies | copies allowed | commands a second of a worker meanwhile | a mail sent afterwards is delivered in |"
	for i, f := range faults {
		n := c.count(fmt.Sprintf("fault%d-", i))
		report.add("| %s | %v | %d | %d | %d | %d | %d | %d | %.0f | %.1f s |", f.name, l.faultTime(), n.acked, n.errors, n.lost, n.secrets, n.copies, n.allowed,
			all[i].perSecond, all[i].again.Seconds())
	}
}

// busiest returns how many commands a second the busiest worker sends, over a while.
func busiest(ways []*proxy, while time.Duration) (most float64) {
	var before []int64
	for _, way := range ways {
		before = append(before, way.commands.Load())
	}
	time.Sleep(while)
	for i, way := range ways {
		most = max(most, float64(way.commands.Load()-before[i])/while.Seconds())
	}
	return most
}

// comesThrough sends one mail and returns how long it took until it was received.
func (s *site) comesThrough(name string) time.Duration {
	s.t.Helper()
	begun := time.Now()
	id, _ := s.newProducer().send(s.ctx, name, mailKinds[0])
	s.until("the mail "+name+" is delivered", func() bool { return s.trace.has("recorded", id) })
	return time.Since(begun)
}
