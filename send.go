package securemail

import (
	"context"

	"example.com/securemail/internal/limits"
	"example.com/securemail/tasks"
)

// Send queues m. When Send returns nil, the mail is in Redis, once.
//
// Errors: [tasks.ErrInvalid], or, with [WithKeyRingFile] alone, [tasks.ErrLimited]; nothing was queued. With any other error (Redis unavailable) the
// mail may have been queued nevertheless: call again with the same IdempotencyKey to send it once.
func (c *Client) Send(ctx context.Context, m tasks.Mail) (tasks.Receipt, error) {
	t, err := m.Task(c.lives, c.now())
	if err != nil {
		return tasks.Receipt{}, err
	}
	if err := c.checkLimits(ctx, t); err != nil {
		return tasks.Receipt{}, err
	}
	if err := c.queue.Enqueue(ctx, t); err != nil {
		return tasks.Receipt{}, err
	}
	return tasks.Receipt{ID: t.ID, ExpiresAt: t.ExpiresAt}, nil
}

// checkLimits asks whether a worker would send the mail. The workers have the last word, because a mail counts when it
// is sent. A mail that was sent already, and is repeated because the reply to Send was lost, has its place.
func (c *Client) checkLimits(ctx context.Context, t tasks.Task) error {
	if c.ring == nil {
		return nil
	}
	ring, _ := c.keyRing()
	key, err := counters(ring, t.Mail.To)
	if err != nil {
		return err
	}
	ok, err := c.recipients.Admits(ctx, key, limits.Sending{ID: t.ID, Kind: t.Mail.Kind})
	if err == nil && !ok {
		return tasks.ErrLimited
	}
	return err
}
