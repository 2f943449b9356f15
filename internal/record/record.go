// Package record keeps in Redis what is known of a mail: its state, how it ended, and what its secret is derived from.
// asynq forgets a task when it is done, and drops archived ones without notice. Operators, and the application that
// asked for the mail, rely on the record.
//
// A record is one hash, securemail:{<id>}, which lives until the secret expires plus a retention (7 days by default).
// It holds the seed but neither the secret nor the address. What the secret depends on, and who can verify it until when, is
// covered by a MAC under the key ring ([Entry.Sign]): whoever can write to Redis cannot change that. States and counters
// are Redis' word. What a resend needs is sealed in a key beside it,
// securemail:{<id>}:mail, which goes when the credential dies. Wrong answers are counted per recipient and purpose, in
// the recipient's counters of package limits. Whatever changes one of these keys is one Lua script over that key. So
// two workers, or the repeated call of a broken connection, cannot interleave, and the keys may be in different slots
// of a Cluster.
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
// A mail that has no record yet is queued: only asynq has its task. A mail that has ended is queued again for a resend,
// as long as its credential lives: resends counts one up, and everything above starts over. In sending, a worker holds
// the send lock, or held it when it died. In deferred, an attempt failed and another will follow. The five outcomes are
// final, with one exception: a worker that was cut off after the relay's 250 may find that another one has given the
// mail up meanwhile. Accepted then overrides, because it is what happened.
//
// # States of a credential
//
// Open makes the credential live. It can be verified from then on, also while its mail is still sending, or unknown:
// the person may have it already.
//
//	        right answer
//	live ─┬───────────────────▶ verified
//	      ├───────────────────▶ locked      MaxMisses wrong answers
//	      ├───────────────────▶ revoked     Revoke
//	      └───────────────────▶ expired     by the clock alone; nothing writes it down
//
// A TOTP starts as pending, and becomes active instead of verified:
//
//	pending ──right answer──▶ active ─┬─▶ locked      MaxMissesActive wrong answers in a row
//	                                  │   ◀─ Unlock
//	                                  ├─▶ exported    Export: the application checks its codes from now on
//	                                  └─▶ revoked
//
// The record of an active TOTP has no end; nor has that of one that was active and is locked. A right answer uses up its time step: no answer of that step or of an earlier
// one is right any more (RFC 6238 section 5.2).
//
// Revoke also ends a mail that is queued or deferred. The mail of a dead credential is not sent any more: the next Open
// ends it, as accepted if the credential was verified, because then it was evidently mailed.
//
// An answer takes two round trips. [Store.BeginVerify] reads the record and the recipient's counters, and changes nothing.
// The caller compares. [Store.FinishVerify] gives the answer its place in the counters, and counts the miss or uses the
// credential up. An answer that finds the counters full has no result, right or wrong. So no number of parallel answers
// gets more results than the limits, answers in progress keep nobody else out, and exactly one of all right answers
// succeeds. A call that go-redis repeats because its reply was lost carries the token of the first one and gets the same
// answer. So does a caller that repeats an attempt of its own ([AttemptToken]): a yes for [ReplayTime], provided that the
// answer is right.
//
// # The send lock
//
// Open takes the lock for [LockTime], and Renew prolongs it while the holder lives. At most one worker sends a mail at
// a time, as long as the holder stops when Renew says that it lost the lock. The lock's clock is Redis' own. Each attempt
// has a token of its own, which makes Open safe to repeat when its reply was lost: the same token gets the same answer
// again, and the attempt is counted once.
package record

import (
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/lp"
	"example.com/securemail/tasks"
)

// LockTime is how long a send lock holds without being renewed.
const LockTime = 15 * time.Second

// ErrLostLock is returned where another worker may be sending the mail by now. The holder has to stop.
var ErrLostLock = errors.New("the send lock was lost")

// LockedError is returned where another worker holds the send lock.
type LockedError struct{ For time.Duration }

func (e *LockedError) Error() string {
	return fmt.Sprintf("another worker holds the send lock for %v", e.For.Round(time.Millisecond))
}

// EndedError is returned where the mail has its outcome already.
type EndedError struct{ Outcome tasks.State }

func (e *EndedError) Error() string { return "the mail has ended: " + string(e.Outcome) }

// Entry is what a record begins with: what Open writes if there is none yet. Version to Fingerprint are covered by the MAC.
type Entry struct {
	Version     int // 0 is tasks.Version
	ID          string
	Kind        tasks.Kind
	Purpose     string
	Digits      int  // of a code; 0 for the other kinds
	Bound       bool // the secret is tied to a session
	CreatedAt   time.Time
	ExpiresAt   time.Time
	KeyID       string // of the key ring's active key
	Seed        []byte
	Address     string // an [AddressTag] of the recipient
	Fingerprint []byte // of the task; empty for a mail without an idempotency key

	MAC       []byte // see [Entry.Sign]
	ClientRef string
	TOTP      []byte // the shared secret of a TOTP, sealed under KeyID; empty for the other kinds
	Sealed    []byte // what a resend needs, sealed under KeyID
	Resends   int    // 0 for the first sending, one more for every resend
}

// AddressTag ties a mail's record to its recipient without holding the address, which is in canonical form. It is
// another one for every mail, so that records do not tell which mails went to the same person. key is the key ring's
// recipients key.
func AddressTag(key []byte, id, address string) string {
	return lp.Hash(key, "securemail/address/v1", id, address)
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

func recordKey(id string) string { return "securemail:{" + id + "}" }

// sealedKey is in the slot of the record. It is a key of its own because it ends with the credential, not with the record.
func sealedKey(id string) string { return recordKey(id) + ":mail" }

func keysOf(id string) []string { return []string{recordKey(id), sealedKey(id)} }

// LongestLife is a little more than any setting lets a secret live.
const LongestLife = 32 * 24 * time.Hour

// gone is when the record of m ends. Dates of a task or record that somebody else wrote make it neither vanish now nor stay for
// ever.
func (s *Store) gone(m Entry) int64 {
	now, expires := time.Now(), m.ExpiresAt
	if expires.Before(now) {
		expires = now
	} else if latest := now.Add(LongestLife); expires.After(latest) {
		expires = latest
	}
	return expires.Add(s.retention).UnixMilli()
}

//go:embed lua/*.lua
var sources embed.FS

// script returns lua/<name>.lua behind the prelude.
func script(name string) *redis.Script {
	return redis.NewScript(source("prelude") + source(name))
}

// scriptOf returns one script of several parts, lua/<name>_<part>.lua. The last argument of a call is the part that runs.
func scriptOf(name string, parts ...string) *redis.Script {
	text := source("prelude")
	for _, part := range parts {
		text += "if ARGV[#ARGV] == '" + part + "' then\n" + source(name+"_"+part) + "end\n"
	}
	return redis.NewScript(text)
}

func source(name string) string {
	text, err := sources.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // the file is part of the program
	}
	return string(text)
}

// named returns arguments that a script reads by name: name, value, ...
func named(pairs ...any) []any {
	return append([]any{len(pairs) / 2}, pairs...)
}
