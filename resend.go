package securemail

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/resend"
	"example.com/securemail/tasks"
)

// Resend sends the mail again, with the same secret, expiry and count of wrong answers, so that it does not matter which
// of the two mails arrives first. It needs only the id. When it returns nil the mail is queued. Calling it again
// while this resend is queued returns nil too, and queues nothing more.
//
// Errors: [tasks.ErrStillSending] where the mail has not ended; [tasks.ErrRejected] where the secret cannot be verified any
// more, or for less than a fifth of its life, so send a new mail instead; [tasks.ErrNotFound]; with [WithKeyRingFile]
// alone, a [*tasks.LimitError]. After any other error (Redis unavailable) calling again is safe.
func (c *Client) Resend(ctx context.Context, id string) error {
	if !tasks.ValidID(id) {
		return tasks.ErrNotFound
	}
	kept, err := c.records.Kept(ctx, id)
	if errors.Is(err, tasks.ErrNotFound) {
		if _, err := c.queue.Find(id); !errors.Is(err, tasks.ErrNotFound) {
			return cmp.Or(err, tasks.ErrStillSending)
		}
		kept, err = c.records.Kept(ctx, id) // a worker may have opened and ended it between the two looks
	}
	if err != nil {
		return err
	}
	n := kept.Resends + 1
	switch {
	case len(kept.Sealed) == 0 || c.now().After(tasks.Task{CreatedAt: kept.CreatedAt, ExpiresAt: kept.ExpiresAt}.LateAt()):
		return fmt.Errorf("the mail cannot be sent again: %w", tasks.ErrRejected)
	case kept.State == tasks.Queued:
		n = kept.Resends // a repeated call: the task is in the queue, unless it was lost with the process
	case !kept.State.Ended():
		return tasks.ErrStillSending
	default:
		if err := c.lookAgain(ctx, id, n, kept); err != nil {
			return err
		}
	}
	// The task comes first. Whatever happens after it, a worker gives the sending its outcome.
	t := tasks.Task{ID: id, Resends: n, Version: kept.Version, Mail: tasks.Mail{Kind: kept.Kind}}
	if err := c.enqueueAgain(ctx, t); errors.Is(err, tasks.ErrInvalid) {
		return errForged // the number of its resends is none that workers take
	} else if err != nil {
		return err
	}
	return c.records.Resend(ctx, id, n)
}

// enqueueAgain queues t, also where asynq still has an earlier task of this id that has finished.
func (c *Client) enqueueAgain(ctx context.Context, t tasks.Task) error {
	conflict, err := c.queue.Enqueue(ctx, t)
	if err != nil || !conflict {
		return err
	}
	there, err := c.queue.Lookup(t.AsynqID())
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return err
	}
	if err == nil && !there.Finished {
		return nil
	}
	if err := c.queue.Remove(ctx, t); err != nil {
		return err
	}
	_, err = c.queue.Enqueue(ctx, t)
	return err
}

// lookAgain asks whether a worker would send the mail for the nth time again. Whom it counts for only the sealed mail says.
// A client that cannot open it leaves the answer to the workers.
func (c *Client) lookAgain(ctx context.Context, id string, n int, kept record.Kept) error {
	if c.ring == nil {
		return nil
	}
	key, found, _ := c.ring.Key(kept.KeyID)
	if !found {
		return nil
	}
	t, _, err := resend.Open(key, id, kept.Purpose, kept.KeyID, kept.Sealed)
	if err != nil {
		return nil
	}
	t.Resends = n
	_, err = c.look(ctx, t)
	return err
}
