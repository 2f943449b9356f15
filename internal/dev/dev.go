// Package dev runs, inside this process and on loopback only, everything a worker needs: a Redis, a submission server
// and an inbox to look at what was mailed. Nothing has to be installed, and nothing leaves the machine.
//
// Begin with [Start]; it returns an [Env] that says where everything listens and what the worker needs to trust and log in.
//
//   - Redis is miniredis. It keeps all data in memory and forgets it at [Env.Close].
//   - The submission server speaks TLS from the first byte on one port (RFC 8314 section 3.3, as on port 465) and
//     STARTTLS on the other (RFC 3207, as on port 587), and takes no mail before AUTH PLAIN or LOGIN inside TLS.
//     Its certificate comes from a certification authority that lives only as long as the Env, so that the client's
//     checks stay switched on. It delivers nothing: every mail ends in the inbox.
//   - The inbox is a web page, and answers three verbs of Mailpit's HTTP API for scripts.
//
// The recipient's address can choose a failure, for every mail to it, by what follows the last plus sign of its local part:
//
//	user+451@, user+550@, ...  RCPT is answered with that reply code (the codes: 421 450 451 452 454 530 535 550 551
//	                           552 553 554 556); 421 also ends the connection, as RFC 5321 section 3.8 wants
//	user+drop@                 the mail is taken and kept, and the connection ends without a reply to the final dot
//	user+timeout@              the final dot is never answered, and the mail is not kept
//	user+slow@                 the mail is kept, and the final dot is answered after 3 seconds
//
// +drop and +timeout look the same to a client, and one mail arrived while the other did not: the two ends of the case
// that SMTP cannot tell apart. 535 (authentication failed) comes at RCPT too, because before it the server does not
// know the recipient; it is what a client sees whose login is withdrawn in the middle of a session. A later AUTH succeeds.
package dev

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"sync"

	"example.com/securemail/internal/secret"
)

// The addresses that are tried first when [Options] names none.
const (
	defaultRedisAddr      = "127.0.0.1:6379"
	defaultSMTPSAddr      = "127.0.0.1:1465"
	defaultSubmissionAddr = "127.0.0.1:1587"
	defaultInboxAddr      = "127.0.0.1:8025"
)

// Options says where to listen. Each is host:port with a loopback host; port 0 takes any free port. An empty one is
// the default address or, if its port is taken, the next free port above it. An address given here that is taken is
// an error.
type Options struct {
	RedisAddr      string // default 127.0.0.1:6379
	SMTPSAddr      string // submission with implicit TLS; default 127.0.0.1:1465
	SubmissionAddr string // submission with STARTTLS; default 127.0.0.1:1587
	InboxAddr      string // the inbox page and its API over HTTP; default 127.0.0.1:8025
}

// Env is a running environment. Its methods may be called from any goroutine.
type Env struct {
	redis             *redisServer
	smtps, submission *submissionServer
	inbox             *inboxServer
	mailbox           *mailbox
	roots             *x509.CertPool
	password          secret.String

	closeOnce sync.Once
	closeErr  error
}

// Start starts all servers. The context bounds the start only: a worker that drains after a signal still needs its
// Redis, so what Start started runs until [Env.Close]. On an error nothing is left running.
func Start(ctx context.Context, o Options) (*Env, error) {
	cert, roots, err := newCertificate()
	if err != nil {
		return nil, err
	}
	e := &Env{mailbox: newMailbox(), roots: roots, password: secret.New(rand.Text())}
	if err := e.start(ctx, o, cert); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close stops every server, drops every connection, and returns when every goroutine has ended. Closing again does
// nothing. Close the clients of the embedded Redis first: a call under way gets an error.
func (e *Env) Close() error {
	e.closeOnce.Do(func() {
		if e.smtps != nil {
			e.closeErr = errors.Join(e.closeErr, e.smtps.close())
		}
		if e.submission != nil {
			e.closeErr = errors.Join(e.closeErr, e.submission.close())
		}
		if e.inbox != nil {
			e.closeErr = errors.Join(e.closeErr, e.inbox.close())
		}
		if e.redis != nil {
			e.redis.close()
		}
	})
	return e.closeErr
}

// RedisAddr returns the host:port of the embedded Redis. It asks for no password.
func (e *Env) RedisAddr() string { return e.redis.addr }

// SMTPSAddr returns the host:port of the submission server that speaks TLS from the first byte.
func (e *Env) SMTPSAddr() string { return e.smtps.addr() }

// SubmissionAddr returns the host:port of the submission server that wants STARTTLS.
func (e *Env) SubmissionAddr() string { return e.submission.addr() }

// InboxURL returns the URL of the inbox page, without a slash at its end.
func (e *Env) InboxURL() string { return "http://" + e.inbox.addr() }

// ServerName returns the name in the certificate of both submission servers. It also carries 127.0.0.1 and ::1.
func (e *Env) ServerName() string { return serverName }

// RootCAs returns what a client must trust to accept that certificate.
func (e *Env) RootCAs() *x509.CertPool { return e.roots.Clone() }

// Username returns the user name for AUTH on both submission servers.
func (e *Env) Username() string { return username }

// Password returns the password for AUTH, which is new at every start.
func (e *Env) Password() secret.String { return e.password }

// Messages returns what arrived, oldest first: at most the newest 1,000 mails. Their contents are shared and must not
// be changed.
func (e *Env) Messages() []Message { return e.mailbox.all() }

// Wait returns the oldest kept mail for which match reports true, and waits for it to arrive until ctx ends. It may
// ask match about the same mail more than once.
func (e *Env) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	return e.mailbox.wait(ctx, match)
}
