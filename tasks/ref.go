package tasks

import (
	"fmt"
	"regexp"
	"time"

	"example.com/securemail/internal/mailaddr"
)

// Receipt is what Send returns for a mail that is in the queue.
type Receipt struct {
	// ID names the mail. Keep it where only the person's own session finds it: whatever has the id can ask about the
	// mail.
	ID string
	// Reference is three letters that name the mail to people, see [Reference].
	Reference string
	// Digits is how many digits the code has, 0 for the other kinds.
	Digits int
	// ExpiresAt is when the secret expires, UTC. A TOTP has to get its first right code before.
	ExpiresAt time.Time
	// ResendAfter is when the next mail of this kind may go to this recipient, UTC. Enable a button that sends another one
	// then. A client with the key ring looks at what was counted of the recipient. Without the key ring it adds
	// [Limits.RecipientInterval] to the time of the call.
	ResendAfter time.Time
	// Replayed reports that an earlier call with the same idempotency key has sent the mail, and this one sent nothing.
	Replayed bool
	// Credential is the state of the secret: new for a mail that this call has sent, and otherwise what the secret of the
	// earlier call is now. If it is not [CredentialState.Verifiable], nobody can use the mail any more: send another one with
	// another key. It is empty if Replayed is set and the Redis user may not read records.
	Credential CredentialState
}

// Ref says which secret an answer belongs to. Take all fields but Attempt from the person's own session, never from the
// form.
type Ref struct {
	ID      string
	Purpose string // as in the [Mail]; empty means "default"
	To      string // as in the [Mail]
	// Session is as in the [Mail]. A secret without a session ignores it.
	Session string
	// Attempt is a random value of up to 128 bytes that the form has, another one each time it is shown. It tells a repeated
	// post from a new try. If the result of a right answer got lost, the same answer with the same Attempt is right again for
	// 2 minutes. A wrong answer that is repeated counts once. Empty: every call is an attempt of its own.
	Attempt string
}

// String leaves out the address and the session.
func (r Ref) String() string { return "mail " + r.ID }

// GoString is String, so that %#v shows no more.
func (r Ref) GoString() string { return r.String() }

// Canonical returns r in the form that records use. It does not look for the mail. The error is [ErrInvalid] where no mail can
// have this To, Purpose or Session, or where Attempt is too long. It is [ErrRejected] where no mail can have this ID. Its text
// holds no address.
func (r Ref) Canonical() (Ref, error) {
	to, err := mailaddr.Parse(r.To)
	if err != nil {
		return r, fmt.Errorf("%w: to: %w", ErrInvalid, err)
	}
	r.To = to.String()
	if r.Purpose == "" {
		r.Purpose = defaultPurpose
	}
	if !purposePattern.MatchString(r.Purpose) {
		return r, fmt.Errorf("%w: purpose: %s", ErrInvalid, purposeForm)
	}
	if r.Session != "" {
		if err := checkSession(r.Session); err != nil {
			return r, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if len(r.Attempt) > maxAttempt {
		return r, fmt.Errorf("%w: attempt: it is longer than %d bytes", ErrInvalid, maxAttempt)
	}
	if !ValidID(r.ID) {
		return r, ErrRejected
	}
	return r, nil
}

const maxAttempt = 128 // bytes

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)

// ValidID reports whether id could be that of a mail: 16 to 64 of a-z, A-Z, 0-9, underscore and hyphen. The id becomes
// a part of names of keys in Redis.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Exported is what an application needs to check the codes of a TOTP by itself.
type Exported struct {
	// Secret is the shared secret in base32 (RFC 4648 section 6) without padding, for SHA-1, 6 digits and 30 seconds.
	Secret string
	// LastStep is the time step of the last code that was accepted (T of RFC 6238 section 4.2). Accept only codes of
	// later steps.
	LastStep int64
}

// String leaves out the secret.
func (e Exported) String() string { return "exported TOTP secret" }

// GoString is String, so that %#v shows no more.
func (e Exported) GoString() string { return e.String() }
