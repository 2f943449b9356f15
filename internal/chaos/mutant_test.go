package chaos_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// brokenWorkersAreCaught lets workers that are broken on purpose die once. The checker must find
// the broken invariant. Without this, the checker might find nothing because it checks nothing.
func brokenWorkersAreCaught(t *testing.T, cfg *scenarioConfig, _ *table) {
	var all sync.WaitGroup
	for _, broken := range []struct {
		name           string
		file, old, new string // the text of internal/worker that is replaced
		point          string // the failpoint at which the worker dies
		invariant      int
	}{
		{"forgets that a mail was accepted", "outcome.go",
			`err := r.records.Accept(ctx, r.attempt, o.result)`,
			`err := error(nil)`, "recorded", 4},
		{"makes a new secret for every attempt", "compose.go",
			`Seed: a.Seed,`,
			`Seed: append(a.Seed[:31:31], a.Seed[31]+byte(a.Try-1)),`, "accepted", 3},
		{"acknowledges before it sends", "handler.go",
			`r.receipt, err = turn.Submit(`,
			"r.accept(ctx, r.receipt)\n\tr.receipt, err = turn.Submit(", "before-dot", 1},
	} {
		all.Go(func() {
			t.Run(broken.name, func(t *testing.T) {
				f, _ := newFixture(t, cfg.limit())
				w := f.addWorker(cfg.buildWorker(t, testserver.Overlay(t, "../worker/"+broken.file, broken.old, broken.new)), f.url, 1)
				w.Start(broken.point)
				id, _ := f.newProducer().send(f.ctx, "broken", tasks.Key)
				w.Died()
				f.timePasses(id)
				w.Start("")
				f.drain()
				c := f.examine()
				if !slices.Contains(invariantsOf(c.found), broken.invariant) {
					t.Errorf("got %v, want a violation of invariant %d\n%s", c.found, broken.invariant, c.timeline(id))
				}
			})
		})
	}
	all.Wait()
}

// timePasses lets the lease and the send lock of a dead worker expire.
func (f *fixture) timePasses(id string) {
	f.t.Helper()
	err := f.rdb.ZAdd(f.ctx, "asynq:{"+tasks.Queue+"}:lease", redis.Z{Score: 1, Member: id}).Err()
	if err := errors.Join(err, f.rdb.HDel(f.ctx, "securemail:{"+id+"}", "lock", "lock_until").Err()); err != nil {
		f.t.Fatal(err)
	}
}
