package securemail

import (
	"context"

	"example.com/securemail/internal/limits"
	"example.com/securemail/tasks"
)

// Send queues m. When Send returns nil, the mail is in Redis, once.
//
// Errors: [tasks.ErrInvalid], or, with [WithKeyRingFile] alone, a [*tasks.LimitError]; nothing was queued. With any other
// error (Redis unavailable) the mail may have been queued nevertheless: call again with the same IdempotencyKey to send
// it once.
func (c *Client) Send(ctx context.Context, m tasks.Mail) (tasks.Receipt, error) {
	t, err := m.Task(c.lives, c.now())
	if err != nil {
		return tasks.Receipt{}, err
	}
	receipt := tasks.Receipt{ID: t.ID, ExpiresAt: t.ExpiresAt, ResendAfter: t.CreatedAt.Add(c.limits.RecipientInterval)}
	if c.ring != nil {
		place, err := c.look(ctx, t)
		if err != nil {
			return tasks.Receipt{}, err
		}
		receipt.ResendAfter = t.CreatedAt.Add(place.Next)
	}
	if err := c.queue.Enqueue(ctx, t); err != nil {
		return tasks.Receipt{}, err
	}
	return receipt, nil
}

// look asks when a worker would send the mail. The workers have the last word, because a mail counts when it is sent. A
// mail that was sent already, and is repeated because the reply to Send was lost, has its place.
func (c *Client) look(ctx context.Context, t tasks.Task) (limits.Place, error) {
	ring, err := c.keyRing()
	if err != nil {
		return limits.Place{}, err
	}
	sending, err := limits.NewSending(ring.Recipients(), t)
	if err != nil {
		return limits.Place{}, err
	}
	return c.mails.Look(ctx, sending)
}
