// Package submission hands finished messages to a submission server (RFC 6409): port 465 with TLS
// from the first byte, or port 587 with a STARTTLS that may not fail (RFC 8314). Only these two
// modes exist. Nothing but EHLO, STARTTLS and QUIT is ever written in clear.
//
// One conversation, in order:
//
//  1. The message and its envelope are checked and dot-stuffed. What may not leave is refused
//     before anything is dialled.
//  2. TCP, and on port 465 TLS: 1.2 or better, the certificate verified against Relay.Host
//     (RFC 7817). Never otherwise.
//  3. The greeting, and EHLO.
//  4. On port 587 STARTTLS (RFC 3207), TLS as in step 2, and EHLO again: all that was said in clear
//     is forgotten.
//  5. If the relay has a user name, AUTH (RFC 4954): PLAIN, or LOGIN where PLAIN is not offered;
//     with an access token XOAUTH2, or OAUTHBEARER.
//  6. MAIL, RCPT and DATA: pipelined where PIPELINING is offered (RFC 2920), one by one otherwise.
//     The first refusal decides. The body leaves only after a 354.
//  7. The body, in blocks. The last one holds the final dot; the caller is asked once more before it
//     is written.
//  8. The reply to the dot: with a 2yz the server has taken responsibility (RFC 5321 section 6.1).
//  9. The session is kept for the next message, which begins at step 6. QUIT is sent when the
//     session is too old or idle; its failure changes nothing, and it happens in the background.
//
// Every failure is an [*Error]: where it happened, what the server answered, which other mails it
// affects, and whether the server may have taken the mail nevertheless.
//
// Servers do not answer as the standards' tables say: an hourly limit or a sender that is not verified
// comes as "550" in answer to RCPT. So a refusal is read. words.txt says which words are about which
// concept, in several languages; frames.go which combinations of concepts tell what the refusal is
// about; judge.go what the codes tell; and the one table in classify.go what follows. What other
// recipients just got counts, too: opinions.go. testdata/replies.tsv has real replies, each with the
// verdict of a postmaster, and docs/providers.md is made from it.
//
// [Relays] has several relays, in order of priority, each with a pool of sessions and a circuit
// breaker. It does not contact a relay whose circuit is open, keeps to limits, and hands a mail to
// the next relay as long as none may have taken it.
//
// The server is treated as hostile: replies are bounded (2,000 bytes a line, 100 lines, 64 KiB),
// every wait has a deadline, a cancelled context closes the connection, and whatever does not fit
// the protocol ends the conversation.
//
// RFCs: 5321 SMTP, 6409 submission, 8314 TLS for submission, 7817 certificate names, 3207 STARTTLS,
// 4954 AUTH, 4616 PLAIN, 7628 OAUTHBEARER, 6749 OAuth2, 2920 PIPELINING, 1870 SIZE, 6152 8BITMIME,
// 6531 SMTPUTF8, 3461 DSN, 2034 and 3463 enhanced status codes. AUTH LOGIN and XOAUTH2 have no RFC.
package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// ErrClosed is wrapped by what Submit and Check return after Close.
var ErrClosed = errors.New("submission: closed")

// errTotal is the cause of a context that ended because Timeouts.Total was over, not because the
// caller cancelled.
var errTotal = errors.New("submission: the attempt took too long")

// Envelope holds a message's sender and recipient for the server (RFC 5321 section 2.3.1); the
// header section is not looked at. Both are bare addresses in canonical form: dot-atom@domain, the
// domain in lower case and in A-labels.
type Envelope struct {
	From, To string
	// ID names the mail in a notification of its failure (RFC 3461 section 4.4), where the relay offers
	// that. Empty: no name.
	ID string
}

// Acceptance is what the server said when it took responsibility for a message.
type Acceptance struct {
	Relay        string // Relay.Name
	Code         int    // 250
	EnhancedCode string // such as "2.0.0"; empty if the server gave none
	QueueID      string // the server's name for the message, at most 64 of [A-Za-z0-9._-]; empty if none was recognised
	TLSVersion   string // such as "TLS 1.3"
	Timings      Timings
}

// Timings says how long the parts of one submission took.
type Timings struct {
	Connect    time.Duration // TCP, TLS, greeting, EHLO and AUTH
	Envelope   time.Duration // MAIL, RCPT and DATA, with their replies
	Body       time.Duration // until the final dot was written
	FinalReply time.Duration // until it was answered
}

// Info is what Check learnt about a relay.
type Info struct {
	Relay              string
	TLSVersion         string
	CertificateExpires time.Time
	Auth               string // the mechanism of the login; empty for a relay without a user name
	Pipelining         bool
	MaxSize            int64 // octets per message; 0 if the server named no limit
}

// relay is one relay at work: its sessions, its circuit breaker, and what is known of its limits. It
// is safe for use by several goroutines.
type relay struct {
	settings Relay
	pool     *pool
	breaker  *breaker
	opinions opinions

	reserving chan struct{} // holds one value while Limiter.Reserve is being called

	mu        sync.Mutex
	overUntil time.Time // over its limit until then
	limitErr  error     // why
	closed    bool
	running   sync.WaitGroup // calls under way
}

// newRelay returns a relay with these settings, or everything that is wrong with them. It does not
// connect.
func newRelay(settings Relay, b *breaker) (*relay, error) {
	settings, err := settings.complete()
	if err != nil {
		return nil, err
	}
	settings.resumption = tls.NewLRUClientSessionCache(1)
	r := &relay{settings: settings, breaker: b, reserving: make(chan struct{}, 1)}
	r.pool = newPool(&r.settings)
	return r, nil
}

// submit is Turn.Submit for this relay alone.
func (r *relay) submit(ctx context.Context, env Envelope, msg []byte, beforeDot func(context.Context) error) (Acceptance, error) {
	m, err := prepare(r.settings.Name, r.settings.Headers, env, msg)
	if err != nil {
		return Acceptance{}, err
	}
	if err := r.begin(); err != nil {
		return Acceptance{}, err
	}
	defer r.running.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, r.settings.Timeouts.line()+r.settings.Timeouts.Total, errTotal)
	defer cancel()
	for {
		s, begun, err := r.pool.get(ctx)
		if err != nil {
			return Acceptance{}, err
		}
		receipt, stale, err := r.use(ctx, s, begun, m, beforeDot)
		if !stale || ctx.Err() != nil {
			return receipt, err
		}
	}
}

// use sends m over s and returns s to the pool, also if beforeDot panics. stale reports whether the
// caller should try another session. The time of the attempt began when the pool gave s, or the right
// to dial it: a mail that waited in line has as much as any other.
func (r *relay) use(ctx context.Context, s *session, begun time.Time, m *message, beforeDot func(context.Context) error) (receipt Acceptance, stale bool, err error) {
	limits := r.settings.Timeouts
	// Cutting the wait for the final reply short makes second copies (RFC 5321 section 4.5.3.2.6). So
	// the dot leaves only while the whole of FinalReply is left.
	dotBy := begun.Add(limits.Total - limits.FinalReply)
	ctx, cancel := context.WithDeadlineCause(ctx, begun.Add(limits.Total), errTotal)
	defer cancel()
	returned := false
	defer func() {
		if !returned {
			s.abort() // in mid-body: whatever is written on it next would be text of this mail
		}
		r.pool.put(s, returned && err == nil)
	}()
	receipt, err = s.send(ctx, m, dotBy, beforeDot)
	returned = true
	return receipt, s.wentStale(err), err // asked before s is in use by another caller
}

// check connects, logs in and leaves: it proves the settings and sends nothing. Its connection does
// not count for MaxConnections. Its error is an *Error.
func (r *relay) check(ctx context.Context) (Info, error) {
	if err := r.begin(); err != nil {
		return Info{}, err
	}
	defer r.running.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, r.settings.Timeouts.Total, errTotal)
	defer cancel()

	s, err := open(ctx, &r.settings)
	if err != nil {
		return Info{}, err
	}
	defer s.quit()
	return s.info(), nil
}

// close refuses further messages, waits for those under way, and ends the sessions.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
	r.pool.close()
}

func (r *relay) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &Error{Relay: r.settings.Name, Phase: PhasePrepare, Scope: ScopeCaller, Err: ErrClosed, hint: "the relays are closed"}
	}
	r.running.Add(1)
	return nil
}
