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

// brokenWorkersAreCaught lets workers that are broken on purpose die once, and the checker find out. A law that no broken
// worker breaks might be one that is never looked at.
func brokenWorkersAreCaught(t *testing.T, l *lab, _ *table) {
	var all sync.WaitGroup
	for _, broken := range []struct {
		name           string
		file, old, new string // the one text in internal/worker that it differs in
		point          string // where it dies
		law            int
	}{
		{"forgets that a mail was accepted", "outcome.go",
			`err := r.records.Accept(ctx, r.attempt, o.result)`,
			`err := error(nil)`, "recorded", 4},
		{"makes a new secret for every try", "compose.go",
			`Seed: a.Seed,`,
			`Seed: append(a.Seed[:31:31], a.Seed[31]+byte(a.Try-1)),`, "accepted", 3},
		{"acknowledges before it sends", "handler.go",
			`r.receipt, err = turn.Submit(`,
			"r.accept(ctx, r.receipt)\n\tr.receipt, err = turn.Submit(", "before-dot", 1},
	} {
		all.Go(func() {
			t.Run(broken.name, func(t *testing.T) {
				s, _ := newSite(t, l.limit())
				w := s.addWorker(l.buildWorker(t, testserver.Overlay(t, "../worker/"+broken.file, broken.old, broken.new)), s.url, 1)
				w.Start(broken.point)
				id, _ := s.newProducer().send(s.ctx, "broken", tasks.Key)
				w.Died()
				s.timePasses(id)
				w.Start("")
				s.drain()
				c := s.examine()
				if !slices.Contains(lawsOf(c.found), broken.law) {
					t.Errorf("got %v, want a breach of law %d\n%s", c.found, broken.law, c.story(id))
				}
			})
		})
	}
	all.Wait()
}

// timePasses makes the lease and the send lock of a dead worker run out.
func (s *site) timePasses(id string) {
	s.t.Helper()
	err := s.rdb.ZAdd(s.ctx, "asynq:{"+tasks.Queue+"}:lease", redis.Z{Score: 1, Member: id}).Err()
	if err := errors.Join(err, s.rdb.HDel(s.ctx, "securemail:{"+id+"}", "lock", "lock_until").Err()); err != nil {
		s.t.Fatal(err)
	}
}
