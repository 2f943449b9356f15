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

// Verify returns nil if typed is what was mailed, and then the secret is used up: of any number of right answers exactly
// one succeeds. For a TOTP, typed is the code that the authenticator shows. The first right code makes the TOTP active,
// and it stays active. Each code is accepted once; reusing it is rejected.
//
// typed may be in any case, with any spaces and hyphens. It needs [WithKeyRingFile].
//
// A secret is locked after 5 wrong answers, an active TOTP after 100 in a row. In 24 hours, over any number of mails to one
// recipient, 20 wrong answers for one purpose, or 60 for all purposes, make all further answers rejected;
// [Client.Unlock] lifts that. TOTPs are counted apart from codes and keys, 20 for one purpose.
//
// When ctx ends, Verify still finishes what it began, within 5 seconds: an answer that was compared is counted, and one
// that was not costs nothing.
//
// Errors: a [*tasks.WrongError] for a wrong answer, which was counted; [tasks.ErrRejected] where there is nothing valid
// to compare with; [tasks.ErrInvalid] where To or Purpose could not be those of any mail; [tasks.ErrKeyRing]. After any
// other error (Redis unavailable) the answer may have been counted.
func (c *Client) Verify(ctx context.Context, ref tasks.Ref, typed string) error {
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
	result, step, err := c.compare(ring, answer, ref, typed)
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
func (c *Client) compare(ring *keyring.Ring, a *record.Answer, ref tasks.Ref, typed string) (result record.Comparison, step int64, err error) {
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
