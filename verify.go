package securemail

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// Verify returns nil if typed is what was mailed. A key or a code is then used up: of any number of right answers
// exactly one succeeds. For a TOTP, typed is the code that the authenticator shows. The first right code makes the
// TOTP active; an active TOTP does not expire. Each of its codes is accepted once.
//
// Verify reads typed before it asks Redis anything. Upper and lower case, spaces, hyphens, the script of the digits
// and look-alikes such as O for 0 do not matter. A pasted line of the mail or its link is an answer too. What cannot
// be an answer of any kind, such as seven digits or an empty text, is [tasks.ErrUnreadable]: it costs no try, also
// for an id that does not exist. An answer of another form than the secret, such as six digits for a code of eight,
// is a wrong one.
//
// Verify needs [WithKeyRingFile].
//
// A secret is locked after 5 wrong answers, an active TOTP after 100 in a row. Wrong answers of the last 24 hours are
// also counted over all mails to one recipient. For codes and keys, 20 for one purpose block that purpose, and 60
// over all purposes block all. TOTPs have a count of their own: 20 for one purpose. An answer that is blocked is
// rejected, until older wrong answers are 24 hours old or [Client.Unlock] is called.
//
// When ctx ends, Verify may run up to 5 seconds longer. An answer that it has compared is counted, and it returns the
// result. Otherwise it counts nothing and returns an error.
//
// Errors: [tasks.ErrUnreadable]; a [*tasks.WrongError] for a wrong answer, which was counted; [tasks.ErrRejected]
// where there is nothing valid to compare with; [tasks.ErrInvalid] where To or Purpose could not be those of any
// mail; [tasks.ErrKeyRing]. After any other error (Redis unavailable) the answer may have been counted.
func (c *Client) Verify(ctx context.Context, ref tasks.Ref, typed string) error {
	read, err := credential.ReadAnswer(typed)
	if err != nil {
		return err
	}
	ring, err := c.keyRing()
	if err != nil {
		return err
	}
	if ref, err = ref.Canonical(); err != nil {
		return err
	}
	key, err := counters(ring, ref.To)
	if err != nil {
		return err
	}
	answer, err := c.records.BeginVerify(ctx, ref.ID, key, ref.Purpose)
	if err != nil {
		return fmt.Errorf("check the answer: %w", err)
	}
	result, step, err := c.compare(ring, answer, ref, read)
	if err != nil {
		return err
	}
	outcome, err := c.records.FinishVerify(ctx, answer, result, step)
	switch {
	case err != nil:
		return fmt.Errorf("check the answer: %w", err)
	case outcome.Right:
		return nil
	case outcome.Wrong:
		return &tasks.WrongError{TriesLeft: outcome.TriesLeft}
	}
	return tasks.ErrRejected
}

// compare derives the secret and compares. Where there is none to compare with, it does the same work over a dummy.
func (c *Client) compare(ring *keyring.Ring, a *record.Answer, ref tasks.Ref, typed credential.Reading) (result record.Comparison, step int64, err error) {
	_, key := ring.Active()
	p := credential.Params{Kind: tasks.Code, ID: ref.ID, Purpose: ref.Purpose, To: ref.To, Seed: make([]byte, tasks.SeedSize)}
	if a.Live {
		if key, err = c.keyOf(a); err != nil {
			return "", 0, err
		}
		p.Kind, p.Seed, p.Digits = a.Kind, a.Seed, a.Digits
	}
	asked := isOf(ring, a, ref) && !a.Limited
	secret, err := credential.Derive(key, p)
	if err != nil {
		return "", 0, fmt.Errorf("check the answer: %w", err)
	}
	matches := secret.Match(typed)
	if asked && p.Kind == tasks.TOTP {
		shared, err := unsealTOTP(key, a, ref)
		if err != nil {
			return "", 0, err
		}
		step, matches = credential.MatchTOTP(shared, typed, c.now())
	}
	switch {
	case !asked:
		return record.NotCompared, 0, nil
	case matches:
		return record.Right, step, nil
	}
	return record.Wrong, 0, nil
}

// keyOf returns the ring key that the credential was made with.
func (c *Client) keyOf(a *record.Answer) ([]byte, error) {
	key, found, _ := c.ring.Key(a.KeyID) // as in keyRing
	if !found {
		return nil, fmt.Errorf("%w: %s", tasks.ErrKeyRing, a.KeyID)
	}
	return key, nil
}

// isOf reports whether the record is of a credential that can be verified, and was mailed to the address and for the
// purpose of ref.
func isOf(ring *keyring.Ring, a *record.Answer, ref tasks.Ref) bool {
	tag := record.AddressTag(ring.Recipients(), ref.ID, ref.To)
	return hmac.Equal([]byte(tag), []byte(a.Address)) && a.Purpose == ref.Purpose && a.Live
}

// unsealTOTP opens the shared secret that the record keeps.
func unsealTOTP(key []byte, a *record.Answer, ref tasks.Ref) ([]byte, error) {
	binding := credential.Binding{Use: credential.UseTOTP, ID: ref.ID, Purpose: ref.Purpose, To: ref.To, KeyID: a.KeyID}
	shared, err := credential.Unseal(key, binding, a.TOTP)
	if errors.Is(err, credential.ErrSealed) {
		return nil, fmt.Errorf("the TOTP secret in Redis was changed, or is another record's: %w", err)
	}
	return shared, err
}
