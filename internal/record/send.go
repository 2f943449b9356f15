package record

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

var (
	openScript   = script("open")
	renewScript  = script("renew")
	lockedScript = script("locked")
	moveScript   = script("move")
)

// Attempt is one attempt to send a mail, under the send lock. What the record had before counts more than what the task
// says: a mail that was opened before keeps its seed and key id, and with them its secret, on a resend too.
type Attempt struct {
	Entry
	Try int // of this sending, from 1
	// LastReason and LastRelay are the result of the attempt before; empty for the first one.
	LastReason tasks.Reason
	LastRelay  string
	token      string
	ours       bool // Entry is what Open was given: the record did not begin under another key
}

// Result is the result of an attempt.
type Result struct {
	Reason       tasks.Reason
	Code         int // the relay's reply code, 0 if there was none
	EnhancedCode string
	Said         string // what the relay wrote, masked and bounded
	Relay        string
	QueueID      string // the relay's name for an accepted mail
}

// Open takes the send lock of the mail, creates its record from m if there is none, and counts an attempt. It returns a
// [*LockedError] or an [*EndedError] where there is nothing to send now, or ever.
func (s *Store) Open(ctx context.Context, m Entry) (*Attempt, error) {
	a := &Attempt{Entry: m, token: rand.Text()}
	args := append(named("token", a.token, "lock", LockTime.Milliseconds(), "sealed", m.Sealed, "dies", m.ExpiresAt.UnixMilli(),
		"gone", s.gone(m), "resends", m.Resends), m.fields(0, 0)...)
	reply, err := openScript.Run(ctx, s.rdb, keysOf(m.ID), args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	var r struct {
		Status  string       `redis:"status"`
		For     int64        `redis:"for"`
		Outcome tasks.State  `redis:"outcome"`
		Seed    []byte       `redis:"seed"`
		KeyID   string       `redis:"kid"`
		Digits  int          `redis:"digits"`
		Resends int          `redis:"sending"`
		Tries   int          `redis:"tries"`
		Created int64        `redis:"created"`
		Expires int64        `redis:"expires"`
		Reason  tasks.Reason `redis:"reason"`
		Relay   string       `redis:"relay"`
	}
	if err := scanPairs(reply, &r); err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	switch r.Status {
	case "locked":
		return nil, &LockedError{time.Duration(r.For) * time.Millisecond}
	case "ended":
		return nil, &EndedError{r.Outcome}
	}
	a.ours = r.KeyID == m.KeyID
	a.Seed, a.KeyID, a.Digits, a.Resends, a.Try = r.Seed, r.KeyID, r.Digits, r.Resends, r.Tries
	a.CreatedAt, a.ExpiresAt = moment(r.Created), moment(r.Expires)
	a.LastReason, a.LastRelay = r.Reason, r.Relay
	return a, nil
}

// scanPairs reads name, value, ... into a struct with redis tags.
func scanPairs(pairs []string, into any) error {
	fields := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	return redis.NewMapStringStringResult(fields, nil).Scan(into)
}

// Renew holds the send lock for another [LockTime]. It returns [ErrLostLock] if another worker has the lock, or if the
// credential was revoked; then the next Open says so.
func (s *Store) Renew(ctx context.Context, a *Attempt) error {
	held, err := renewScript.Run(ctx, s.rdb, keysOf(a.ID), named("token", a.token, "lock", LockTime.Milliseconds())...).Bool()
	if err != nil {
		return fmt.Errorf("renew the send lock: %w", err)
	}
	if !held {
		return ErrLostLock
	}
	return nil
}

// Locked reports whether a worker holds the send lock of the mail, and with it will write down how the attempt ended.
func (s *Store) Locked(ctx context.Context, id string) (bool, error) {
	locked, err := lockedScript.Run(ctx, s.rdb, keysOf(id)).Bool()
	if err != nil {
		return false, fmt.Errorf("read the send lock: %w", err)
	}
	return locked, nil
}

// Accept writes down that a relay took the mail, and releases the lock. It may be repeated until it succeeds, and it
// takes effect whichever worker holds the lock. If Redis has lost the record since Open, as a failover can, Accept writes
// it anew: the person has the mail, and must find that its secret is right.
func (s *Store) Accept(ctx context.Context, a *Attempt, r Result) error {
	if !a.ours { // what is sealed here is under another key than the record's
		return s.move(ctx, a.Entry, a.token, tasks.Accepted, r, 0, true, nil)
	}
	return s.move(ctx, a.Entry, a.token, tasks.Accepted, r, 0, true, a.Sealed, a.fields(a.Resends, a.Try)...)
}

// Defer writes down a failed attempt, to be followed by another at next, and releases the lock. An attempt that does not
// count is taken off the count again. A mail that was revoked meanwhile ends as revoked.
func (s *Store) Defer(ctx context.Context, a *Attempt, r Result, next time.Time, counts bool) error {
	return s.move(ctx, a.Entry, a.token, tasks.Deferred, r, next.UnixMilli(), counts, nil)
}

// End gives the mail its outcome and releases the lock. Like Defer, it leaves a mail alone that another worker is sending
// by now, and returns a [*LockedError].
func (s *Store) End(ctx context.Context, a *Attempt, outcome tasks.State, r Result) error {
	return s.move(ctx, a.Entry, a.token, outcome, r, 0, true, nil)
}

// EndUnopened gives an outcome to a mail that was never opened for sending, such as one whose task came too late. A mail
// that has an outcome keeps it. One that a worker is sending now is left alone, with a [*LockedError].
func (s *Store) EndUnopened(ctx context.Context, m Entry, outcome tasks.State, r Result) error {
	return s.move(ctx, m, "", outcome, r, 0, true, nil, m.plainFields()...)
}

// move takes a mail out of sending. sealed and fields are for a record that is not there.
func (s *Store) move(ctx context.Context, m Entry, token string, to tasks.State, r Result, next int64, counts bool, sealed []byte, fields ...any) error {
	args := append(named("token", token, "to", string(to), "reason", string(r.Reason), "code", r.Code, "enhanced", r.EnhancedCode, "said", r.Said,
		"relay", r.Relay, "queue_id", r.QueueID, "next", next, "counts", counts, "gone", s.gone(m), "resends", m.Resends,
		"sealed", sealed, "dies", m.ExpiresAt.UnixMilli()), fields...)
	locked, err := moveScript.Run(ctx, s.rdb, keysOf(m.ID), args...).Int64()
	switch {
	case err != nil:
		return fmt.Errorf("write the record as %s: %w", to, err)
	case locked > 0:
		return &LockedError{time.Duration(locked) * time.Millisecond}
	}
	return nil
}
