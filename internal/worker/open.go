package worker

import (
	"context"
	"errors"
	"fmt"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/resend"
	"example.com/securemail/tasks"
)

// plainMail is what a record says of the mail without anything that the key ring is needed for.
func (r *run) plainMail() record.Entry {
	t := r.task
	return record.Entry{Version: t.Version, ID: t.ID, Kind: t.Mail.Kind, Purpose: t.Mail.Purpose, Digits: t.Mail.Digits, Bound: len(t.Session) > 0, Seed: t.Seed,
		Fingerprint: t.Fingerprint, ClientRef: t.Mail.ClientRef, Resends: t.Resends, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
}

// recordMail is what Open writes if the mail has no record yet, under the ring's active key. Besides the plain fields it
// has the sealed secret of a TOTP, which outlives its mail, and the sealed payload, which a resend needs.
func (r *run) recordMail(ring *keyring.Ring, payload []byte) (record.Entry, error) {
	m, to := r.plainMail(), r.task.Mail.To
	kid, key := ring.Active()
	m.KeyID, m.Address = kid, record.AddressTag(ring.Recipients(), m.ID, to)
	m.Sign(key)
	var err error
	if m.Kind == tasks.TOTP {
		secret, err := credential.Derive(key, credential.Params{Kind: m.Kind, ID: m.ID, Purpose: m.Purpose, To: to, Seed: m.Seed})
		if err != nil {
			return m, err
		}
		m.TOTP, err = credential.Seal(key, credential.Binding{Use: credential.UseTOTP, ID: m.ID, Purpose: m.Purpose, To: to, KeyID: kid},
			[]byte(secret.SharedSecret().Reveal()))
		if err != nil {
			return m, err
		}
	}
	m.Sealed, err = resend.Seal(key, m.ID, m.Purpose, kid, payload)
	return m, err
}

// errForged is returned where the record is not what a worker wrote for this task.
var errForged = errors.New("the mail's record in Redis was changed by something else than a worker, or belongs to another mail")

// key returns the ring key of the mail's secret. The record has to be authentic, and that of this task: a task that was
// rewritten, or another mail with the same idempotency key, must not be mixed with it.
func (r *run) key(ring *keyring.Ring) ([]byte, error) {
	a := r.attempt
	key, found, err := r.config.KeyRing.Key(a.KeyID)
	if err != nil {
		r.warnKeyRing(err)
	}
	if !found {
		return nil, errNoKey
	}
	want := r.plainMail()
	want.Version, want.KeyID, want.Seed, want.CreatedAt, want.ExpiresAt = a.Version, a.KeyID, a.Seed, a.CreatedAt, a.ExpiresAt
	want.Address, want.MAC = record.AddressTag(ring.Recipients(), a.ID, r.task.Mail.To), a.MAC
	if !a.Authentic(key) || !want.Authentic(key) {
		return nil, errForged
	}
	return key, nil
}

// readKept completes the task of a resend from what the record keeps. Without a payload there is nothing to send, and stop
// is the outcome.
func (r *run) readKept(ctx context.Context) (payload []byte, stop *outcome) {
	end := func(o outcome) ([]byte, *outcome) { return nil, &o }
	id, resends := r.task.ID, r.task.Resends
	kept, err := r.records.Kept(ctx, id)
	switch {
	case errors.Is(err, tasks.ErrNotFound):
		return end(ended(tasks.Expired, record.Result{Reason: tasks.ReasonLate}, nil))
	case err != nil:
		return end(r.notEnded(err))
	}
	r.task.Mail = tasks.Mail{Kind: kept.Kind, Purpose: kept.Purpose}
	r.task.CreatedAt, r.task.ExpiresAt = kept.CreatedAt, kept.ExpiresAt
	if len(kept.Sealed) == 0 || r.late() { // the credential has died, or soon will
		return end(r.endUnopened(ctx, tasks.Expired, tasks.ReasonLate, nil))
	}
	forged := func(cause error) ([]byte, *outcome) {
		o := r.endUnopened(ctx, tasks.Refused, tasks.ReasonRecord, cause)
		o.alert = true
		return end(o)
	}
	if kept.ExpiresAt.Sub(r.now()) > record.LongestLife {
		return forged(errForged) // before the wait for a key, which could be as long
	}
	key, found, _ := r.config.KeyRing.Key(kept.KeyID)
	if !found {
		return end(r.alert(verdictOf(errNoKey).delay, tasks.ReasonKeyRing, errNoKey))
	}
	t, payload, err := resend.Open(key, id, kept.Purpose, kept.KeyID, kept.Sealed)
	if errors.Is(err, tasks.ErrNewer) {
		return end(r.unreadable(ctx, err))
	}
	if err != nil {
		return forged(fmt.Errorf("what the record keeps for a resend cannot be used: %w", err))
	}
	r.task = t
	r.task.Resends = resends
	return payload, nil
}
