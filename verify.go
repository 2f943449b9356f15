package securemail

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

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
// If the mail had a session, ref needs the same one. Without a session the answer is rejected, and with another one it is
// wrong. Give ref an Attempt where a form can be posted twice because a reply was lost.
//
// When ctx ends, Verify may run up to 5 seconds longer. An answer that it has compared is counted, and it returns the
// result. Otherwise it counts nothing and returns an error.
//
// Errors: [tasks.ErrUnreadable]; a [*tasks.WrongError] for a wrong answer, which was counted; [tasks.ErrRejected]
// where there is nothing valid to compare with; [tasks.ErrInvalid] where To, Purpose or Session could not be those of
// any mail; [tasks.ErrKeyRing]. After any other error (Redis unavailable) the answer may have been counted.
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
	token := ""
	if ref.Attempt != "" {
		token = record.AttemptToken(ring.Recipients(), ref, typed)
	}
	answer, err := c.records.BeginVerify(ctx, ref.ID, key, ref.Purpose, token)
	if errors.Is(err, record.ErrBroken) {
		return errForged
	}
	if err != nil {
		return fmt.Errorf("check the answer: %w", err)
	}
	result, err := c.compare(ring, answer, ref, read)
	if err != nil {
		return err
	}
	outcome, err := c.records.FinishVerify(ctx, answer, result.comparison, result.matches, result.step)
	switch {
	case err != nil:
		return fmt.Errorf("check the answer: %w", err)
	case outcome.Right:
		return nil
	case result.forged:
		return errForged
	case outcome.Wrong:
		return &tasks.WrongError{TriesLeft: outcome.TriesLeft}
	}
	return tasks.ErrRejected
}

// errForged is for the operator: to people, it is ErrRejected as any other.
var errForged = fmt.Errorf("%w. An operator has to look: the record in Redis was changed by something else than this system, or is of another version of it",
	tasks.ErrRejected)

// compared is the result of comparing one answer.
type compared struct {
	comparison record.Comparison
	matches    bool  // the answer is the secret's, though it may be too late to be right
	step       int64 // of a right TOTP code
	forged     bool  // the record's MAC is wrong
}

// compare derives the secret and compares. Where there is none to compare with, it does the same work over a dummy.
func (c *Client) compare(ring *keyring.Ring, a *record.Answer, ref tasks.Ref, typed credential.Reading) (result compared, err error) {
	_, key := ring.Active()
	p := credential.Params{Kind: tasks.Code, ID: ref.ID, Purpose: ref.Purpose, To: ref.To, Seed: make([]byte, tasks.SeedSize), Digits: 8}
	// Of a secret that was used up, only the one attempt that did it has anything to hear.
	asked := a.Live || a.Verified && ref.Attempt != ""
	if asked {
		if key, err = c.keyOf(a); err != nil {
			return result, err
		}
	}
	authentic, to, session := a.Authentic(key), isTo(ring, a, ref), tasks.SessionHash(ref.Session)
	result.forged = asked && !authentic
	asked = asked && authentic && to && a.Purpose == ref.Purpose && !a.Limited && (!a.Bound || ref.Session != "")
	if asked {
		p.Kind, p.Seed, p.Digits = a.Kind, a.Seed, a.Digits
		if a.Bound {
			p.Session = session
		}
	}
	secret, err := credential.Derive(key, p)
	if err != nil {
		return result, fmt.Errorf("check the answer: %w", err)
	}
	matches := secret.Match(typed)
	switch {
	case !asked:
		result.comparison = record.NotCompared
		return result, nil
	case p.Kind == tasks.TOTP:
		return c.compareTOTP(key, a, ref, typed)
	case !a.Live: // the script says yes only to the attempt that was right before
		result.comparison, result.matches = record.NotCompared, matches
	case matches:
		result.comparison, result.matches = record.Right, true
	default:
		result.comparison = record.Wrong
	}
	return result, nil
}

// compareTOTP compares typed with the codes of the authenticator. A code that has become too old since is still the code of
// the attempt that used it.
func (c *Client) compareTOTP(key []byte, a *record.Answer, ref tasks.Ref, typed credential.Reading) (result compared, err error) {
	shared, err := unsealTOTP(key, a.TOTP, a.KeyID, ref)
	if err != nil {
		return result, err
	}
	now := c.now()
	if result.step, result.matches = credential.MatchTOTP(shared, typed, now); result.matches {
		result.comparison = record.Right
		return result, nil
	}
	result.comparison = record.Wrong
	for back := time.Minute; back <= record.ReplayTime && ref.Attempt != ""; back += time.Minute {
		_, old := credential.MatchTOTP(shared, typed, now.Add(-back))
		result.matches = result.matches || old
	}
	return result, nil
}

// keyOf returns the ring key that the credential was made with.
func (c *Client) keyOf(a *record.Answer) ([]byte, error) {
	key, found, _ := c.ring.Key(a.KeyID) // as in keyRing
	if !found {
		return nil, fmt.Errorf("%w: %.40q", tasks.ErrKeyRing, a.KeyID)
	}
	return key, nil
}

// isTo reports whether the record is of a secret that was mailed to the address of ref.
func isTo(ring *keyring.Ring, a *record.Answer, ref tasks.Ref) bool {
	tag := record.AddressTag(ring.Recipients(), ref.ID, ref.To)
	return hmac.Equal([]byte(tag), []byte(a.Address))
}

// unsealTOTP opens the shared secret that the record keeps.
func unsealTOTP(key, sealed []byte, keyID string, ref tasks.Ref) ([]byte, error) {
	binding := credential.Binding{Use: credential.UseTOTP, ID: ref.ID, Purpose: ref.Purpose, To: ref.To, KeyID: keyID}
	shared, err := credential.Unseal(key, binding, sealed)
	if errors.Is(err, credential.ErrSealed) {
		return nil, fmt.Errorf("the TOTP secret in Redis was changed, or is another record's: %w", err)
	}
	return shared, err
}
