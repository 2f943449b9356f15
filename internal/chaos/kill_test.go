package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/harness"
)

// workersAreKilled kills workers at random while mails are in flight, and restarts others with
// SIGTERM, under load. No mail is lost, every copy is allowed, and another run soon picks up each
// mail that was in flight.
func workersAreKilled(t *testing.T, cfg *scenarioConfig, report *table) {
	kills, mails, every := pick(cfg, 8, 300), pick(cfg, 200, 10_000), pick(cfg, 50*time.Millisecond, 60*time.Millisecond)
	f, _ := newFixture(t, cfg.limit())
	f.receiver.hook(hooks{ // so that mails are in flight before and after the dot
		begin:  func() { time.Sleep(rand.N(200 * time.Millisecond)) },
		refuse: func() bool { return cfg.full && rand.N(200) == 0 },
		reply:  func(received) { time.Sleep(rand.N(200 * time.Millisecond)) },
	})
	for range 3 {
		f.addWorker(cfg.binary, f.url, 8)
	}
	f.start()
	var over atomic.Bool
	wait := background(func() {
		f.produce(3, every, named("kill"), func(n int) bool { return n >= mails && over.Load() })
	})

	var all []killed
	restarts := 0
	for pace := every * time.Duration(mails/kills); len(all) < kills && f.ctx.Err() == nil && !t.Failed(); {
		time.Sleep(rand.N(2 * pace)) // pace on average
		w := f.workers[rand.N(len(f.workers))]
		f.until("a mail is in flight", func() bool { return f.trace.inFlight(w.Pid()) > 0 })
		k := killed{w.Pid(), time.Now()}
		w.Kill()
		if f.trace.inFlight(k.pid) > 0 { // its last mail may have ended in the same moment
			all = append(all, k)
		}
		w.Start("")
		if len(all)%5 == 0 { // a rolling restart
			restarts++
			f.restart(f.workers[rand.N(len(f.workers))])
		}
	}
	over.Store(true)
	wait()
	f.drain()
	c := f.examine()
	f.assertInvariants(c)

	back := f.timesToNextRun(c, all)
	if len(back) == 0 {
		t.Fatal("no mail was in flight")
	}
	p50, p95, most := back[len(back)/2], back[len(back)*95/100], back[len(back)-1]
	// In the short form the other scenarios use the same processors.
	if want := pick(cfg, 60*time.Second, 45*time.Second); p95 > want {
		t.Errorf("after a kill, another run picked up mails within %v (p95), want %v", p95, want)
	}
	n := c.count("kill")
	*report = table{title: "SIGKILL of a worker, at random, with at least one mail in flight",
		head: "| kills | SIGTERM restarts | mails acknowledged | in flight at a kill | lost | second secrets | copies | copies allowed | picked up again p50 | p95 | max |"}
	report.add("| %d | %d | %d | %d | %d | %d | %d | %d | %.1f s | %.1f s | %.1f s |", len(all), restarts, n.acked, len(back), n.lost, n.secrets, n.copies, n.allowed,
		p50.Seconds(), p95.Seconds(), most.Seconds())
}

// killed is a worker that was killed with mails in flight.
type killed struct {
	pid int
	at  time.Time
}

// restart stops a worker with SIGTERM while it has a mail in flight, and starts it again.
func (f *fixture) restart(w *harness.Process) {
	f.t.Helper()
	pid := w.Pid()
	f.until("a mail is in flight", func() bool { return f.trace.inFlight(pid) > 0 })
	w.Stop()
	if n := f.trace.inFlight(pid); n > 0 {
		f.t.Errorf("a worker stopped with %d mails in flight", n)
	}
	w.Start("")
}

// timesToNextRun returns how long it took until another run picked up each mail that was in flight,
// sorted.
func (f *fixture) timesToNextRun(c *checker, all []killed) (back []time.Duration) {
	f.t.Helper()
	runs := runsOf(c.Trace)
	for _, k := range all {
		for i, r := range runs {
			if r.pid != k.pid || r.past["returned"] {
				continue
			}
			next := slices.IndexFunc(runs[i+1:], func(other *run) bool { return other.id == r.id })
			if next < 0 {
				f.t.Errorf("a mail was in flight in a killed worker, and no run picked it up:\n%s", c.timeline(r.id))
				continue
			}
			back = append(back, runs[i+1+next].begun.Sub(k.at))
		}
	}
	slices.Sort(back)
	return back
}

// failpoints are the points at which a worker kills itself. At "reply", between the receiver's sync
// and its 250, the test kills it.
var failpoints = []struct{ number, name string }{{"K1", "dequeued"}, {"K2", "opened"}, {"K3", "before-dot"}, {"K4", "reply"}, {"K5", "accepted"},
	{"K6", "recorded"}, {"K7", "returned"}}

// workersDieAtEveryFailpoint lets a worker with one mail in flight die several times at each point.
func workersDieAtEveryFailpoint(t *testing.T, cfg *scenarioConfig, report *table) {
	times := pick(cfg, 2, 50)
	f, _ := newFixture(t, cfg.limit())
	w, p := f.addWorker(cfg.binary, f.url, 1), f.newProducer()
	for _, point := range failpoints {
		for n := range times {
			dieAt(f, w, point.name, func() { p.send(f.ctx, fmt.Sprintf("%s-%d", point.number, n), mailKinds[n%len(mailKinds)]) })
		}
		if cfg.full { // a mail of one point must not die at the next
			w.Start("")
			f.drain()
			w.Stop()
		}
	}
	w.Start("")
	f.drain()
	c := f.examine()
	f.assertInvariants(c)
	*report = table{title: "A worker dies at each point of a run", head: "| point | deaths | lost | second secrets | copies | copies allowed |"}
	for _, point := range failpoints {
		n := c.count(point.number + "-")
		if n.delivered != times {
			t.Errorf("%s: %d of %d mails were delivered", point.number, n.delivered, times)
		}
		if copied := point.number == "K4" || point.number == "K5"; !copied && n.copies > 0 || copied && n.copies != times {
			t.Errorf("%s: %d copies after %d deaths; want one for each death at K4 and K5, where SMTP leaves it open, and none elsewhere", point.number, n.copies, times)
		}
		report.add("| %s %s | %d | %d | %d | %d | %d |", point.number, point.name, times, n.lost, n.secrets, n.copies, n.allowed)
	}
}

// dieAt sends one mail, and lets the worker die when the mail reaches the point.
func dieAt(f *fixture, w *harness.Process, point string, send func()) {
	f.t.Helper()
	if point != "reply" {
		w.Start(point)
		send()
		w.Died()
		return
	}
	held, release := make(chan struct{}, 1), make(chan struct{})
	f.receiver.hook(hooks{reply: func(received) {
		held <- struct{}{}
		<-release
	}})
	w.Start("")
	send()
	select {
	case <-held:
	case <-f.ctx.Done():
		f.t.Error("the mail did not reach the receiver")
	}
	w.Kill()
	f.receiver.hook(hooks{})
	close(release)
}
