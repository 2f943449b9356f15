// Package record keeps in Redis what is known of a mail: where it stands, how it ended, and what its secret is derived
// from. asynq forgets a task when it is done, and drops archived ones without a word; the record is what an operator,
// and the application that asked for the mail, can rely on.
//
// A record is one hash, securemail:{<id>}, which lives until the secret expires plus a retention (7 days by default).
// It holds the seed but neither the secret nor the address. What a resend needs is sealed in a key beside it,
// securemail:{<id>}:mail, which goes when the credential dies. What is counted per recipient is in another hash,
// securemail:{r:<keyed hash of the address>}. Whatever changes one is one Lua script over that one, so that two
// workers, or one worker and a dead connection's second try, cannot interleave, and the two may be in different slots
// of a cluster.
//
// # States of a mail
//
//	            Open                 Accept
//	(queued) ─────────▶ sending ───────────────▶ accepted
//	                     │  ▲  │  End
//	               Defer │  │  └───────────────▶ refused | expired | revoked | unknown
//	                     ▼  │ Open
//	                   deferred
//
// A mail that has no record yet is queued: the task is in asynq's hands alone. A mail that has ended is queued again
// for a resend, as long as its credential lives: the sending counts one up, and all of the above begins again. sending
// means that a worker holds the send lock, or held it when it died. deferred means that a try failed and another will
// follow. The five outcomes are final: no script leaves them again, with one exception. A worker that was cut off after
// the relay's 250 may find that another one has meanwhile given the mail up; accepted then wins, because it is what
// happened.
//
// # States of a credential
//
// The credential has states of its own. Open makes it live, and it can be answered from then on, also while its mail is
// still sending, or unknown: the person may have it already.
//
//	        right answer
//	live ─┬───────────────────▶ used
//	      ├───────────────────▶ locked      MaxMisses wrong answers
//	      ├───────────────────▶ revoked     Revoke
//	      └───────────────────▶ expired     by the clock alone; nothing writes it down
//
// A TOTP starts as pending, which is live for it, and goes to active instead of used:
//
//	pending ──right answer──▶ active ─┬─▶ locked      MaxMissesActive wrong answers in a row
//	                                  ├─▶ used        Export: the application checks its codes from now on
//	                                  └─▶ revoked
//
// The record of an active TOTP has no end. What is used up by a right answer is its time step: no answer of that step
// or of an earlier one is right any more (RFC 6238 section 5.2).
//
// Revoke also ends a mail that is queued or deferred. The mail of a credential that is dead is not sent any more: the
// next Open ends it, as accepted if the credential was used, because then it was evidently mailed.
//
// An answer takes two flights. [Store.StartCheck] reads the record and charges the recipient's counter; the caller
// compares; [Store.Settle] checks the state, counts the miss or uses the credential up, and gives the charge back
// unless it was a miss. Because it is charged first and settled by one script, no number of parallel answers gets more
// comparisons than the limits, and of all right answers one wins. A call that go-redis repeats, because its reply was
// lost, carries the token of the first one and gets the same answer. A process that dies in between leaves the charge
// standing.
//
// # The send lock
//
// Open takes the lock for [LockTime], and Renew prolongs it while the holder lives. At most one worker sends a mail at
// a time as long as the holder stops when Renew says that it lost the lock. The lock's clock is Redis's own. A lock is
// named by a token that is new for every try, which also makes Open safe to repeat when its reply was lost: the same
// token gets the same answer again and the try is counted once.
package record

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// LockTime is how long a send lock holds without being renewed.
const LockTime = 15 * time.Second

// State is where a mail stands.
type State string

// The states of a mail. The last five are outcomes.
const (
	Queued   State = "queued"
	Sending  State = "sending"
	Deferred State = "deferred"
	Accepted State = "accepted"
	Refused  State = "refused"
	Expired  State = "expired"
	Revoked  State = "revoked"
	Unknown  State = "unknown"
)

// Final reports whether s is an outcome.
func (s State) Final() bool {
	switch s {
	case Accepted, Refused, Expired, Revoked, Unknown:
		return true
	}
	return false
}

// ErrNotFound says that there is no record of an id.
var ErrNotFound = errors.New("no record of this mail")

// ErrLostLock says that somebody else may be sending the mail by now. Its holder has to stop.
var ErrLostLock = errors.New("the send lock was lost")

// LockedError says that somebody else holds the send lock.
type LockedError struct{ For time.Duration }

func (e *LockedError) Error() string {
	return fmt.Sprintf("another worker holds the send lock for %v", e.For.Round(time.Millisecond))
}

// EndedError says that the mail has its outcome already.
type EndedError struct{ Outcome State }

func (e *EndedError) Error() string { return "the mail has ended: " + string(e.Outcome) }

// Mail is what Open writes if there is no record yet.
type Mail struct {
	ID        string
	Kind      string
	Purpose   string
	Seed      []byte
	KeyID     string // of the key ring's active key
	Digits    int    // of a code; 0 for the other kinds
	Address   string // what [AddressTag] makes of the recipient's address
	TOTP      []byte // the shared secret of a TOTP, sealed under KeyID; empty for the other kinds
	Sealed    []byte // what a resend needs, sealed under KeyID
	Sending   int    // 0 for the first sending, one more for every resend
	CreatedAt time.Time
	ExpiresAt time.Time
}

// fields is what a record of m begins with.
func (m Mail) fields(sending, tries int) []any {
	f := []any{"v", 1, "kind", m.Kind, "purpose", m.Purpose, "seed", m.Seed, "kid", m.KeyID, "digits", m.Digits, "to", m.Address,
		"created", m.CreatedAt.UnixMilli(), "expires", m.ExpiresAt.UnixMilli(), "sending", sending, "tries", tries}
	if len(m.TOTP) > 0 {
		return append(f, "cred", string(CredentialPending), "totp", m.TOTP)
	}
	return append(f, "cred", string(CredentialLive))
}

// Attempt is one try to send a mail, under the send lock. What the record had before counts more than what the task
// says: a mail that was opened before keeps its seed and key id, and with them its secret, on a resend too.
type Attempt struct {
	Mail
	Try int // of this sending, from 1
	// LastReason and LastRelay are what the try before came to; empty for the first one.
	LastReason, LastRelay string
	token                 string
	ours                  bool // Mail is what Open was given: the record did not begin under another key
}

// Result is what a try came to.
type Result struct {
	Reason   string
	Code     int
	Enhanced string
	Relay    string
	QueueID  string
}

// Store reads and writes records.
type Store struct {
	rdb       redis.UniversalClient
	retention time.Duration
}

// NewStore returns a store over rdb, which stays the caller's to close. Records live for retention after their secret's
// expiry.
func NewStore(rdb redis.UniversalClient, retention time.Duration) *Store {
	return &Store{rdb, retention}
}

func key(id string) string { return "securemail:{" + id + "}" }

var (
	//go:embed lua/open.lua
	openSource string
	//go:embed lua/renew.lua
	renewSource string
	//go:embed lua/locked.lua
	lockedSource string
	//go:embed lua/settle.lua
	settleSource string

	openScript   = redis.NewScript(openSource)
	renewScript  = redis.NewScript(renewSource)
	lockedScript = redis.NewScript(lockedSource)
	settleScript = redis.NewScript(settleSource)
)

// Open takes the send lock of the mail, creating its record from m if there is none, and counts a try. It returns a
// [*LockedError] or an [*EndedError] where there is nothing to send now, or ever.
func (s *Store) Open(ctx context.Context, m Mail) (*Attempt, error) {
	a := &Attempt{Mail: m, token: rand.Text()}
	args := append([]any{a.token, LockTime.Milliseconds(), m.Sealed, m.ExpiresAt.UnixMilli(), m.ExpiresAt.Add(s.retention).UnixMilli(), m.Sending},
		m.fields(0, 0)...)
	reply, err := openScript.Run(ctx, s.rdb, []string{key(m.ID), sealedKey(m.ID)}, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	n := make([]int, len(reply))
	for i, field := range reply {
		n[i], _ = strconv.Atoi(field) // the script made the numbers; what is not one is not read as one below
	}
	switch reply[0] {
	case "locked":
		return nil, &LockedError{time.Duration(n[1]) * time.Millisecond}
	case "ended":
		return nil, &EndedError{State(reply[1])}
	}
	a.ours = reply[2] == m.KeyID
	a.Seed, a.KeyID, a.Digits, a.Sending, a.Try = []byte(reply[1]), reply[2], n[3], n[4], n[5]
	a.LastReason, a.LastRelay = reply[8], reply[9]
	a.CreatedAt, a.ExpiresAt = time.UnixMilli(int64(n[6])).UTC(), time.UnixMilli(int64(n[7])).UTC()
	return a, nil
}

// Renew holds the send lock for another [LockTime]. It returns [ErrLostLock] if the lock is somebody else's, or if the
// credential was revoked: then the next Open says so.
func (s *Store) Renew(ctx context.Context, a *Attempt) error {
	held, err := renewScript.Run(ctx, s.rdb, []string{key(a.ID)}, a.token, LockTime.Milliseconds()).Bool()
	if err != nil {
		return fmt.Errorf("renew the send lock: %w", err)
	}
	if !held {
		return ErrLostLock
	}
	return nil
}

// Locked reports whether somebody holds the send lock of the mail, and with it will say what becomes of it.
func (s *Store) Locked(ctx context.Context, id string) (bool, error) {
	locked, err := lockedScript.Run(ctx, s.rdb, []string{key(id)}).Bool()
	if err != nil {
		return false, fmt.Errorf("look at the send lock: %w", err)
	}
	return locked, nil
}

// Accept writes down that a relay took the mail, and gives the lock back. It may be repeated until it succeeds, and it
// takes effect whoever holds the lock. If Redis has lost the record since Open, as a failover can, it is written anew: the
// person has the mail, and shall find that its secret is right.
func (s *Store) Accept(ctx context.Context, a *Attempt, r Result) error {
	if !a.ours { // what is sealed here is under another key than the record's
		return s.settle(ctx, a.Mail, a.token, Accepted, r, 0, true, nil)
	}
	return s.settle(ctx, a.Mail, a.token, Accepted, r, 0, true, a.Sealed, a.fields(a.Sending, a.Try)...)
}

// Defer writes down a failed try, to be followed by another at next, and gives the lock back. A try that did not
// count, because the trouble was not the mail's, is given back. A mail that was revoked meanwhile ends as revoked.
func (s *Store) Defer(ctx context.Context, a *Attempt, r Result, next time.Time, counts bool) error {
	return s.settle(ctx, a.Mail, a.token, Deferred, r, next.UnixMilli(), counts, nil)
}

// End gives the mail its outcome and the lock back. Like Defer, it leaves a mail alone that somebody else is sending by
// now, and returns a [*LockedError].
func (s *Store) End(ctx context.Context, a *Attempt, outcome State, r Result) error {
	return s.settle(ctx, a.Mail, a.token, outcome, r, 0, true, nil)
}

// EndUnopened gives an outcome to a mail that was never opened for sending, such as one whose task came too late.
// A mail that has an outcome keeps it; one that somebody is sending right now is left alone, with a [*LockedError].
func (s *Store) EndUnopened(ctx context.Context, m Mail, outcome State, r Result) error {
	return s.settle(ctx, m, "", outcome, r, 0, true, nil, "kind", m.Kind, "purpose", m.Purpose,
		"created", m.CreatedAt.UnixMilli(), "expires", m.ExpiresAt.UnixMilli())
}

// settle moves a mail out of sending. sealed and fields are for a record that is not there.
func (s *Store) settle(ctx context.Context, m Mail, token string, to State, r Result, next int64, counts bool, sealed []byte, fields ...any) error {
	args := append([]any{token, string(to), r.Reason, r.Code, r.Enhanced, r.Relay, r.QueueID, next, counts,
		m.ExpiresAt.Add(s.retention).UnixMilli(), m.Sending, sealed, m.ExpiresAt.UnixMilli()}, fields...)
	locked, err := settleScript.Run(ctx, s.rdb, []string{key(m.ID), sealedKey(m.ID)}, args...).Int64()
	switch {
	case err != nil:
		return fmt.Errorf("write the record as %s: %w", to, err)
	case locked > 0:
		return &LockedError{time.Duration(locked) * time.Millisecond}
	}
	return nil
}
