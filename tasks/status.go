package tasks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
)

// State is where a mail stands. The last five are outcomes. They do not change by themselves, but for one: a relay's late
// acceptance goes before any other. A Resend begins anew.
type State string

const (
	Queued   State = "queued"   // no worker has begun with it yet
	Sending  State = "sending"  // a worker is at it
	Deferred State = "deferred" // a try failed; another follows at NextTry
	Accepted State = "accepted" // a relay took responsibility for it
	Refused  State = "refused"  // it will never be accepted; Reason says why
	Expired  State = "expired"  // too little of its life was left for it to be of use, so it was not sent
	Revoked  State = "revoked"  // the application withdrew it
	Unknown  State = "unknown"  // the relay may or may not have it, and the settings say not to try again
)

// Ended reports whether s is an outcome.
func (s State) Ended() bool { return record.State(s).Final() }

// CredentialState is where the secret of a mail stands, apart from the mail. The last four are final.
type CredentialState string

const (
	CredentialLive    CredentialState = "live"    // it can be answered
	CredentialPending CredentialState = "pending" // so can this one: a TOTP before its first right code
	CredentialActive  CredentialState = "active"  // and this one: a TOTP after it
	CredentialUsed    CredentialState = "used"    // somebody answered right; or a TOTP was exported
	CredentialLocked  CredentialState = "locked"  // too many wrong answers
	CredentialExpired CredentialState = "expired" // its life is over
	CredentialRevoked CredentialState = "revoked" // the application withdrew it
)

// Status is what is known of a mail.
type Status struct {
	ID      string `json:"id"`
	Kind    Kind   `json:"kind,omitempty"` // empty while queued
	Purpose string `json:"purpose,omitempty"`
	State   State  `json:"state"`
	// Credential is empty while no worker has made the secret.
	Credential CredentialState `json:"credential,omitempty"`
	// Reason says whose trouble the last failure was, in one word of a closed list: recipient, limited, late, used, misses,
	// revoked, network, relay, credentials, message, unconfirmed, redis, key-ring, malformed, newer, locked, repeated,
	// stopping, fault. The README explains them. Code and EnhancedCode are what the relay replied (RFC 5321, RFC 3463), if it did.
	Reason       string    `json:"reason,omitempty"`
	Code         int       `json:"code,omitempty"`
	EnhancedCode string    `json:"enhanced_code,omitempty"`
	Relay        string    `json:"relay,omitempty"`
	QueueID      string    `json:"queue_id,omitempty"` // the relay's own name for the mail
	Sending      int       `json:"sending"`            // 0, and one more for every resend
	Tries        int       `json:"tries"`
	CreatedAt    time.Time `json:"created_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	NextTry      time.Time `json:"next_try,omitzero"`
	AcceptedAt   time.Time `json:"accepted_at,omitzero"`
}

// ErrNotFound says that no mail has this id, or that its record has gone: it lives until seven days past the expiry,
// unless the workers' record_retention says otherwise.
var ErrNotFound = errors.New("no mail with this id")

// Status tells where the mail stands. The error is [ErrNotFound] or Redis trouble.
func (c *Client) Status(ctx context.Context, id string) (Status, error) {
	if !idPattern.MatchString(id) {
		return Status{}, ErrNotFound
	}
	r, err := c.records.Status(ctx, id)
	if errors.Is(err, record.ErrNotFound) {
		s, queuedErr := c.queued(id)
		if !errors.Is(queuedErr, ErrNotFound) {
			return s, queuedErr
		}
		r, err = c.records.Status(ctx, id) // a worker may have opened and ended it between the two looks
	}
	if errors.Is(err, record.ErrNotFound) {
		return Status{}, ErrNotFound
	}
	if err != nil {
		return Status{}, fmt.Errorf("status of the mail: %w", err)
	}
	return Status{ID: id, Kind: Kind(r.Kind), Purpose: r.Purpose, State: State(r.State), Credential: CredentialState(r.Credential), Reason: r.Reason, Code: r.Code,
		EnhancedCode: r.Enhanced, Relay: r.Relay, QueueID: r.QueueID, Sending: r.Sending, Tries: r.Tries,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, NextTry: r.NextTry, AcceptedAt: r.AcceptedAt}, nil
}

// queued tells where a mail stands that has no record, because no worker has opened it yet.
func (c *Client) queued(id string) (Status, error) {
	info, err := c.queuedTask(id)
	if err != nil {
		return Status{}, err
	}
	s := Status{ID: id, State: Queued}
	if info.State == asynq.TaskStateRetry { // left for a newer worker, or for better times
		s.NextTry = info.NextProcessAt.UTC()
	}
	return s, nil
}

func (c *Client) queuedTask(id string) (*asynq.TaskInfo, error) {
	for _, queue := range []string{QueueCodes, Queue} {
		info, err := c.inspector.GetTaskInfo(queue, id)
		if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for the mail in the queue: %w", err)
		}
		return info, nil
	}
	return nil, ErrNotFound
}

// Wait waits until the mail has ended and returns how. When ctx ends first, it returns ctx's error and the last status
// it saw.
func (c *Client) Wait(ctx context.Context, id string) (Status, error) {
	var last Status
	for s, err := range c.Watch(ctx, id) {
		if err != nil {
			return last, err
		}
		last = s
	}
	return last, nil
}

// Watch yields the mail's status now and whenever it has changed, until the mail has ended; or an error, and then
// nothing more. It asks Redis 100 times a second at first and twice a second in the end.
func (c *Client) Watch(ctx context.Context, id string) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		var last Status
		pause := 10 * time.Millisecond
		for {
			s, err := c.Status(ctx, id)
			if err != nil {
				yield(Status{}, err)
				return
			}
			if s != last && !yield(s, nil) || s.State.Ended() {
				return
			}
			last = s
			select {
			case <-ctx.Done():
				yield(Status{}, ctx.Err())
				return
			case <-time.After(pause):
			}
			pause = min(pause*5/4, 500*time.Millisecond)
		}
	}
}
