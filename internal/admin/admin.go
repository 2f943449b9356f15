// Package admin is the worker's own listener, for whoever operates it: is the process alive, does it work, how much,
// and what is in the queues.
//
//	/livez     200 while the process runs; asks nobody
//	/readyz    200 while the worker takes tasks and reaches Redis, 503 with the reason otherwise
//	/metrics   Prometheus
//	/monitor   asynqmon, read-only, behind a password, with payloads cut down to what is no secret
//
// It belongs on loopback, or inside a container whose port is published there: the first three ask for no password.
package admin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// Config is what the listener shows.
type Config struct {
	Addr     string        // host:port
	Password secret.String // for /monitor; empty: /monitor is off
	Redis    redis.UniversalClient
	Ready    func() error // why the worker is not ready; nil if it is
	Metrics  *prometheus.Registry
}

// Server is the listener.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens the port, so that one that is taken is noticed before anything else starts.
func Listen(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin.addr: cannot listen on %s; free that port or set another: %w", c.Addr, err)
	}
	c.Metrics.MustRegister(&queues{asynq.NewInspectorFromRedisClient(c.Redis)})
	return &Server{listener, &http.Server{
		Handler:           routes(c),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// Addr is the address it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stopped <- s.http.Shutdown(ctx)
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func routes(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}))
	monitor := monitor(c)
	mux.Handle("/monitor", monitor)
	mux.Handle("/monitor/", monitor)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "/livez /readyz /metrics /monitor")
	})
	return mux
}

// shared hands asynqmon the client that the worker has.
type shared struct{ redis.UniversalClient }

func (s shared) MakeRedisClient() any { return s.UniversalClient }

func monitor(c Config) http.Handler {
	if c.Password.IsZero() {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "set admin.password (SECUREMAIL_ADMIN_PASSWORD_FILE) to see the queues here", http.StatusForbidden)
		})
	}
	pages := asynqmon.New(asynqmon.Options{
		RootPath:         "/monitor",
		RedisConnOpt:     shared{c.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(describe),
		ReadOnly:         true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(password), []byte(c.Password.Reveal())) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="securemail", charset="UTF-8"`)
			http.Error(w, "the password of admin.password, with any user name", http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		pages.ServeHTTP(w, r)
	})
}

// describe is what /monitor shows of a payload: neither the recipient nor anything that belongs to them, nor the seed.
func describe(taskType string, payload []byte) string {
	t, err := tasks.ParseTask(asynq.NewTask(taskType, payload))
	switch {
	case err != nil:
		return "not shown: " + err.Error()
	case t.Resend > 0:
		return fmt.Sprintf("resend %d", t.Resend)
	}
	return fmt.Sprintf("%s for %s, created %s, expires %s", t.Mail.Kind, t.Mail.Purpose, t.CreatedAt.Format(time.RFC3339), t.ExpiresAt.Format(time.RFC3339))
}
