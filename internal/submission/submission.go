// Package submission hands finished messages to a submission server (RFC 6409): port 465 with TLS from the first byte, or
// port 587 with a STARTTLS that may not fail (RFC 8314). There is no third way, and nothing but EHLO, STARTTLS and QUIT is
// ever written in clear.
//
// One conversation, in order:
//
//  1. The message and its envelope are checked and dot-stuffed. What may not leave is refused before anything is dialled.
//  2. TCP, and on port 465 TLS: 1.2 or better, the certificate verified against Relay.Host (RFC 7817). Never otherwise.
//  3. The greeting, and EHLO.
//  4. On port 587 STARTTLS (RFC 3207), TLS as in step 2, and EHLO again: all that was said in clear is forgotten.
//  5. If the relay has a user name, AUTH (RFC 4954): PLAIN, or LOGIN where PLAIN is not offered; with an access token XOAUTH2, or
//     OAUTHBEARER.
//  6. MAIL, RCPT and DATA: in one flight where PIPELINING is offered (RFC 2920), one by one otherwise.
//     The first refusal decides. The body leaves only after a 354.
//  7. The body, in blocks. The last one holds the final dot; the caller is asked once more before it is written.
//  8. The reply to the dot: with a 2yz the server has taken responsibility (RFC 5321, section 6.1).
//  9. The session is kept for the next message, which begins at step 6. QUIT comes when it has served long enough or nobody
//     wants it; its failure changes nothing, and it happens behind the caller's back.
//
// Every failure is an [*Error]: where it happened, what the server answered, who has the trouble, and whether the mail may
// have been taken all the same. What follows from it is the caller's decision.
//
// [Client] keeps the sessions of one relay. [Relays] has several relays, in order of priority: it leaves alone for a while what
// fails, keeps to limits, and hands a mail to the next relay as long as its body has not left.
//
// The server is treated as hostile: replies are bounded (2,000 bytes a line, 100 lines, 64 KiB), every wait has a deadline,
// a cancelled context closes the connection, and whatever does not fit the protocol ends the conversation.
//
// RFCs: 5321 SMTP, 6409 submission, 8314 TLS for submission, 7817 certificate names, 3207 STARTTLS, 4954 AUTH, 4616 PLAIN,
// 7628 OAUTHBEARER, 6749 OAuth2, 2920 PIPELINING, 1870 SIZE, 6152 8BITMIME, 6531 SMTPUTF8, 2034 and 3463 enhanced status
// codes. AUTH LOGIN and XOAUTH2 have no RFC.
package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// ErrClosed is wrapped by what Submit and Check return after Close.
var ErrClosed = errors.New("submission: the client is closed")

// errTotal is the cause of a context that ended because Timeouts.Total was over, which is not the caller's doing.
var errTotal = errors.New("submission: the whole try took too long")

// Envelope is who a message is from and to, for the server (RFC 5321, section 2.3.1); the header section is the message's
// own affair. Both are bare addresses in canonical form: dot-atom@domain, the domain in lower case and in A-labels.
type Envelope struct {
	From, To string
}

// Receipt is what the server said when it took responsibility for a message.
type Receipt struct {
	Relay      string // Relay.Name
	Code       int    // 250
	Enhanced   string // such as "2.0.0"; empty if the server gave none
	QueueID    string // the server's name for the message, at most 64 of [A-Za-z0-9._-]; empty if none was recognised
	TLSVersion string // such as "TLS 1.3"
	Timings    Timings
}

// Timings is how long the parts of one submission took.
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
	Auth               string // the mechanism that logged us in; empty for a relay without a user name
	Pipelining         bool
	MaxSize            int64 // octets per message; 0 if the server named no limit
}

// Client submits messages to one relay, over sessions that it keeps. It is safe for use by several goroutines.
type Client struct {
	relay Relay
	pool  *pool

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // calls under way
}

// NewClient returns a Client for r, or everything that is wrong with r. It does not connect.
func NewClient(r Relay) (*Client, error) {
	r, err := r.complete()
	if err != nil {
		return nil, err
	}
	r.resumption = tls.NewLRUClientSessionCache(1)
	c := &Client{relay: r}
	c.pool = newPool(&c.relay)
	return c, nil
}

// Submit hands one message to the relay. msg is a whole message (RFC 5322) whose only line end is CRLF, with lines of at most
// 998 octets and no NUL; a final CRLF is added where it is missing.
//
// beforeDot, if not nil, is called right before the last block of the body, the one with the final dot, is written. If it
// returns an error, the connection is closed instead, so that the server drops the half message, and the error is wrapped.
//
// A nil error means that the server has taken responsibility. Any other is an *Error; its Ambiguous says whether the server
// may have taken the message nevertheless. Submit ends when ctx does, except between the final dot and the reply to it:
// that reply is awaited for Timeouts.FinalReply, because without it the message would have to be sent again. In any case
// Submit ends after Timeouts.Total.
func (c *Client) Submit(ctx context.Context, env Envelope, msg []byte, beforeDot func(context.Context) error) (Receipt, error) {
	m, err := prepare(c.relay.Name, env, msg)
	if err != nil {
		return Receipt{}, err
	}
	if err := c.begin(); err != nil {
		return Receipt{}, err
	}
	defer c.running.Done()
	limits := c.relay.Timeouts
	// Who cuts the wait for the final reply short makes second copies (RFC 5321, section 4.5.3.2.6). So the dot leaves
	// only while the whole of FinalReply is left.
	dotBy := time.Now().Add(limits.Total - limits.FinalReply)
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Total, errTotal)
	defer cancel()

	for {
		s, err := c.pool.get(ctx)
		if err != nil {
			return Receipt{}, err
		}
		receipt, stale, err := c.lend(ctx, s, m, dotBy, beforeDot)
		if !stale || ctx.Err() != nil {
			return receipt, err
		}
	}
}

// lend sends m over s and gives s back, also if beforeDot panics. stale says that another session is worth a try.
func (c *Client) lend(ctx context.Context, s *session, m *message, dotBy time.Time, beforeDot func(context.Context) error) (receipt Receipt, stale bool, err error) {
	returned := false
	defer func() {
		if !returned {
			s.kill() // in mid-body: whatever was written on it next would be text of this mail
		}
		c.pool.put(s, returned && err == nil)
	}()
	receipt, err = s.send(ctx, m, dotBy, beforeDot)
	returned = true
	return receipt, s.wentStale(err), err // asked before s is somebody else's
}

// Check connects, logs in and leaves: it proves the settings and sends nothing. Its connection is one besides those of
// MaxConnections. Its error is an *Error.
func (c *Client) Check(ctx context.Context) (Info, error) {
	if err := c.begin(); err != nil {
		return Info{}, err
	}
	defer c.running.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, c.relay.Timeouts.Total, errTotal)
	defer cancel()

	s, err := open(ctx, &c.relay)
	if err != nil {
		return Info{}, err
	}
	defer s.quit()
	return s.info(), nil
}

// Close refuses further messages, waits for those under way, and ends the sessions. To hurry it, cancel their contexts.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
	c.pool.close()
	return nil
}

func (c *Client) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return &Error{Relay: c.relay.Name, Phase: PhasePrepare, Scope: ScopeCaller, Err: ErrClosed, words: "the client is closed"}
	}
	c.running.Add(1)
	return nil
}
