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

// workersAreKilled kills workers at random while mails are in flight, and restarts others with SIGTERM, under load. Nothing is
// lost, no copy is without its reason, and what was in flight is soon in work again.
func workersAreKilled(t *testing.T, l *lab, report *table) {
	kills, mails, every := pick(l, 8, 300), pick(l, 200, 10_000), pick(l, 50*time.Millisecond, 60*time.Millisecond)
	s, _ := newSite(t, l.limit())
	s.receiver.hook(hooks{
		begin:  func() { time.Sleep(rand.N(200 * time.Millisecond)) }, // so that mails are in flight before the dot
		refuse: func() bool { return l.full && rand.N(200) == 0 },
		reply:  func(taken) { time.Sleep(rand.N(200 * time.Millisecond)) }, // and after it
	})
	for range 3 {
		s.addWorker(l.binary, s.url, 8)
	}
	s.start()
	var over atomic.Bool
	wait := background(func() {
		s.produce(3, every, named("kill"), func(n int) bool { return n >= mails && over.Load() })
	})

	var all []killed
	restarts := 0
	for pace := every * time.Duration(mails/kills); len(all) < kills && s.ctx.Err() == nil && !t.Failed(); {
		time.Sleep(rand.N(2 * pace)) // a pace
		w := s.workers[rand.N(len(s.workers))]
		s.until("a mail is in flight", func() bool { return s.trace.inFlight(w.Pid()) > 0 })
		k := killed{w.Pid(), time.Now()}
		w.Kill()
		if s.trace.inFlight(k.pid) > 0 { // or its last mail had ended in the same moment
			all = append(all, k)
		}
		w.Start("")
		if len(all)%5 == 0 { // a rolling restart in between
			restarts++
			s.restart(s.workers[rand.N(len(s.workers))])
		}
	}
	over.Store(true)
	wait()
	s.drain()
	c := s.examine()
	s.laws(c)

	back := s.backInWork(c, all)
	if len(back) == 0 {
		t.Fatal("no mail was in flight")
	}
	p50, p95, most := back[len(back)/2], back[len(back)*95/100], back[len(back)-1]
	if want := pick(l, 60*time.Second, 45*time.Second); p95 > want { // the short form shares its processors with all others
		t.Errorf("after a kill, mails were back in work within %v (p95), want %v", p95, want)
	}
	n := c.count("kill")
	*report = table{title: "SIGKILL of a worker, at random, with at least one mail in flight",
		head: "| kills | SIGTERM restarts | mails acknowledged | in flight at a kill | lost | second secrets | copies | copies allowed | back in work p50 | p95 | max |"}
	report.add("| %d | %d | %d | %d | %d | %d | %d | %d | %.1f s | %.1f s | %.1f s |", len(all), restarts, n.acked, len(back), n.lost, n.secrets, n.copies, n.allowed,
		p50.Seconds(), p95.Seconds(), most.Seconds())
}

// killed is a worker that was killed with mails in flight.
type killed struct {
	pid int
	at  time.Time
}

// restart stops a worker with SIGTERM while it has a mail in hand, and starts it again.
func (s *site) restart(w *harness.Process) {
	s.t.Helper()
	pid := w.Pid()
	s.until("a mail is in flight", func() bool { return s.trace.inFlight(pid) > 0 })
	w.Stop()
	if n := s.trace.inFlight(pid); n > 0 {
		s.t.Errorf("a worker that was asked to stop left %d mails in the middle", n)
	}
	w.Start("")
}

// backInWork returns how long it took until each mail that was in flight was taken up by another run, sorted.
func (s *site) backInWork(c *checker, all []killed) (back []time.Duration) {
	s.t.Helper()
	runs := runsOf(c.W)
	for _, k := range all {
		for i, r := range runs {
			if r.pid != k.pid || r.past["returned"] {
				continue
			}
			next := slices.IndexFunc(runs[i+1:], func(other *run) bool { return other.id == r.id })
			if next < 0 {
				s.t.Errorf("a mail was in flight in a killed worker and never again in work:\n%s", c.story(r.id))
				continue
			}
			back = append(back, runs[i+1+next].begun.Sub(k.at))
		}
	}
	slices.Sort(back)
	return back
}

// failpoints are where a worker kills itself; at "reply" the test kills it, between the receiver's sync and its 250.
var failpoints = []struct{ number, name string }{{"K1", "dequeued"}, {"K2", "opened"}, {"K3", "before-dot"}, {"K4", "reply"}, {"K5", "accepted"},
	{"K6", "recorded"}, {"K7", "returned"}}

// workersDieAtEveryFailpoint lets a worker with one mail in hand die, again and again, at each point.
func workersDieAtEveryFailpoint(t *testing.T, l *lab, report *table) {
	times := pick(l, 2, 50)
	s, _ := newSite(t, l.limit())
	w, p := s.addWorker(l.binary, s.url, 1), s.newProducer()
	for _, point := range failpoints {
		for n := range times {
			dieAt(s, w, point.name, func() { p.send(s.ctx, fmt.Sprintf("%s-%d", point.number, n), mailKinds[n%len(mailKinds)]) })
		}
		if l.full { // or what comes back from one point might die at the next
			w.Start("")
			s.drain()
			w.Stop()
		}
	}
	w.Start("")
	s.drain()
	c := s.examine()
	s.laws(c)
	*report = table{title: "Death of a worker at each point of a mail's way", head: "| point | deaths | lost | second secrets | copies | copies allowed |"}
	for _, point := range failpoints {
		n := c.count(point.number + "-")
		if n.delivered != times {
			t.Errorf("%s: %d of %d mails were delivered", point.number, n.delivered, times)
		}
		if copied := point.number == "K4" || point.number == "K5"; !copied && n.copies > 0 || copied && n.copies != times {
			t.Errorf("%s: %d copies after %d deaths; there is one at K4 and K5, where nobody can tell, and none elsewhere", point.number, n.copies, times)
		}
		report.add("| %s %s | %d | %d | %d | %d | %d |", point.number, point.name, times, n.lost, n.secrets, n.copies, n.allowed)
	}
}

// dieAt sends one mail and has the worker die when the mail gets to the point.
func dieAt(s *site, w *harness.Process, point string, send func()) {
	s.t.Helper()
	if point != "reply" {
		w.Start(point)
		send()
		w.Died()
		return
	}
	held, release := make(chan struct{}, 1), make(chan struct{})
	s.receiver.hook(hooks{reply: func(taken) {
		held <- struct{}{}
		<-release
	}})
	w.Start("")
	send()
	select {
	case <-held:
	case <-s.ctx.Done():
		s.t.Error("the mail did not come to the receiver")
	}
	w.Kill()
	s.receiver.hook(hooks{})
	close(release)
}
