package chaos_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// redisIsUnreachable cuts a worker's connections to Redis when the relay answers 250. No outage of
// up to 20 s makes a copy.
func redisIsUnreachable(t *testing.T, cfg *scenarioConfig, report *table) {
	outages, workers := pick(cfg, 4, 200), pick(cfg, 2, 20)
	shortest, longest := time.Second, pick(cfg, 2*time.Second, 20*time.Second)
	f, r := newFixture(t, cfg.limit())
	proxies := f.addProxied(workers, cfg.binary, r, 2)

	// Once a proxy is armed, the next mail of its worker cuts it.
	armed, cut := make([]atomic.Bool, workers), make([]chan received, workers)
	for i := range proxies {
		cut[i] = make(chan received, 1)
	}
	f.receiver.hook(hooks{reply: func(line received) {
		if i := workerNumber(line.Worker); armed[i].CompareAndSwap(true, false) {
			proxies[i].cut()
			cut[i] <- line
		}
	}})
	f.start()
	var left atomic.Int32
	left.Store(int32(outages))
	var cutting sync.WaitGroup
	for i, p := range proxies {
		cutting.Go(func() {
			for left.Add(-1) >= 0 {
				armed[i].Store(true)
				select {
				case line := <-cut[i]:
					time.Sleep(shortest + rand.N(longest-shortest)) // the outage
					p.restore()
					f.wait("the mail is recorded", func() bool { return f.trace.has("recorded", f.id(line.To)) })
				case <-f.ctx.Done():
					t.Error("no mail came from a worker")
					return
				}
			}
		})
	}
	var over atomic.Bool
	produced := background(func() {
		f.produce(2, time.Second/time.Duration(workers), named("outage"), func(int) bool { return over.Load() })
	})
	cutting.Wait()
	over.Store(true)
	produced()
	f.drain()
	c := f.examine()
	f.assertInvariants(c)
	n := c.count("outage")
	if n.copies != 0 {
		t.Errorf("%d copies, want none, because nothing was killed", n.copies)
	}
	*report = table{title: "A worker's connections to Redis are cut when the relay answers 250",
		head: "| outages | duration | mails acknowledged | lost | second secrets | copies |"}
	report.add("| %d | %v to %v | %d | %d | %d | %d |", outages, shortest, longest, n.acked, n.lost, n.secrets, n.copies)
}

// redisIsDown kills Redis when the relay answers 250 to every worker, and starts it again later.
func redisIsDown(t *testing.T, cfg *scenarioConfig, report *table) {
	rounds, workers := pick(cfg, 1, 5), pick(cfg, 2, 4)
	shortest, longest := pick(cfg, 2*time.Second, 20*time.Second), pick(cfg, 3*time.Second, 40*time.Second)
	f, r := newFixture(t, cfg.limit())
	for range workers {
		f.addWorker(cfg.binary, f.url, 2)
	}
	var waiting atomic.Int32                // mails that wait for their 250
	var release atomic.Pointer[chan string] // closed when Redis is down
	hold := func() {
		c := make(chan string)
		release.Store(&c)
	}
	hold()
	f.receiver.hook(hooks{reply: func(received) {
		waiting.Add(1)
		defer waiting.Add(-1)
		<-*release.Load()
	}})
	f.start()
	var over atomic.Bool
	produced := background(func() {
		f.produce(2, 50*time.Millisecond, named("gone"), func(n int) bool { return over.Load() })
	})
	for range rounds {
		f.until("every slot has a mail", func() bool { return int(waiting.Load()) == 2*workers })
		r.Kill()
		gone := *release.Load()
		hold()
		close(gone)
		time.Sleep(shortest + rand.N(longest-shortest)) // the outage
		r.Start()
	}
	over.Store(true)
	produced()
	f.receiver.hook(hooks{})
	close(*release.Load())
	f.drain()
	c := f.examine()
	f.assertInvariants(c)
	n := c.count("gone")
	if n.copies != 0 {
		t.Errorf("%d copies, want none, because no worker was killed", n.copies)
	}
	*report = table{title: "Redis is killed when the relay answers 250 to every worker, and started again later",
		head: "| outages | duration | mails waiting for the 250 | mails acknowledged | lost | second secrets | copies |"}
	report.add("| %d | %v to %v | %d | %d | %d | %d | %d |", rounds, shortest, longest, rounds*2*workers, n.acked, n.lost, n.secrets, n.copies)
}
