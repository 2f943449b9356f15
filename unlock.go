package securemail

import (
	"context"
	"fmt"

	"example.com/securemail/tasks"
)

// Unlock resets a recipient's counts to zero: of wrong answers, for all purposes and kinds, and of mails. It is for support
// staff. Codes and keys that are locked stay locked. ids name the mails of TOTPs that Unlock makes active again, if they were
// active when wrong answers locked them. Unlock needs [WithKeyRingFile].
//
// Errors: [tasks.ErrInvalid]; [tasks.ErrRejected] where an id is not that of a mail to address; [tasks.ErrKeyRing]; or any other
// error (Redis unavailable). After an error the counts may be reset nevertheless. Calling again is safe.
func (c *Client) Unlock(ctx context.Context, address string, ids ...string) error {
	ring, err := c.keyRing()
	if err != nil {
		return err
	}
	key, err := counters(ring, address)
	if err != nil {
		return fmt.Errorf("%w: to: %w", tasks.ErrInvalid, err)
	}
	if err := c.mails.Clear(ctx, key); err != nil {
		return err
	}
	for _, id := range ids {
		ref, err := tasks.Ref{ID: id, To: address}.Canonical()
		if err != nil {
			return err
		}
		if _, _, err := c.authentic(ctx, ring, ref); err != nil {
			return err
		}
		if _, err := c.records.Unlock(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
