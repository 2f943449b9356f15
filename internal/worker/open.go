package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// plainMail is what a record says of the mail without anything that the key ring is needed for.
func (r *run) plainMail() record.Mail {
	m := record.Mail{ID: r.task.ID, Kind: string(r.task.Mail.Kind), Purpose: r.task.Mail.Purpose, Seed: r.task.Seed,
		Sending: r.task.Resend, CreatedAt: r.task.CreatedAt, ExpiresAt: r.task.ExpiresAt}
	if r.task.Mail.Kind == tasks.Code {
		m.Digits = r.CodeDigits
	}
	return m
}

// recordMail is what Open writes if the mail has no record yet, under the ring's active key: besides the plain fields the
// sealed secret of a TOTP, which outlives its mail, and the sealed payload, which a resend needs.
func (r *run) recordMail(ring *keyring.Ring, payload []byte) (record.Mail, error) {
	m, to := r.plainMail(), r.task.Mail.To
	kid, key := ring.Active()
	m.KeyID, m.Address = kid, record.AddressTag(ring.Recipients(), m.ID, to)
	var err error
	if r.task.Mail.Kind == tasks.TOTP {
		secret, err := credential.Derive(key, credential.Params{Kind: credential.TOTP, ID: m.ID, Purpose: m.Purpose, To: to, Seed: m.Seed})
		if err != nil {
			return m, err
		}
		m.TOTP, err = credential.Seal(key, credential.Binding{Use: credential.UseTOTP, ID: m.ID, Purpose: m.Purpose, To: to, KeyID: kid},
			[]byte(secret.SharedSecret().Reveal()))
		if err != nil {
			return m, err
		}
	}
	m.Sealed, err = credential.Seal(key, keptBinding(m.ID, m.Purpose, kid), payload)
	return m, err
}

func keptBinding(id, purpose, kid string) credential.Binding {
	return credential.Binding{Use: credential.UseMail, ID: id, Purpose: purpose, KeyID: kid}
}

// readKept makes the task of a resend whole again out of what the record keeps. Without a payload there is nothing to send,
// now or ever, and done is what asynq is to be told.
func (r *run) readKept(ctx context.Context) (payload []byte, done error) {
	id, n := r.task.ID, r.task.Resend
	kept, err := r.records.Kept(ctx, id)
	switch {
	case errors.Is(err, record.ErrNotFound):
		r.state, r.result.Reason = record.Expired, reasonLate
		return nil, final(record.Expired, reasonLate)
	case err != nil:
		r.cause, r.trouble = err, true
		return nil, r.again(redisDelay, reasonRedis)
	}
	r.task.Mail = tasks.Mail{Kind: tasks.Kind(kept.Kind), Purpose: kept.Purpose}
	r.task.ExpiresAt = kept.ExpiresAt
	if len(kept.Sealed) == 0 { // the credential has died
		return nil, r.endUnopened(ctx, record.Expired, reasonLate)
	}
	key, found, _ := r.KeyRing.Key(kept.KeyID)
	if !found {
		r.cause, r.trouble = errNoKey, true
		return nil, r.again(verdictOf(errNoKey).delay, reasonKeyRing)
	}
	payload, err = credential.Unseal(key, keptBinding(id, kept.Purpose, kept.KeyID), kept.Sealed)
	if err == nil {
		r.task, err = tasks.ParseTask(asynq.NewTask(tasks.Type, payload))
	}
	if err != nil || r.task.ID != id {
		r.cause, r.trouble = fmt.Errorf("what the record keeps for a resend cannot be used: %w", err), true
		r.task.ID, r.task.ExpiresAt = id, kept.ExpiresAt
		return nil, r.endUnopened(ctx, record.Refused, reasonMalformed)
	}
	r.task.Resend = n
	return payload, nil
}

// admit asks whether the recipient may have one more mail now. A sending is counted once, whatever is retried.
func (r *run) admit(ctx context.Context, ring *keyring.Ring) (time.Duration, error) {
	if r.Unlimited {
		return 0, nil
	}
	m := r.task.Mail
	return r.records.Admit(ctx, record.RecipientHash(ring.Recipients(), m.To), string(m.Kind), r.task.ID, r.attempt.Sending, lateAt(r.task))
}

// limited defers a mail to when the recipient may have it, or refuses it.
func (r *run) limited(ctx context.Context, wait time.Duration, err error) error {
	r.result.Reason = reasonLimited
	switch {
	case errors.Is(err, record.ErrLimited):
		return r.end(ctx, record.Refused)
	case err != nil:
		return r.settle(ctx, verdict{reason: reasonRedis, delay: redisDelay, trouble: true}, err)
	}
	r.state, r.next = record.Deferred, time.Now().Add(wait)
	if err := r.records.Defer(ctx, r.attempt, r.result, r.next, false); err != nil {
		return r.notEnded(err)
	}
	return &later{wait, reasonLimited}
}
