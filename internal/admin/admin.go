// Package admin is the worker's own listener, for operators: is the process alive, does it work, how much does it do, and
// what is in the queues.
//
//	/livez     200 while the process runs; checks no dependency
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
	"sync"
	"time"

	"github.com/hibiken/asynqmon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// Config is what the listener shows.
type Config struct {
	Addr     string                // host:port
	Password secret.String         // for /monitor; empty: /monitor is off
	Redis    redis.UniversalClient // fails fast: a scrape must be answered while Redis is away
	Ready    func() error          // why the worker is not ready; nil if it is
	Metrics  *prometheus.Registry
}

// Server is the listener.
type Server struct {
	listener net.Listener
	http     *http.Server
	conns    sync.WaitGroup
}

// Listen opens the port, so that one that is taken is noticed before anything else starts.
func Listen(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin.addr: cannot listen on %s; free that port or set another: %w", c.Addr, err)
	}
	c.Metrics.MustRegister(&queues{c.Redis})
	s := &Server{listener: listener}
	s.http = &http.Server{
		Handler:           routes(c),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		// http.Server's Close waits for no goroutine; the states of the connections tell when theirs have ended.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed:
				s.conns.Done()
			}
		},
	}
	return s, nil
}

// Addr is the address it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until ctx ends, and returns when the requests under way have ended too. They get a second for it, which
// is long for what is asked here; then their connections are closed.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil { // also where a browser keeps a connection that it has not used yet
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if stop() { // it failed by itself
		s.http.Close()
	} else {
		<-stopped
	}
	s.conns.Wait()
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
	pages := monitor(c)
	mux.Handle("/monitor", pages)
	mux.Handle("/monitor/", pages)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "/livez /readyz /metrics /monitor")
	})
	return mux
}

// shared hands asynqmon the client that the worker has.
type shared struct{ redis.UniversalClient }

func (s shared) MakeRedisClient() any { return s.UniversalClient }

// policy keeps the pages to this listener: asynqmon's index page asks Google for its fonts, and looks well without. Its
// own start is an inline script, and its components write inline styles.
const policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

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
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the queues can be looked at here, not changed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		pages.ServeHTTP(w, r)
	})
}

// describe is what /monitor shows of a payload: neither the recipient nor anything that belongs to them, nor the seed.
// Of a malformed one it shows nothing at all: what stands in its fields may not be what belongs there.
func describe(taskType string, payload []byte) string {
	t, err := tasks.ParseTask(taskType, payload)
	switch {
	case errors.Is(err, tasks.ErrNewer):
		return "not shown: another type, or a newer version"
	case err != nil:
		return "not shown: malformed, see the worker's log"
	case t.Resends > 0:
		return fmt.Sprintf("resend %d", t.Resends)
	}
	return fmt.Sprintf("%s for %s, until %s", t.Mail.Kind, t.Mail.Purpose, t.ExpiresAt.Format(time.RFC3339))
}
