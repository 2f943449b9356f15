package securemail

import (
	"bytes"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/limits"
	"example.com/securemail/tasks"
)

// Send queues m. When Send returns nil, the mail is in Redis, once.
//
// With an IdempotencyKey that an earlier call had, for the same mail, Send queues nothing and returns that mail's receipt, with
// Replayed set. Look at its Credential then: the secret can be dead meanwhile.
//
// Errors: [tasks.ErrInvalid]; [tasks.ErrKeyReused]; or, with [WithKeyRingFile] alone, [tasks.ErrLimited]. With these nothing was
// queued. With any other error (Redis unavailable) the mail may have been queued nevertheless: call again with the same
// IdempotencyKey to send it once.
func (c *Client) Send(ctx context.Context, m tasks.Mail) (tasks.Receipt, error) {
	t, err := m.Task(tasks.Making{Lives: c.lives, Now: c.now(), Secret: c.idempotencySecret})
	if err != nil {
		return tasks.Receipt{}, err
	}
	keyed := len(t.Fingerprint) > 0
	if keyed {
		status, err := c.records.Reserve(ctx, t.ID, t.Fingerprint, t.ExpiresAt, t.CreatedAt)
		if err != nil {
			return tasks.Receipt{}, err
		}
		if status.State != "" {
			return c.sentBefore(ctx, t, status)
		}
	}
	if err := c.checkLimits(ctx, t); err != nil {
		if keyed {
			err = errors.Join(err, c.records.Release(ctx, t.ID))
		}
		return tasks.Receipt{}, err
	}
	conflict, err := c.queue.Enqueue(ctx, t)
	if err != nil {
		return tasks.Receipt{}, err
	}
	if conflict && keyed {
		return c.queuedBefore(ctx, t)
	}
	return receiptOf(t), nil
}

// receiptOf is the receipt of a mail that was queued now.
func receiptOf(t tasks.Task) tasks.Receipt {
	return tasks.Receipt{ID: t.ID, Reference: tasks.Reference(t.ID), Digits: t.Mail.Digits, ExpiresAt: t.ExpiresAt, Credential: tasks.CredentialNew}
}

// sentBefore is the receipt of a mail that has a record.
func (c *Client) sentBefore(ctx context.Context, t tasks.Task, status tasks.Status) (tasks.Receipt, error) {
	if !status.State.Ended() { // so that the task is there, and on the replicas
		if _, err := c.queue.Enqueue(ctx, t); err != nil {
			return tasks.Receipt{}, err
		}
	}
	receipt := receiptOf(t)
	receipt.Replayed, receipt.Credential, receipt.ExpiresAt = true, status.Credential, status.ExpiresAt
	return receipt, nil
}

// queuedBefore is the receipt where asynq had a task with t's id already. The reservation says that it is no other mail's.
func (c *Client) queuedBefore(ctx context.Context, t tasks.Task) (tasks.Receipt, error) {
	receipt := receiptOf(t)
	there, err := c.queue.Lookup(t.ID)
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"): // a program that may only send hears no more
		receipt.Replayed, receipt.Credential = true, ""
		return receipt, nil
	case err != nil && !errors.Is(err, tasks.ErrNotFound):
		return tasks.Receipt{}, err
	case err == nil && !there.Finished:
		if !bytes.Equal(there.Task.Seed, t.Seed) { // otherwise this call has queued it, and the reply was lost
			receipt.Replayed, receipt.ExpiresAt = true, there.Task.ExpiresAt
		}
		return receipt, nil
	}
	// A worker has ended it a moment ago; or it is a leftover, and its record is gone.
	status, err := c.records.Status(ctx, t.ID, c.now())
	if errors.Is(err, tasks.ErrNotFound) {
		return receipt, c.enqueueAgain(ctx, t)
	}
	if err != nil {
		return tasks.Receipt{}, err
	}
	receipt.Replayed, receipt.Credential, receipt.ExpiresAt = true, status.Credential, status.ExpiresAt
	return receipt, nil
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
