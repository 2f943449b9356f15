// Package admin is the worker's HTTP listener for operators.
//
//	/livez     200 while the process runs; checks no dependency
//	/readyz    200 while the worker takes tasks and reaches Redis, and otherwise 503 with the reason
//	/metrics   the metrics, for Prometheus
//	/monitor   the queues: asynqmon, read-only, behind a password, without secrets and addresses
//
// The listener belongs on loopback, or in a container whose port is published there, because the
// first three paths need no password.
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

// Config holds what the listener needs. All fields but Password are required.
type Config struct {
	Addr     string                // host:port; port 0 means any free port
	Password secret.String         // for /monitor; without one /monitor is off
	Redis    redis.UniversalClient // must fail fast: scrapes are answered while Redis is down
	Ready    func() error          // returns nil, or why the worker is not ready
	Metrics  *prometheus.Registry  // Listen adds the metrics of the queues
}

// Server is the listener.
type Server struct {
	listener net.Listener
	http     *http.Server
	conns    sync.WaitGroup
}

// Listen opens the port. It is apart from [Server.Serve], so that a port in use is an error before
// anything else starts.
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
		// Close of http.Server does not wait for goroutines. The states of the connections tell
		// when they have ended.
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

// Addr returns the host:port on which the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers requests until ctx ends, and then returns nil. Requests that are running get one
// second, which is long for these paths, and then Serve closes their connections. It returns when
// all of them have ended. Call Serve once.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		// Shutdown also fails if a browser keeps a connection that it has not used yet.
		if s.http.Shutdown(ctx) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if stop() { // ctx has not ended: Serve failed
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

// shared gives asynqmon the worker's client.
type shared struct{ redis.UniversalClient }

func (s shared) MakeRedisClient() any { return s.UniversalClient }

// policy lets the pages load only from this listener. asynqmon's index page requests fonts from
// Google, and looks well without them. Its first script is inline, and its components write inline
// styles.
const policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

// monitor returns asynqmon, read-only and behind the password. Without a password it refuses every
// request, so that the queues are never open by mistake.
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
			http.Error(w, "log in with any user name and the password of admin.password", http.StatusUnauthorized)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "/monitor is read-only", http.StatusMethodNotAllowed)
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

// describe returns the text that /monitor shows for a payload. It holds nothing of the recipient
// and no seed. It holds nothing of a malformed payload, because any field may hold anything.
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
