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

// scenarioConfig is the configuration of all scenarios of one run.
type scenarioConfig struct {
	full   bool
	binary string // the worker, with failpoints
}

// pick returns the value for the short form, or that for the full size.
func pick[T any](cfg *scenarioConfig, short, full T) T {
	if cfg.full {
		return full
	}
	return short
}

// table holds the figures of a scenario, for BENCHMARKS.md.
type table struct {
	title string
	head  string // in Markdown
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

// TestChaos runs every scenario. In the short form they run at the same time, because they mostly
// wait until the leases of killed workers expire. With CHAOS=full they run at full size, one after
// the other, and the workers are built without the race detector.
func TestChaos(t *testing.T) {
	logging.Disable() // go-redis logs every lost connection
	cfg := &scenarioConfig{full: os.Getenv("CHAOS") == "full"}
	cfg.binary = cfg.buildWorker(t)
	scenarios := []struct {
		name string
		run  func(t *testing.T, cfg *scenarioConfig, report *table)
	}{
		{"workers are killed", workersAreKilled},
		{"workers die at every failpoint", workersDieAtEveryFailpoint},
		{"Redis is killed", redisIsKilled},
		{"Redis is unreachable at completion", redisIsUnreachable},
		{"Redis is down at completion", redisIsDown},
		{"Redis fails", redisFails},
		{"the disk is full", diskIsFull},
		{"masters die", mastersDie},
		{"broken workers", brokenWorkersAreCaught},
	}
	reports := make([]table, len(scenarios))
	var all sync.WaitGroup
	for i, s := range scenarios {
		// t.Parallel would run only as many at a time as there are processors, and scenarios mostly
		// wait.
		all.Go(func() { t.Run(s.name, func(t *testing.T) { s.run(t, cfg, &reports[i]) }) })
		if cfg.full {
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

// limit bounds a scenario, so that a scenario that hangs reports what it waits for.
func (cfg *scenarioConfig) limit() time.Duration { return pick(cfg, 3*time.Minute, 30*time.Minute) }
