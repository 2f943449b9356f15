package securemail

import (
	"context"
	"errors"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// Revoke makes the secret worthless: no answer to it is right any more. A mail that is still queued or deferred is not
// sent, and ends as [tasks.Revoked]. One that is being sent at this moment may still arrive. A secret that is verified,
// locked or expired stays as it is, and that is no error.
//
// Errors: [tasks.ErrNotFound]. After any other error (Redis unavailable) calling again is safe.
func (c *Client) Revoke(ctx context.Context, id string) error {
	if !tasks.ValidID(id) {
		return tasks.ErrNotFound
	}
	if err := c.records.Revoke(ctx, id); !errors.Is(err, tasks.ErrNotFound) {
		return err
	}
	if err := c.revokeQueued(ctx, id); !errors.Is(err, tasks.ErrNotFound) {
		return err
	}
	return c.records.Revoke(ctx, id) // a worker may have opened and ended it between the two looks
}

// revokeQueued revokes a mail that no worker has opened yet.
func (c *Client) revokeQueued(ctx context.Context, id string) error {
	w, err := c.queue.Find(id)
	if err != nil {
		return err
	}
	now := c.now()
	m := record.Entry{ID: id, CreatedAt: now, ExpiresAt: now} // of a task that cannot be read
	if !w.Invalid {
		m.Kind, m.Purpose, m.CreatedAt, m.ExpiresAt = w.Task.Mail.Kind, w.Task.Mail.Purpose, w.Task.CreatedAt, w.Task.ExpiresAt
		m.Fingerprint, m.ClientRef = w.Task.Fingerprint, w.Task.Mail.ClientRef
	}
	return c.records.RevokeUnopened(ctx, m)
}
