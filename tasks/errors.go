package tasks

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is returned for an invalid [Mail], [Ref] or task. Its text names each field that is wrong and how to
	// fix it, and holds no address.
	ErrInvalid = errors.New("invalid mail")

	// ErrKeyReused is returned by Send where another mail has the idempotency key. It differs in its recipient, its kind or
	// any other field but Origin. Nothing was sent. Use one key for one mail.
	ErrKeyReused = errors.New("another mail has this idempotency key; use a new key for each mail")
	// ErrNewer is returned for a task that a newer version of this package wrote. Leave it for a newer worker.
	ErrNewer = errors.New("the task is of a newer version")

	// ErrNotFound is returned where no mail has this id, or its record is gone. A record lives until seven days after
	// the secret's expiry, unless the workers' record_retention says otherwise.
	ErrNotFound = errors.New("no mail with this id")

	// ErrStillSending is returned for a resend of a mail that has not ended yet.
	ErrStillSending = errors.New("the mail is still being sent")

	// ErrRejected is returned where the secret cannot be used. The answer was not compared, for one of these reasons:
	//
	//   - the secret is expired, used, locked, revoked or exported
	//   - no such mail exists, it went to another address, or it was for another purpose
	//   - the mail has a session, and the [Ref] has none
	//   - the recipient had too many wrong answers in 24 hours
	//   - the record in Redis was changed by something else, which the error's text says to the operator
	//
	// Otherwise the error does not tell these apart, because that helps an attacker more than a person. Tell people: "This
	// code is no longer valid. Ask for a new one, and if that does not help, try again tomorrow."
	ErrRejected = errors.New("there is nothing valid to check the answer against: the secret is expired, used or locked, or was never mailed")

	// ErrUnreadable is returned for an answer that cannot be right, whatever was mailed. Neither 6 or 8 digits nor a key
	// of 25 characters can be read in it, or two different ones can, or it is longer than 1,024 bytes. The answer was
	// not counted. The error tells nothing of the mail: it is the same for an id that does not exist. Tell people:
	// "That is not a code or key. Type it as it stands in the mail."
	ErrUnreadable = errors.New("the answer is not a code or a key, so it was not counted")

	// ErrKeyRing is returned where the key ring lacks the key that the secret was made with: this process does
	// not read the same key ring as the workers, or the key was removed too early. The answer was not counted. An operator
	// has to look at it.
	ErrKeyRing = errors.New("the key ring does not have the key that this secret was made with")
)

// WrongError is returned for an answer that is not what was mailed. The answer was counted.
type WrongError struct {
	// TriesLeft is how many more wrong answers this secret stands; at 0 it is locked. The recipient's limits over 24
	// hours may reject answers earlier.
	TriesLeft int
}

func (e *WrongError) Error() string {
	return fmt.Sprintf("the answer is wrong; %d tries left", e.TriesLeft)
}
