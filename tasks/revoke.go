package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
)

// Revoke makes the secret worthless: no answer to it is right any more. A mail that is still queued or deferred is not
// sent and ends as [Revoked]; one that is being sent at this moment may still arrive. A secret that is used, locked or
// expired stays what it is, and that is no error. The error is [ErrNotFound] or Redis trouble; calling again is safe.
func (c *Client) Revoke(ctx context.Context, id string) error {
	if !idPattern.MatchString(id) {
		return ErrNotFound
	}
	err := c.records.Revoke(ctx, id)
	if !errors.Is(err, record.ErrNotFound) {
		return err
	}
	if err := c.revokeQueued(ctx, id); !errors.Is(err, ErrNotFound) {
		return err
	}
	// A worker may have opened and ended it between the two looks.
	if err = c.records.Revoke(ctx, id); errors.Is(err, record.ErrNotFound) {
		return ErrNotFound
	}
	return err
}

// revokeQueued revokes a mail that no worker has opened yet.
func (c *Client) revokeQueued(ctx context.Context, id string) error {
	info, err := c.queuedTask(id)
	if err != nil {
		return err
	}
	now := time.Now()
	m := record.Mail{ID: id, CreatedAt: now, ExpiresAt: now} // of a task that cannot be read
	if t, err := ParseTask(asynq.NewTask(info.Type, info.Payload)); err == nil {
		m.Kind, m.Purpose, m.CreatedAt, m.ExpiresAt = string(t.Mail.Kind), t.Mail.Purpose, t.CreatedAt, t.ExpiresAt
	}
	return c.records.RevokeUnopened(ctx, m)
}

// Unlock forgets every miss of the recipient, for all purposes, and what counts against the limits on mails to them. It
// is for an operator whom the person asked for help; a secret that is locked itself stays locked. It needs
// [WithKeyRingFile].
func (c *Client) Unlock(ctx context.Context, address string) error {
	if c.ring == nil {
		return errNoRing
	}
	to, err := canonicalAddress(address)
	if err != nil {
		return fmt.Errorf("%w: to: %w", ErrInvalid, err)
	}
	ring, _ := c.ring.Ring() // as in Verify
	return c.records.Unlock(ctx, record.RecipientHash(ring.Recipients(), to))
}
