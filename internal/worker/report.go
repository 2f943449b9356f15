package worker

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
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
			Help: "Runs of a task, by what they came to. A mail that is deferred runs again."}, []string{"kind", "state", "reason"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "securemail_accepted_seconds",
			Help:    "Time from the producer's Send to the relay's 250.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}}, []string{"kind"}),
		submit: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "securemail_submission_seconds",
			Help:    "Time of one conversation with a relay, by its phase.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}}, []string{"relay", "phase"}),
	}
	registry.MustRegister(m.runs, m.wait, m.submit)
	return m
}

// report says once, in the log and in the counters, what a run came to.
func (r *run) report() {
	kind := string(r.task.Mail.Kind)
	if kind == "" {
		kind = "none" // unreadable
	}
	r.metrics.runs.WithLabelValues(kind, string(r.state), r.result.Reason).Inc()
	accepted := r.state == record.Accepted && r.result.Reason == ""
	if accepted {
		if r.task.Resend == 0 { // nobody writes down when a resend was asked for
			r.metrics.wait.WithLabelValues(kind).Observe(time.Since(r.task.CreatedAt).Seconds())
		}
		t := r.receipt.Timings
		for phase, took := range map[string]time.Duration{"connect": t.Connect, "envelope": t.Envelope, "body": t.Body, "final_reply": t.FinalReply} {
			r.metrics.submit.WithLabelValues(r.receipt.Relay, phase).Observe(took.Seconds())
		}
	}

	level, message := zapcore.InfoLevel, "mail "+string(r.state)
	switch {
	case r.trouble:
		level = zapcore.ErrorLevel
	case r.state != record.Accepted:
		level = zapcore.WarnLevel
	}
	if entry := r.log.Check(level, message); entry != nil {
		entry.Write(r.fields(kind)...)
	}
}

func (r *run) fields(kind string) []zap.Field {
	f := []zap.Field{
		zap.String("id", r.task.ID), zap.String("kind", kind), zap.String("purpose", r.task.Mail.Purpose),
		zap.String("to", mask(r.task.Mail.To)), zap.String("state", string(r.state)),
	}
	text := func(key, value string) {
		if value != "" {
			f = append(f, zap.String(key, value))
		}
	}
	text("reason", r.result.Reason)
	text("relay", r.result.Relay)
	if r.result.Code != 0 {
		f = append(f, zap.Int("code", r.result.Code))
	}
	text("enhanced_code", r.result.Enhanced)
	text("queue_id", r.result.QueueID)
	if r.attempt != nil {
		f = append(f, zap.Int("sending", r.attempt.Sending), zap.Int("try", r.attempt.Try),
			zap.String("message_id", messageID(r.attempt, r.From.Address)))
	}
	var failure *submission.Error
	if errors.As(r.cause, &failure) {
		text("phase", string(failure.Phase))
	}
	if r.cause != nil {
		text("error", r.cause.Error())
	}
	if !r.next.IsZero() {
		f = append(f, zap.Time("next_try", r.next.UTC().Truncate(time.Second)))
	}
	if r.task.Resend == 0 && !r.task.CreatedAt.IsZero() {
		f = append(f, zap.Int64("queued_ms", r.started.Sub(r.task.CreatedAt).Milliseconds()))
	}
	return append(f, ms("open_ms", r.timings.open),
		ms("compose_ms", r.timings.compose), ms("submit_ms", r.timings.submit), ms("record_ms", r.timings.record), ms("total_ms", time.Since(r.started)))
}

func ms(key string, d time.Duration) zap.Field {
	return zap.Float64(key, float64(d.Microseconds())/1000)
}

// mask keeps what an operator needs of an address: the first letter and the domain.
func mask(address string) string {
	local, domain, found := strings.Cut(address, "@")
	if !found {
		return ""
	}
	return local[:1] + "***@" + domain
}
