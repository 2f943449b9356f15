package securemail

import (
	"context"
	"fmt"

	"example.com/securemail/tasks"
)

// Unlock resets a recipient's counts to zero: of wrong answers, for all purposes and kinds, and of mails. It is for support
// staff. A code or key in the state locked stays locked. Of the TOTPs, those whose mails' ids are given are active again if
// wrong answers had locked them; the others stay locked. Unlock needs [WithKeyRingFile].
//
// Errors: [tasks.ErrInvalid]; [tasks.ErrRejected] where an id is not that of a mail to address, after which the counts may be
// reset; [tasks.ErrKeyRing]; or any other error (Redis unavailable). Calling again is safe.
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
