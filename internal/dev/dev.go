// Package dev runs everything that a worker needs inside this process: a Redis, a submission server
// and an inbox that shows the mails. All of it listens on loopback only. Nothing has to be
// installed, and nothing leaves the machine.
//
// [Start] returns an [Env], which has the addresses of the servers, and the certificates and the
// login that a worker needs.
//
//   - Redis is miniredis. It keeps all data in memory until [Env.Close].
//   - The submission server speaks TLS from the first byte on one port (RFC 8314 section 3.3, as on
//     port 465) and STARTTLS on the other (RFC 3207, as on port 587). It accepts no mail before
//     AUTH PLAIN or LOGIN inside TLS. A certification authority that lives only as long as the Env
//     signs its certificate, so a client can verify it. The server delivers nothing: every mail
//     goes to the inbox.
//   - The inbox is a web page. For scripts it answers three requests of Mailpit's HTTP API.
//
// A tag in the recipient's address chooses a failure for every mail to that address. The tag is the
// part of the local part after the last plus sign:
//
//	user+451@, user+550@, ...  RCPT is answered with that reply code; the codes are 421 450 451 452
//	                           454 530 535 550 551 552 553 554 556; 421 also ends the connection,
//	                           as RFC 5321 section 3.8 requires
//	user+drop@                 the mail is kept, and the connection ends without a reply to the dot
//	user+timeout@              the final dot is never answered, and the mail is not kept
//	user+slow@                 the mail is kept, and the final dot is answered after 3 seconds
//
// With +drop and +timeout a client gets no reply to the final dot, so it cannot tell whether the
// mail arrived. With +drop it did, with +timeout it did not.
//
// The server answers 535 (authentication failed) at RCPT, because it learns the recipient only
// then. A client sees the same when its login is revoked in the middle of a session. A later AUTH
// succeeds.
package dev

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"sync"

	"example.com/securemail/internal/secret"
)

// The addresses that Start tries first if [Options] has none.
const (
	defaultRedisAddr      = "127.0.0.1:6379"
	defaultSMTPSAddr      = "127.0.0.1:1465"
	defaultSubmissionAddr = "127.0.0.1:1587"
	defaultInboxAddr      = "127.0.0.1:8025"
)

// Options has the addresses to listen on. Each is host:port with a loopback host; port 0 means any
// free port. An empty address means the default one or, if its port is in use, the next free port
// above it.
type Options struct {
	RedisAddr      string // default 127.0.0.1:6379
	SMTPSAddr      string // submission with implicit TLS; default 127.0.0.1:1465
	SubmissionAddr string // submission with STARTTLS; default 127.0.0.1:1587
	InboxAddr      string // the inbox page and its API over HTTP; default 127.0.0.1:8025
}

// Env is a running environment. It is safe for concurrent use.
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

// Start starts all servers. They run until [Env.Close]. ctx bounds only the start, because a worker
// that finishes its mails after a signal still needs Redis. Start fails if an address is not on
// loopback, or is in use. On an error nothing is left running.
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

// Close stops every server, drops every connection, and returns when every goroutine has ended.
// Calls of Redis that are running get an error, so close the clients of the embedded Redis first. A
// second Close does nothing.
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

// RedisAddr returns the host:port of the embedded Redis, which needs no password.
func (e *Env) RedisAddr() string { return e.redis.addr }

// SMTPSAddr returns the host:port of the submission server that speaks TLS from the first byte.
func (e *Env) SMTPSAddr() string { return e.smtps.addr() }

// SubmissionAddr returns the host:port of the submission server that requires STARTTLS.
func (e *Env) SubmissionAddr() string { return e.submission.addr() }

// InboxURL returns the URL of the inbox page, without a trailing slash.
func (e *Env) InboxURL() string { return "http://" + e.inbox.addr() }

// ServerName returns the name in the certificate of the submission servers. The certificate also
// has 127.0.0.1 and ::1.
func (e *Env) ServerName() string { return serverName }

// RootCAs returns the authority that signed the certificate of the submission servers, for a client
// to trust.
func (e *Env) RootCAs() *x509.CertPool { return e.roots.Clone() }

// Username returns the user name for AUTH on the submission servers.
func (e *Env) Username() string { return username }

// Password returns the password for AUTH. It is new at every start.
func (e *Env) Password() secret.String { return e.password }

// Messages returns the mails in the inbox, oldest first. The inbox keeps the newest 1,000. Callers
// share the contents and must not change them.
func (e *Env) Messages() []Message { return e.mailbox.all() }

// Wait returns the oldest mail in the inbox for which match reports true. If there is none, Wait
// waits for one until ctx ends, and then returns the error of ctx. Wait may call match several
// times for the same mail.
func (e *Env) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	return e.mailbox.wait(ctx, match)
}
