package admin

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/queue"
)

// queues collects the length and the age of the queues at every scrape. The names are those of
// asynq's own collector, which asynqmon's graphs expect. While Redis is unavailable queues reports
// nothing; /readyz reports the outage.
type queues struct{ rdb redis.UniversalClient }

var (
	queueTasks = prometheus.NewDesc("asynq_tasks_enqueued_total", "Tasks in the queue by state.", []string{"queue", "state"}, nil)
	queueSize  = prometheus.NewDesc("asynq_queue_size", "Tasks in the queue.", []string{"queue"}, nil)
	queueAge   = prometheus.NewDesc("asynq_queue_latency_seconds", "Age of the oldest pending task.", []string{"queue"}, nil)
)

func (q *queues) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueTasks
	ch <- queueSize
	ch <- queueAge
}

func (q *queues) Collect(ch chan<- prometheus.Metric) {
	for _, figure := range queue.Figures(q.rdb) {
		gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{figure.Queue}, labels...)...)
		}
		for state, n := range figure.States {
			gauge(queueTasks, float64(n), state)
		}
		gauge(queueSize, float64(figure.Size))
		gauge(queueAge, figure.Age.Seconds())
	}
}
