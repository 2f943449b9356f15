package securemail

import (
	"context"
	"fmt"

	"example.com/securemail/tasks"
)

// Unlock resets a recipient's counts to zero: of wrong answers, for all purposes and kinds, and of mails. It is for support
// staff. A secret in the state locked stays locked. Unlock needs [WithKeyRingFile].
//
// Errors: [tasks.ErrInvalid], or any other error (Redis unavailable).
func (c *Client) Unlock(ctx context.Context, address string) error {
	ring, err := c.keyRing()
	if err != nil {
		return err
	}
	key, err := counters(ring, address)
	if err != nil {
		return fmt.Errorf("%w: to: %w", tasks.ErrInvalid, err)
	}
	return c.mails.Clear(ctx, key)
}
