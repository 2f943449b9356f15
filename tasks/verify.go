package tasks

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
)

// WithKeyRingFile names the key ring, which [Client.Verify], [Client.Export] and [Client.Unlock] need. With it,
// [Client.Send] says at once where a recipient has had too many mails; without it only the worker does. The file is
// read again whenever it has changed; one that turns bad leaves the keys in use that were read before.
func WithKeyRingFile(path string) Option {
	return func(c *Client) error {
		ring, err := keyring.Open(path)
		if err != nil {
			return fmt.Errorf("tasks: WithKeyRingFile: %w", err)
		}
		c.ring = ring
		return nil
	}
}

// Answer is what a person typed, and what it is an answer to. Take ID, Purpose and To from the person's own session,
// never from the form: they say which secret is expected.
type Answer struct {
	ID      string
	Purpose string // as in the [Mail]; empty means "default"
	To      string // as in the [Mail]
	Typed   string // in any case, with any spaces and hyphens
}

// String leaves out the address and what was typed.
func (a Answer) String() string { return "answer to " + a.ID }

// GoString is String, so that %#v shows no more.
func (a Answer) GoString() string { return a.String() }

// WrongError says that the answer is not what was mailed, and that it was counted.
type WrongError struct {
	TriesLeft int // 0 when this was the last one: the credential is locked now
}

func (e *WrongError) Error() string {
	return fmt.Sprintf("the answer is wrong; %d tries left", e.TriesLeft)
}

var errRejected = errors.New("there is nothing valid to check the answer against: the secret is expired, used or locked, or was never mailed")

// IsRejected reports whether an answer was not even compared: the secret is expired, used, locked or revoked, there is
// no such mail, it went to another address or was for another purpose, or the recipient had too many wrong answers in
// 24 hours. Which of these it is does not show, because it would help a guesser more than it helps a person. Tell
// people: "This code is no longer valid. Ask for a new one, and if that does not help, try again tomorrow."
func IsRejected(err error) bool { return errors.Is(err, errRejected) }

// ErrKeyRing says that the key ring lacks the key that the secret was made with: this process reads another ring than
// the workers, or the key was removed too early. The answer was not counted. Somebody has to look at it.
var ErrKeyRing = errors.New("the key ring does not have the key that this secret was made with")

var errNoRing = errors.New("tasks: to check answers the client needs WithKeyRingFile")

// Verify returns nil if the answer is what was mailed, and then the secret is used up: of any number of right answers
// one succeeds. For a TOTP the answer is the code that the authenticator shows; the first right one makes it active,
// and it stays; each code succeeds once, and rejected is who comes with it again. An error is a [*WrongError]; or one
// that [IsRejected] knows; or [ErrInvalid], where To or Purpose could not be those of any mail; or [ErrKeyRing]; or
// else Redis trouble, after which the answer may have been counted.
//
// A secret is locked after 5 wrong answers, an active TOTP after 100 in a row. 20 wrong answers in 24 hours to one
// recipient and purpose, over any number of mails, have all further ones rejected; [Client.Unlock] lifts that.
func (c *Client) Verify(ctx context.Context, a Answer) error {
	if c.ring == nil {
		return errNoRing
	}
	a, err := a.canonical()
	if err != nil {
		return err
	}
	ring, _ := c.ring.Ring() // an error leaves the ring that was read before, which is what can be used
	check, err := c.records.StartCheck(ctx, a.ID, record.RecipientHash(ring.Recipients(), a.To), a.Purpose)
	if err != nil {
		return fmt.Errorf("check the answer: %w", err)
	}
	was, step, err := c.compare(ring, check, a)
	if err != nil {
		return errors.Join(err, c.records.GiveBack(ctx, check))
	}
	outcome, err := c.records.Settle(ctx, check, was, step)
	switch {
	case err != nil:
		return fmt.Errorf("check the answer: %w", err)
	case outcome.Right:
		return nil
	case outcome.Wrong:
		return &WrongError{outcome.TriesLeft}
	}
	return errRejected
}

// compare derives the secret and compares. Where there is none to compare with, it does the same work over a dummy.
func (c *Client) compare(ring *keyring.Ring, check *record.Check, a Answer) (was record.Comparison, step int64, err error) {
	_, key := ring.Active()
	p := credential.Params{Kind: credential.Code, ID: a.ID, Purpose: a.Purpose, To: a.To, Seed: make([]byte, seedSize)}
	if check.Live {
		if key, err = c.keyOf(check); err != nil {
			return "", 0, err
		}
		p.Kind, p.Seed, p.Digits = credential.Kind(check.Kind), check.Seed, check.Digits
	}
	asked := isOf(ring, check, a) && !check.Limited
	secret, err := credential.Derive(key, p)
	if err != nil {
		return "", 0, fmt.Errorf("check the answer: %w", err)
	}
	matches := secret.Match(a.Typed)
	if asked && p.Kind == credential.TOTP {
		shared, err := unsealTOTP(key, check, a)
		if err != nil {
			return "", 0, err
		}
		step, matches = credential.MatchTOTP(shared, a.Typed, time.Now())
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
func (c *Client) keyOf(check *record.Check) ([]byte, error) {
	key, found, _ := c.ring.Key(check.KeyID) // an error leaves the ring that was read before
	if !found {
		return nil, fmt.Errorf("%w: %s", ErrKeyRing, check.KeyID)
	}
	return key, nil
}

// isOf reports whether the record is of a credential that can be answered, and was mailed to where a says and for what.
func isOf(ring *keyring.Ring, check *record.Check, a Answer) bool {
	tag := record.AddressTag(ring.Recipients(), a.ID, a.To)
	return hmac.Equal([]byte(tag), []byte(check.Address)) && check.Purpose == a.Purpose && check.Live
}

// canonical returns a as the mail has it. Its errors hold no address.
func (a Answer) canonical() (Answer, error) {
	to, err := canonicalAddress(a.To)
	if err != nil {
		return a, fmt.Errorf("%w: to: %w", ErrInvalid, err)
	}
	a.To = to
	if a.Purpose == "" {
		a.Purpose = defaultPurpose
	}
	if !purposePattern.MatchString(a.Purpose) {
		return a, fmt.Errorf("%w: purpose: %s", ErrInvalid, purposeForm)
	}
	if !idPattern.MatchString(a.ID) {
		return a, errRejected // no mail has it, and Redis's keys are made of it
	}
	return a, nil
}
