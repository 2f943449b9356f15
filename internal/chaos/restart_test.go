package chaos_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// redisIsKilled repeatedly kills a Redis that syncs every write, while mails are enqueued and sent.
func redisIsKilled(t *testing.T, cfg *scenarioConfig, report *table) {
	kills, mails := pick(cfg, 3, 50), pick(cfg, 500, 20_000)
	f, r := newFixture(t, cfg.limit())
	for range 2 {
		f.addWorker(cfg.binary, f.url, 16)
	}
	f.start()
	var over atomic.Bool
	every := 5 * time.Millisecond
	wait := background(func() {
		f.produce(8, every, named("restart"), func(n int) bool { return n >= mails && over.Load() })
	})
	for range kills {
		time.Sleep(rand.N(2 * every * time.Duration(mails/kills))) // evenly on average
		r.Kill()
		r.Start()
	}
	over.Store(true)
	wait()
	f.drain()
	c := f.examine()
	f.assertInvariants(c)
	n := c.count("restart")
	*report = table{title: "SIGKILL of Redis (append-only file, fsync always) while mails are enqueued and sent",
		head: "| kills | mails acknowledged | failed calls of Send | acknowledged and lost | second secrets | copies | copies allowed |"}
	report.add("| %d | %d | %d | %d | %d | %d | %d |", kills, n.acked, n.errors, n.lost, n.secrets, n.copies, n.allowed)
}
