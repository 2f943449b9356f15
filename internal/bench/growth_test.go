package bench_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// BenchmarkGrowth measures the rate with longer backlogs and with more workers. All of it runs on
// one machine, so more workers only use the CPU time that one worker leaves idle.
func BenchmarkGrowth(b *testing.B) {
	s := startSink(b)
	for _, c := range []struct{ backlog, workers int }{{1000, 1}, {10_000, 1}, {100_000, 1}, {10_000, 2}, {10_000, 4}} {
		b.Run(fmt.Sprintf("backlog-%d-workers-%d", c.backlog, c.workers), func(b *testing.B) {
			var noop, ours time.Duration
			for b.Loop() {
				empty, _ := drainNoop(b, s, "everysec", tasks.Key, c.backlog, c.workers)
				noop += empty
				took, _ := drainOurs(b, s, submission.ImplicitTLS, "everysec", tasks.Key, c.backlog, c.workers)
				ours += took
			}
			n := float64(c.backlog * b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/ours.Seconds(), "mails/s")
			b.ReportMetric(n/noop.Seconds(), "asynq/s")
			b.ReportMetric(noop.Seconds()/ours.Seconds(), "of-asynq")
		})
	}
}
