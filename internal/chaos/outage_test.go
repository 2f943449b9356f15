package chaos_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// redisIsOutOfReach cuts a worker's way to Redis at the moment when the relay answers 250: no outage of up to 20 s makes a copy.
func redisIsOutOfReach(t *testing.T, l *lab, report *table) {
	outages, workers := pick(l, 4, 200), pick(l, 2, 20)
	shortest, longest := time.Second, pick(l, 2*time.Second, 20*time.Second)
	s, r := newSite(t, l.limit())
	ways := s.addProxied(workers, l.binary, r, 2)

	// Each way is cut by the next mail that comes from its worker, once it is armed.
	armed, cut := make([]atomic.Bool, workers), make([]chan taken, workers)
	for i := range ways {
		cut[i] = make(chan taken, 1)
	}
	s.receiver.hook(hooks{reply: func(line taken) {
		if i := workerNumber(line.Worker); armed[i].CompareAndSwap(true, false) {
			ways[i].cut()
			cut[i] <- line
		}
	}})
	s.start()
	var left atomic.Int32
	left.Store(int32(outages))
	var cutting sync.WaitGroup
	for i, way := range ways {
		cutting.Go(func() {
			for left.Add(-1) >= 0 {
				armed[i].Store(true)
				select {
				case line := <-cut[i]:
					time.Sleep(shortest + rand.N(longest-shortest)) // the outage
					way.mend()
					s.wait("the mail is written down", func() bool { return s.trace.has("recorded", s.id(line.To)) })
				case <-s.ctx.Done():
					t.Error("no mail came from a worker")
					return
				}
			}
		})
	}
	var over atomic.Bool
	produced := background(func() {
		s.produce(2, time.Second/time.Duration(workers), named("outage"), func(int) bool { return over.Load() })
	})
	cutting.Wait()
	over.Store(true)
	produced()
	s.drain()
	c := s.examine()
	s.laws(c)
	n := c.count("outage")
	if n.copies != 0 {
		t.Errorf("%d copies, want none: nobody was killed", n.copies)
	}
	*report = table{title: "A worker's way to Redis is cut at the moment when the relay answers 250",
		head: "| outages | of | mails acknowledged | lost | second secrets | copies |"}
	report.add("| %d | %v to %v | %d | %d | %d | %d |", outages, shortest, longest, n.acked, n.lost, n.secrets, n.copies)
}

// redisIsGone kills Redis at the moment when the relay answers every worker, and starts it again later.
func redisIsGone(t *testing.T, l *lab, report *table) {
	rounds, workers := pick(l, 1, 5), pick(l, 2, 4)
	shortest, longest := pick(l, 2*time.Second, 20*time.Second), pick(l, 3*time.Second, 40*time.Second)
	s, r := newSite(t, l.limit())
	for range workers {
		s.addWorker(l.binary, s.url, 2)
	}
	var waiting atomic.Int32                // of the mails that wait for their 250
	var release atomic.Pointer[chan string] // closed when Redis is gone
	hold := func() {
		c := make(chan string)
		release.Store(&c)
	}
	hold()
	s.receiver.hook(hooks{reply: func(taken) {
		waiting.Add(1)
		defer waiting.Add(-1)
		<-*release.Load()
	}})
	s.start()
	var over atomic.Bool
	produced := background(func() {
		s.produce(2, 50*time.Millisecond, named("gone"), func(n int) bool { return over.Load() })
	})
	for range rounds {
		s.until("every place holds a mail", func() bool { return int(waiting.Load()) == 2*workers })
		r.Kill()
		gone := *release.Load()
		hold()
		close(gone)
		time.Sleep(shortest + rand.N(longest-shortest)) // the outage
		r.Start()
	}
	over.Store(true)
	produced()
	s.receiver.hook(hooks{})
	close(*release.Load())
	s.drain()
	c := s.examine()
	s.laws(c)
	n := c.count("gone")
	if n.copies != 0 {
		t.Errorf("%d copies, want none: no worker was killed", n.copies)
	}
	*report = table{title: "Redis is killed at the moment when the relay answers 250 to every worker, and started again later",
		head: "| outages | of | mails at their 250 | mails acknowledged | lost | second secrets | copies |"}
	report.add("| %d | %v to %v | %d | %d | %d | %d | %d |", rounds, shortest, longest, rounds*2*workers, n.acked, n.lost, n.secrets, n.copies)
}
