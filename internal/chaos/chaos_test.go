package chaos_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

// lab is what the scenarios of one run share.
type lab struct {
	full   bool
	binary string // a worker with failpoints
}

// pick returns the number for the short form, or for the full one.
func pick[T any](l *lab, short, full T) T {
	if l.full {
		return full
	}
	return short
}

// table is what a scenario measured, for BENCHMARKS.md.
type table struct {
	title string
	head  string // as in Markdown
	rows  []string
}

func (t *table) add(format string, args ...any) {
	t.rows = append(t.rows, fmt.Sprintf(format, args...))
}

func (t *table) String() string {
	if t.title == "" {
		return ""
	}
	line := "|" + strings.Repeat("---|", strings.Count(t.head, "|")-1)
	return fmt.Sprintf("%s\n\n%s\n%s\n%s\n\n", t.title, t.head, line, strings.Join(t.rows, "\n"))
}

// TestChaos runs every scenario: in its short form, all at the same time, because most of each is waiting for the leases of
// the killed to run out; with CHAOS=full at its full size, one after the other, with workers built without the race detector.
func TestChaos(t *testing.T) {
	logging.Disable() // of go-redis, which has a line for every connection that is lost here
	l := &lab{full: os.Getenv("CHAOS") == "full"}
	l.binary = l.buildWorker(t)
	scenarios := []struct {
		name string
		run  func(t *testing.T, l *lab, report *table)
	}{
		{"workers are killed", workersAreKilled},
		{"workers die at every failpoint", workersDieAtEveryFailpoint},
		{"Redis is killed", redisIsKilled},
		{"Redis is out of reach at completion", redisIsOutOfReach},
		{"Redis is gone at completion", redisIsGone},
		{"Redis is at fault", redisIsAtFault},
		{"the disk is full", theDiskIsFull},
		{"masters die", mastersDie},
		{"broken workers", brokenWorkersAreCaught},
	}
	reports := make([]table, len(scenarios))
	var all sync.WaitGroup
	for i, s := range scenarios {
		// Not t.Parallel, which runs no more at a time than there are processors: these wait.
		all.Go(func() { t.Run(s.name, func(t *testing.T) { s.run(t, l, &reports[i]) }) })
		if l.full {
			all.Wait()
		}
	}
	all.Wait()
	var b strings.Builder
	for i := range reports {
		b.WriteString(reports[i].String())
	}
	fmt.Printf("\n%s", &b) // t.Log would indent it
}

// limit bounds a scenario, so that what hangs is reported by what it waits for.
func (l *lab) limit() time.Duration { return pick(l, 3*time.Minute, 30*time.Minute) }
