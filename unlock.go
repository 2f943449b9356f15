package securemail

import (
	"context"
	"fmt"

	"example.com/securemail/tasks"
)

// Unlock clears the wrong-answer count of a recipient, for all purposes, and what counts against the limits on mails to
// them. It is for support staff. A secret that is locked itself stays locked. It needs [WithKeyRingFile].
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
	return c.recipients.Clear(ctx, key)
}
