package dev

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	maxMessageBytes = 1 << 20
	maxRecipients   = 100             // RFC 5321 section 4.5.3.1.8: at least
	idleTimeout     = 5 * time.Minute // RFC 5321 section 4.5.3.2.7
	replyTimeout    = time.Minute
)

// submissionServer is one port of the submission server.
type submissionServer struct {
	server    *smtp.Server
	listener  *trackedListener
	port      string // Message.Port: "smtps" or "submission"
	users     credentials
	mailbox   *mailbox
	closing   chan struct{}
	accepting sync.WaitGroup
}

func startSubmission(port string, l net.Listener, cert tls.Certificate, users credentials, box *mailbox) *submissionServer {
	s := &submissionServer{
		listener: trackConnections(l),
		port:     port,
		users:    users,
		mailbox:  box,
		closing:  make(chan struct{}),
	}
	s.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{server: s, conn: c}, nil
	}))
	s.server.Domain = serverName
	s.server.MaxMessageBytes = maxMessageBytes
	s.server.MaxRecipients = maxRecipients
	s.server.ReadTimeout = idleTimeout
	s.server.WriteTimeout = replyTimeout
	s.server.ErrorLog = log.New(io.Discard, "", 0) // the client reports its errors
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	var accept net.Listener = s.listener
	if port == "smtps" {
		accept = tls.NewListener(s.listener, config)
	} else {
		s.server.TLSConfig = config // offers STARTTLS
	}
	s.accepting.Go(func() { _ = s.server.Serve(accept) }) // fails only when the listener is closed
	return s
}

func (s *submissionServer) addr() string { return s.listener.Addr().String() }

// close drops every connection and waits for its goroutine. The order matters. Close of go-smtp
// does not wait, and misses a connection that was accepted a moment before. Shutdown waits, but
// only for connections that go-smtp has counted.
func (s *submissionServer) close() error {
	close(s.closing)
	err := s.listener.Close()
	s.accepting.Wait()
	return errors.Join(err, s.server.Shutdown(context.Background()))
}
