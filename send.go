package securemail

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// Send queues m. When Send returns nil, the mail is in Redis, once.
//
// If an earlier call had the same IdempotencyKey and the same mail, Send queues nothing. It returns that mail's receipt with
// Replayed set. Look at its Credential then: the secret can be used or expired by now.
//
// Errors: [tasks.ErrInvalid]; [tasks.ErrKeyReused]; or, with [WithKeyRingFile] alone, a [*tasks.LimitError]. With these nothing
// was queued. With any other error (Redis unavailable) the mail may have been queued nevertheless: call again with the same
// IdempotencyKey to send it once.
func (c *Client) Send(ctx context.Context, m tasks.Mail) (tasks.Receipt, error) {
	t, err := m.Task(tasks.Making{Lives: c.lives, Now: c.now(), Secret: c.idempotencySecret})
	if err != nil {
		return tasks.Receipt{}, err
	}
	receipt := tasks.Receipt{ID: t.ID, Reference: tasks.Reference(t.ID), Digits: t.Mail.Digits, ExpiresAt: t.ExpiresAt,
		ResendAfter: t.CreatedAt.Add(c.limits.RecipientInterval), Credential: tasks.CredentialNew}
	keyed := len(t.Fingerprint) > 0
	var reserved record.Reservation
	if keyed {
		var status tasks.Status
		if status, reserved, err = c.records.Reserve(ctx, t.ID, t.Fingerprint, t.ExpiresAt, t.CreatedAt); err != nil {
			return tasks.Receipt{}, err
		}
		if status.State != "" {
			return c.sentBefore(ctx, t, receipt, status)
		}
	}
	if c.ring != nil && !reserved.Repeated { // an earlier call has looked
		place, err := c.look(ctx, t)
		if err != nil {
			if keyed {
				err = errors.Join(err, c.records.Release(ctx, t.ID, t.Fingerprint))
			}
			return tasks.Receipt{}, err
		}
		receipt.ResendAfter = t.CreatedAt.Add(place.Next)
	}
	conflict, err := c.queue.Enqueue(ctx, t)
	if err != nil {
		return tasks.Receipt{}, err
	}
	if conflict && keyed {
		return c.queuedBefore(ctx, t, receipt)
	}
	if reserved.Repeated && reserved.Blind { // the mail was sent before, or the earlier call ended before it had queued it
		receipt.Replayed, receipt.Credential = true, ""
	}
	return receipt, nil
}

// sentBefore is the receipt of a mail that has a record.
func (c *Client) sentBefore(ctx context.Context, t tasks.Task, receipt tasks.Receipt, status tasks.Status) (tasks.Receipt, error) {
	if !status.State.Ended() { // so that the task is there, and on the replicas
		if _, err := c.queue.Enqueue(ctx, t); err != nil {
			return tasks.Receipt{}, err
		}
	}
	return c.replayed(receipt, status.Credential, status.CreatedAt, status.ExpiresAt), nil
}

// replayed makes receipt that of a mail which was created before, and whose secret is in this state.
func (c *Client) replayed(receipt tasks.Receipt, state tasks.CredentialState, created, expires time.Time) tasks.Receipt {
	receipt.Replayed, receipt.Credential, receipt.ExpiresAt = true, state, expires
	receipt.ResendAfter = created.Add(c.limits.RecipientInterval)
	return receipt
}

// queuedBefore is the receipt where asynq had a task with t's id already. The reservation says that it is no other
// mail's, unless it was lost, or a client of asynq has queued that task.
func (c *Client) queuedBefore(ctx context.Context, t tasks.Task, receipt tasks.Receipt) (tasks.Receipt, error) {
	there, err := c.queue.Lookup(t.ID)
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"): // a program that may only send hears no more
		receipt.Replayed, receipt.Credential = true, ""
		return receipt, nil
	case err != nil && !errors.Is(err, tasks.ErrNotFound):
		return tasks.Receipt{}, err
	case err == nil && !there.Finished && !bytes.Equal(there.Task.Fingerprint, t.Fingerprint):
		return tasks.Receipt{}, errors.Join(tasks.ErrKeyReused, c.records.Release(ctx, t.ID, t.Fingerprint))
	case err == nil && !there.Finished && bytes.Equal(there.Task.Seed, t.Seed): // this call has queued it, and the reply was lost
		return receipt, nil
	case err == nil && !there.Finished:
		return c.replayed(receipt, tasks.CredentialNew, there.Task.CreatedAt, there.Task.ExpiresAt), nil
	}
	// A worker has ended it a moment ago; or it is a leftover, and its record is gone.
	status, _, err := c.records.Reserve(ctx, t.ID, t.Fingerprint, t.ExpiresAt, t.CreatedAt)
	if err != nil {
		return tasks.Receipt{}, err
	}
	if status.State == "" {
		return receipt, c.enqueueAgain(ctx, t)
	}
	return c.replayed(receipt, status.Credential, status.CreatedAt, status.ExpiresAt), nil
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
