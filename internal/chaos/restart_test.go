package chaos_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// redisIsKilled kills a Redis that syncs every write, again and again, while mails are enqueued and sent.
func redisIsKilled(t *testing.T, l *lab, report *table) {
	kills, mails := pick(l, 3, 50), pick(l, 500, 20_000)
	s, r := newSite(t, l.limit())
	for range 2 {
		s.addWorker(l.binary, s.url, 16)
	}
	s.start()
	var over atomic.Bool
	every := 5 * time.Millisecond
	wait := background(func() {
		s.produce(8, every, named("restart"), func(n int) bool { return n >= mails && over.Load() })
	})
	for range kills {
		time.Sleep(rand.N(2 * every * time.Duration(mails/kills))) // a pace
		r.Kill()
		r.Start()
	}
	over.Store(true)
	wait()
	s.drain()
	c := s.examine()
	s.laws(c)
	n := c.count("restart")
	*report = table{title: "SIGKILL of Redis (append-only file, fsync always) while mails are enqueued and sent",
		head: "| kills | mails acknowledged | calls of Send that failed | acknowledged and lost | second secrets | copies | copies allowed |"}
	report.add("| %d | %d | %d | %d | %d | %d | %d |", kills, n.acked, n.errors, n.lost, n.secrets, n.copies, n.allowed)
}
