package admin

import (
	"slices"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/securemail/tasks"
)

// queues reports the length and the age of the queues when Prometheus asks. The names are those of asynq's own
// collector, which asynqmon's graphs look for.
type queues struct{ inspector *asynq.Inspector }

var (
	queueTasks = prometheus.NewDesc("asynq_tasks_enqueued_total", "Tasks in the queue, by their state.", []string{"queue", "state"}, nil)
	queueSize  = prometheus.NewDesc("asynq_queue_size", "Tasks in the queue.", []string{"queue"}, nil)
	queueAge   = prometheus.NewDesc("asynq_queue_latency_seconds", "Age of the oldest task that waits to be taken.", []string{"queue"}, nil)
)

func (q *queues) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueTasks
	ch <- queueSize
	ch <- queueAge
}

func (q *queues) Collect(ch chan<- prometheus.Metric) {
	known, err := q.inspector.Queues()
	if err != nil {
		return // an outage of Redis is /readyz's to tell, and one time-out is enough for whoever scrapes
	}
	for _, name := range []string{tasks.QueueCodes, tasks.Queue} {
		if !slices.Contains(known, name) {
			continue // it never had a task
		}
		info, err := q.inspector.GetQueueInfo(name)
		if err != nil {
			continue
		}
		gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{name}, labels...)...)
		}
		for state, n := range map[string]int{"active": info.Active, "pending": info.Pending, "scheduled": info.Scheduled, "retry": info.Retry,
			"archived": info.Archived, "completed": info.Completed} {
			gauge(queueTasks, float64(n), state)
		}
		gauge(queueSize, float64(info.Size))
		gauge(queueAge, info.Latency.Seconds())
	}
}
