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

// fault is a temporary failure of Redis.
type fault struct {
	name       string
	begin, end func() error
	refuses    bool // Redis answers with errors; asynq alone would then loop without a pause
}

// mostCommands bounds the commands a second of a worker while Redis refuses them.
const mostCommands = 200

// redisFails lets Redis fail in several ways, one after the other, under load.
func redisFails(t *testing.T, cfg *scenarioConfig, report *table) {
	f, r := newFixture(t, cfg.limit())
	proxies := f.addProxied(2, cfg.binary, r, 8)
	do := func(args ...any) func() error {
		return func() error { return f.rdb.Do(f.ctx, args...).Err() }
	}
	last := cfg.faultTime()
	delay := func(d time.Duration) func() error {
		return func() error {
			for _, p := range proxies {
				p.delay.Store(int64(d))
			}
			return nil
		}
	}
	nothing := func() error { return nil }
	f.withFaults(cfg, report, proxies, []fault{
		{"READONLY (REPLICAOF)", do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE"), true},
		{"OOM (maxmemory 1mb)", do("CONFIG", "SET", "maxmemory", "1mb"), do("CONFIG", "SET", "maxmemory", "0"), true},
		{"CLIENT PAUSE", do("CLIENT", "PAUSE", last.Milliseconds(), "ALL"), nothing, false},
		{"200 ms more for each reply", delay(200 * time.Millisecond), delay(0), false},
		{"SIGSTOP", func() error { return syscall.Kill(r.Pid(), syscall.SIGSTOP) }, func() error { return syscall.Kill(r.Pid(), syscall.SIGCONT) }, false},
	})
	report.title = "Redis fails under load (append-only file, fsync always)"
}

// diskIsFull keeps the append-only file from growing. Redis with fsync everysec then refuses to
// write. With fsync always it would exit.
func diskIsFull(t *testing.T, cfg *scenarioConfig, report *table) {
	prlimit := testserver.Need(t, "prlimit", "util-linux")
	// The signal kills a process that does not ignore it, when a file grows beyond the limit. Redis
	// inherits this.
	signal.Ignore(syscall.SIGXFSZ)
	f, r := newFixture(t, cfg.limit(), "--appendfsync", "everysec")
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
		f.until("Redis finds the disk full", func() bool {
			err := f.rdb.Set(f.ctx, "probe", "", time.Second).Err()
			return err != nil && strings.HasPrefix(err.Error(), "MISCONF")
		})
		return nil
	}
	proxies := f.addProxied(2, cfg.binary, r, 8)
	f.withFaults(cfg, report, proxies, []fault{{"MISCONF (disk full)", full, limit("unlimited"), true}})
	report.title = "The disk of Redis is full under load (append-only file, fsync everysec)"
}

func (cfg *scenarioConfig) faultTime() time.Duration { return pick(cfg, 2*time.Second, 35*time.Second) }

// withFaults sends mails all the time, and lets the faults happen one after the other. After each,
// a mail must be delivered.
func (f *fixture) withFaults(cfg *scenarioConfig, report *table, proxies []*proxy, faults []fault) {
	f.receiver.hook(hooks{ // so that many mails are in flight when a fault begins
		begin: func() { time.Sleep(rand.N(500 * time.Millisecond)) },
		reply: func(received) { time.Sleep(rand.N(500 * time.Millisecond)) },
	})
	f.start()
	var over atomic.Bool
	var now atomic.Int32 // the index of the fault
	produced := background(func() {
		f.produce(4, pick(cfg, 100*time.Millisecond, 50*time.Millisecond), func(n int) string { return fmt.Sprintf("fault%d-%d", now.Load(), n) }, func(int) bool { return over.Load() })
	})
	type seen struct {
		perSecond float64 // commands of the busiest worker
		again     time.Duration
	}
	all := make([]seen, len(faults))
	for i, fault := range faults {
		now.Store(int32(i))
		f.deliveryTime(fmt.Sprintf("before-%d", i))
		if err := fault.begin(); err != nil {
			f.t.Fatalf("%s: %v", fault.name, err)
		}
		all[i].perSecond = busiest(proxies, cfg.faultTime())
		if err := fault.end(); err != nil {
			f.t.Fatalf("end of %s: %v", fault.name, err)
		}
		all[i].again = f.deliveryTime(fmt.Sprintf("after-%d", i))
		if fault.refuses && all[i].perSecond > mostCommands {
			f.t.Errorf("%s: a worker sent %.0f commands a second to a Redis that refuses them, want at most %d", fault.name, all[i].perSecond, mostCommands)
		}
	}
	over.Store(true)
	produced()
	f.drain()
	c := f.examine()
	f.assertInvariants(c)
	report.head = "| fault | duration | mails acknowledged | failed calls of Send | lost | second secrets | copies | copies allowed | commands a second of a worker | delivery of a later mail |"
	for i, fault := range faults {
		n := c.count(fmt.Sprintf("fault%d-", i))
		report.add("| %s | %v | %d | %d | %d | %d | %d | %d | %.0f | %.1f s |", fault.name, cfg.faultTime(), n.acked, n.errors, n.lost, n.secrets, n.copies, n.allowed,
			all[i].perSecond, all[i].again.Seconds())
	}
}

// busiest waits for a while, and returns how many commands a second the busiest worker sent.
func busiest(proxies []*proxy, while time.Duration) (most float64) {
	var before []int64
	for _, p := range proxies {
		before = append(before, p.commands.Load())
	}
	time.Sleep(while)
	for i, p := range proxies {
		most = max(most, float64(p.commands.Load()-before[i])/while.Seconds())
	}
	return most
}

// deliveryTime sends one mail, and returns how long it took until a worker had recorded its
// delivery.
func (f *fixture) deliveryTime(name string) time.Duration {
	f.t.Helper()
	begun := time.Now()
	id, _ := f.newProducer().send(f.ctx, name, mailKinds[0])
	f.until("the mail "+name+" is delivered", func() bool { return f.trace.has("recorded", id) })
	return time.Since(begun)
}
