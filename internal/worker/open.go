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
	m := record.Entry{ID: r.task.ID, Kind: r.task.Mail.Kind, Purpose: r.task.Mail.Purpose, Seed: r.task.Seed,
		Resends: r.task.Resends, CreatedAt: r.task.CreatedAt, ExpiresAt: r.task.ExpiresAt}
	if r.task.Mail.Kind == tasks.Code {
		m.Digits = r.config.CodeDigits
	}
	return m
}

// recordMail is what Open writes if the mail has no record yet, under the ring's active key. Besides the plain fields it
// has the sealed secret of a TOTP, which outlives its mail, and the sealed payload, which a resend needs.
func (r *run) recordMail(ring *keyring.Ring, payload []byte) (record.Entry, error) {
	m, to := r.plainMail(), r.task.Mail.To
	kid, key := ring.Active()
	m.KeyID, m.Address = kid, record.AddressTag(ring.Recipients(), m.ID, to)
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
		return end(r.alert(redisDelay, tasks.ReasonRedis, err))
	}
	r.task.Mail = tasks.Mail{Kind: kept.Kind, Purpose: kept.Purpose}
	r.task.ExpiresAt = kept.ExpiresAt
	if len(kept.Sealed) == 0 { // the credential has died
		return end(r.endUnopened(ctx, tasks.Expired, tasks.ReasonLate, nil))
	}
	key, found, _ := r.config.KeyRing.Key(kept.KeyID)
	if !found {
		return end(r.alert(verdictOf(errNoKey).delay, tasks.ReasonKeyRing, errNoKey))
	}
	t, payload, err := resend.Open(key, id, kept.Purpose, kept.KeyID, kept.Sealed)
	if err != nil {
		o := r.endUnopened(ctx, tasks.Refused, tasks.ReasonMalformed, fmt.Errorf("what the record keeps for a resend cannot be used: %w", err))
		o.alert = true
		return end(o)
	}
	r.task = t
	r.task.Resends = resends
	return payload, nil
}
