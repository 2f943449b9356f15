package dev

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// inboxServer serves the inbox page and its API.
type inboxServer struct {
	server   *http.Server
	listener net.Listener
	serving  sync.WaitGroup
	conns    sync.WaitGroup
}

// inbox answers the requests. Its mails are secret, because they hold live credentials, and not
// trusted, because any program on this machine could have sent them.
type inbox struct {
	mailbox                      *mailbox
	redisAddr, smtps, submission string
}

func startInbox(l net.Listener, i inbox) *inboxServer {
	s := &inboxServer{listener: l}
	s.server = &http.Server{
		Handler:           guard(i.routes()),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
		// Close of http.Server drops connections without waiting for their goroutines. Their states
		// tell when they end.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed:
				s.conns.Done()
			}
		},
	}
	s.serving.Go(func() { _ = s.server.Serve(l) }) // the only error is that the listener was closed
	return s
}

func (s *inboxServer) addr() string { return s.listener.Addr().String() }

func (s *inboxServer) close() error {
	err := s.listener.Close()
	s.serving.Wait()
	err = errors.Join(err, s.server.Close())
	s.conns.Wait()
	return err
}

func (i inbox) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", i.showInbox)
	mux.HandleFunc("/list", i.showList)
	mux.HandleFunc("/mail/{id}", i.showMail)
	mux.HandleFunc("/mail/{id}/html", i.serveHTML)
	mux.HandleFunc("/mail/{id}/part/{part}", i.servePart)
	mux.HandleFunc("/api/v1/messages", i.apiMessages)
	mux.HandleFunc("/api/v1/message/{id}", i.apiMessage)
	mux.HandleFunc("/api/v1/message/{id}/raw", i.apiRaw)
	return mux
}

// guard sets the headers of every response, and refuses requests that do not come from a person or
// a script on this machine. If Host is not a loopback name, a web page elsewhere has its own name
// resolve to this machine, in order to read the mails (DNS rebinding).
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-DNS-Prefetch-Control", "off")
		switch {
		case !isLoopbackHost(r.Host):
			http.Error(w, "The inbox answers to localhost, 127.0.0.1 and [::1] only.", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "The inbox can be read, not changed.", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]") // without a port, which means 80
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
