package worker

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// metrics count outcomes and time the steps. No label holds an address or an id.
type metrics struct {
	runs   *prometheus.CounterVec
	wait   *prometheus.HistogramVec
	submit *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "securemail_runs_total",
			Help: "Task runs by result. A deferred mail runs again."}, []string{"kind", "state", "reason"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "securemail_accepted_seconds",
			Help:    "Time from Send to the relay's 250.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}}, []string{"kind"}),
		submit: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "securemail_submission_seconds",
			Help:    "Time of one SMTP conversation by phase.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}}, []string{"relay", "phase"}),
	}
	registry.MustRegister(m.runs, m.wait, m.submit)
	return m
}

// newWakeMetric tells whether Redis wakes the worker.
func newWakeMetric(registry prometheus.Registerer, woken func() bool) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "securemail_wake_up",
		Help: "1 while Redis wakes the worker when a task comes (BLMOVE), 0 while the worker asks for tasks four times a second."}, func() float64 {
		if woken() {
			return 1
		}
		return 0
	}))
}

// report logs and counts the outcome of a run, once.
func (r *run) report(o outcome) {
	kind := string(r.task.Mail.Kind)
	if _, known := r.task.Mail.Kind.Info(); !known {
		kind = "none" // unreadable, or what somebody else wrote into the record
	}
	r.metrics.runs.WithLabelValues(kind, string(o.state), string(o.result.Reason)).Inc()
	if o.state == tasks.Accepted && o.result.Reason == "" {
		if r.task.Resends == 0 { // nothing records when a resend was asked for
			r.metrics.wait.WithLabelValues(kind).Observe(r.now().Sub(r.task.CreatedAt).Seconds())
		}
		t := r.receipt.Timings
		for phase, took := range map[string]time.Duration{"connect": t.Connect, "envelope": t.Envelope, "body": t.Body, "final_reply": t.FinalReply} {
			r.metrics.submit.WithLabelValues(r.receipt.Relay, phase).Observe(took.Seconds())
		}
	}

	level := zapcore.InfoLevel
	switch {
	case o.alert:
		level = zapcore.ErrorLevel
	case o.state != tasks.Accepted:
		level = zapcore.WarnLevel
	}
	if entry := r.log.Check(level, "mail "+string(o.state)); entry != nil {
		entry.Write(r.fields(o, kind)...)
	}
}

func (r *run) fields(o outcome, kind string) []zap.Field {
	f := []zap.Field{
		zap.String("id", r.task.ID), zap.String("kind", kind), zap.String("purpose", bounded(r.task.Mail.Purpose)),
		zap.String("to", mask(r.task.Mail.To)), zap.String("state", string(o.state)),
	}
	text := func(key, value string) {
		if value != "" {
			f = append(f, zap.String(key, value))
		}
	}
	text("reason", string(o.result.Reason))
	text("relay", o.result.Relay)
	if o.result.Code != 0 {
		f = append(f, zap.Int("code", o.result.Code))
	}
	text("enhanced_code", o.result.EnhancedCode)
	text("queue_id", o.result.QueueID)
	if r.attempt != nil {
		f = append(f, zap.Int("resends", r.attempt.Resends), zap.Int("try", r.attempt.Try),
			zap.String("message_id", messageID(r.attempt, r.config.From.Address.Domain())))
	}
	var failure *submission.Error
	if errors.As(o.cause, &failure) {
		text("phase", string(failure.Phase))
		text("said", failure.Said())
	}
	if o.cause != nil {
		text("error", o.cause.Error())
	}
	if !o.next.IsZero() {
		f = append(f, zap.Time("next_try", o.next.UTC().Truncate(time.Second)))
	}
	if r.task.Resends == 0 && !r.task.CreatedAt.IsZero() {
		f = append(f, zap.Int64("queued_ms", r.started.Sub(r.task.CreatedAt).Milliseconds()))
	}
	t := r.timings
	return append(f, t.open.field("open_ms"), t.compose.field("compose_ms"), t.submit.field("submit_ms"), t.record.field("record_ms"),
		zap.Float64("total_ms", milliseconds(r.now().Sub(r.started))))
}

// bounded cuts what somebody else may have written into the record.
func bounded(text string) string { return text[:min(len(text), 64)] }

func (s stopwatch) field(key string) zap.Field {
	return zap.Float64(key, milliseconds(time.Duration(s)))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// mask keeps what an operator needs of an address that a task carries: the first letter and the domain.
func mask(address string) string {
	to, _ := mailaddr.Parse(address)
	return to.Masked()
}
