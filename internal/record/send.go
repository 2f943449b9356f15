package record

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"example.com/securemail/tasks"
)

var (
	openScript   = script("open")
	renewScript  = script("renew")
	lockedScript = script("locked")
	moveScript   = script("move")
)

// Attempt is one attempt to send a mail, under the send lock. Its Entry is the record's, not what the task says: a mail that
// was opened before keeps its seed and key id, and with them its secret, on a resend too. Check that it is
// [Entry.Authentic] before the secret is derived.
type Attempt struct {
	Entry
	Try int // of this sending, from 1
	// LastReason and LastRelay are the result of the attempt before; empty for the first one.
	LastReason tasks.Reason
	LastRelay  string
	token      string
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
// [*LockedError] or an [*EndedError] where there is nothing to send now, or ever, or [ErrBroken].
func (s *Store) Open(ctx context.Context, m Entry) (*Attempt, error) {
	token := rand.Text()
	args := append(named("token", token, "lock", LockTime.Milliseconds(), "sealed", m.Sealed, "dies", m.ExpiresAt.UnixMilli(),
		"gone", s.gone(m), "resends", m.Resends), m.fields(0, 0)...)
	reply, err := openScript.Run(ctx, s.rdb, keysOf(m.ID), args...).StringSlice()
	if err = readable(err); err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	h := hashOfPairs(reply)
	switch h["status"] {
	case "locked":
		return nil, &LockedError{time.Duration(h.number("for")) * time.Millisecond}
	case "ended":
		return nil, &EndedError{tasks.State(h["outcome"])}
	}
	a := &Attempt{Entry: h.entry(m.ID), token: token, Try: h.count("tries"), LastReason: tasks.Reason(h["reason"]), LastRelay: h["relay"]}
	a.Resends, a.ClientRef = h.count("sending"), m.ClientRef
	if a.KeyID == m.KeyID {
		a.Sealed = m.Sealed // sealed under another key, it could not be opened with the record's
	}
	return a, nil
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
	if err = readable(err); errors.Is(err, ErrBroken) { // nobody can hold one there, and other mails' locks can be read
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read the send lock: %w", err)
	}
	return locked, nil
}

// Accept writes down that a relay took the mail, and releases the lock. It may be repeated until it succeeds, and it
// takes effect whichever worker holds the lock. If Redis has lost the record since Open, as a failover can, Accept writes
// it anew: the person has the mail, and must find that its secret is right.
func (s *Store) Accept(ctx context.Context, a *Attempt, r Result) error {
	_, err := s.move(ctx, a.Entry, a.token, tasks.Accepted, r, 0, true, a.Sealed, a.fields(a.Resends, a.Try)...)
	return err
}

// Defer writes down a failed attempt, to be followed by another at next, and releases the lock. An attempt that does not
// count is taken off the count again. A mail that was revoked meanwhile ends as revoked.
func (s *Store) Defer(ctx context.Context, a *Attempt, r Result, next time.Time, counts bool) error {
	_, err := s.move(ctx, a.Entry, a.token, tasks.Deferred, r, next.UnixMilli(), counts, nil)
	return err
}

// End gives the mail its outcome, releases the lock and returns the outcome that the record has. Like Defer, it leaves a
// mail alone that another worker is sending by now, and returns a [*LockedError].
//
// The outcome is another one than was asked for where the record knows better: a mail that a relay has taken is not expired
// but accepted, and one that a relay may have taken is unknown. What has an outcome keeps it.
func (s *Store) End(ctx context.Context, a *Attempt, outcome tasks.State, r Result) (tasks.State, error) {
	return s.move(ctx, a.Entry, a.token, outcome, r, 0, true, nil)
}

// EndUnopened gives an outcome to a mail that was never opened for sending, such as one whose task came too late. A mail
// that has an outcome keeps it. One that a worker is sending now is left alone, with a [*LockedError].
func (s *Store) EndUnopened(ctx context.Context, m Entry, outcome tasks.State, r Result) (tasks.State, error) {
	return s.move(ctx, m, "", outcome, r, 0, true, nil, m.plainFields()...)
}

// move takes a mail out of sending, and returns the state that it is in now. sealed and fields are for a record that is not
// there.
func (s *Store) move(ctx context.Context, m Entry, token string, to tasks.State, r Result, next int64, counts bool, sealed []byte, fields ...any) (tasks.State, error) {
	args := append(named("token", token, "to", string(to), "reason", string(r.Reason), "code", r.Code, "enhanced", r.EnhancedCode, "said", r.Said,
		"relay", r.Relay, "queue_id", r.QueueID, "next", next, "counts", counts, "gone", s.gone(m), "resends", m.Resends,
		"sealed", sealed, "dies", m.ExpiresAt.UnixMilli()), fields...)
	reply, err := moveScript.Run(ctx, s.rdb, keysOf(m.ID), args...).StringSlice()
	if err = readable(err); err != nil {
		return "", fmt.Errorf("write the record as %s: %w", to, err)
	}
	h := hashOfPairs(reply)
	if h["for"] != "" {
		return "", &LockedError{time.Duration(h.number("for")) * time.Millisecond}
	}
	state := tasks.State(h["state"])
	switch state {
	case tasks.Queued, tasks.Sending, tasks.Deferred:
		return state, nil
	}
	if !state.Ended() {
		state = tasks.Unknown // somebody else wrote it, and it becomes a label of metrics
	}
	return state, nil
}
