package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
)

// ErrStillSending says that the mail has not ended yet, so that sending it again would only make two of it.
var ErrStillSending = errors.New("the mail is still being sent")

// Resend has the mail sent again, with the same secret, expiry and count of wrong answers, so that it does not matter
// which of the two arrives first. It needs nothing but the id. When it returns nil the mail is queued; asking again
// before it has ended is [ErrStillSending], or nil while it is queued. The other errors are one that [IsRejected]
// knows, where the secret is dead and it takes a new [Mail]; [ErrNotFound]; or Redis trouble, after which calling again
// is safe.
func (c *Client) Resend(ctx context.Context, id string) error {
	if !idPattern.MatchString(id) {
		return ErrNotFound
	}
	kept, err := c.records.Kept(ctx, id)
	if errors.Is(err, record.ErrNotFound) {
		if _, err := c.queuedTask(id); !errors.Is(err, ErrNotFound) {
			return cmp.Or(err, ErrStillSending)
		}
		kept, err = c.records.Kept(ctx, id) // a worker may have opened and ended it between the two looks
	}
	if errors.Is(err, record.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	n := kept.Sending + 1
	switch {
	case len(kept.Sealed) == 0:
		return fmt.Errorf("the mail cannot be sent again: %w", errRejected)
	case kept.State == record.Queued:
		n = kept.Sending // a resend that asks again: its task is in the queue, unless it was lost with the process
	case !kept.State.Final():
		return ErrStillSending
	}
	// The task comes first. Whatever happens after it, there is somebody to give the sending its outcome.
	if err := c.enqueueResend(ctx, id, n, Kind(kept.Kind)); err != nil {
		return err
	}
	return c.records.Resend(ctx, id, n)
}

func (c *Client) enqueueResend(ctx context.Context, id string, n int, kind Kind) error {
	body, err := Task{ID: id, Resend: n}.encode()
	if err != nil {
		return err
	}
	taskID := fmt.Sprintf("%s.%d", id, n)
	return c.enqueue(ctx, newAsynqTask(body, taskID, kind), kind, taskID)
}

// enqueue offers a task to Redis until there is an answer. A conflict of task ids is success: the id is this call's
// own, or stands for the same mail, so the task is there already, because the reply to an earlier try was lost (also
// inside go-redis, which repeats by itself) or because the caller asks again.
func (c *Client) enqueue(ctx context.Context, task *asynq.Task, kind Kind, taskID string) (err error) {
	for range sendTries {
		_, err = c.queue.EnqueueContext(ctx, task)
		if err == nil || errors.Is(err, asynq.ErrTaskIDConflict) {
			err = c.replicated(ctx, queueOf(kind), taskID)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("queue the mail: %w", err)
}
