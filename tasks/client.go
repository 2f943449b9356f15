package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
)

// recordRetention is how long a record outlives its secret where this side makes it, for a mail revoked in the queue.
const recordRetention = 7 * 24 * time.Hour

// Client sends mails, asks how they went, and checks what was typed. It is safe for concurrent use. It holds nothing
// that needs closing; the Redis client stays the caller's.
type Client struct {
	queue     *asynq.Client
	inspector *asynq.Inspector
	records   *record.Store
	ceiling   map[Kind]time.Duration
	ring      *keyring.File // nil for a client that only sends

	rdb         redis.UniversalClient
	replicas    int // see WithReplicas
	replicaWait time.Duration
}

// Option changes how a [Client] works.
type Option func(*Client) error

// WithMaxLife raises or lowers how long a secret of one kind may live, which is also its default. The workers have the
// same setting, and refuse what is over theirs.
func WithMaxLife(kind Kind, life time.Duration) Option {
	return func(c *Client) error {
		if _, known := c.ceiling[kind]; !known || life < minLife {
			return fmt.Errorf("tasks: WithMaxLife(%.20q, %v): the kind is unknown, or the life is under %v", kind, life, minLife)
		}
		c.ceiling[kind] = life
		return nil
	}
}

// NewClient returns a client over rdb. It does not connect. Deadlines of the contexts given to its methods reach the
// connection only if rdb was made with ContextTimeoutEnabled; the look into the queue for a mail that no worker has opened yet,
// in Status, Resend and Revoke, has rdb's own time-outs.
func NewClient(rdb redis.UniversalClient, options ...Option) (*Client, error) {
	c := &Client{
		queue:     asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		records:   record.NewStore(rdb, recordRetention),
		ceiling:   map[Kind]time.Duration{},
		rdb:       rdb,
	}
	for kind, life := range maxLife {
		c.ceiling[kind] = life
	}
	for _, option := range options {
		if err := option(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// sendTries is how often a task is offered to Redis when the answer is lost.
const sendTries = 3

// Send queues m and returns its id, which is to be kept where only the person's own session finds it: whoever has
// the id can ask about the mail. When Send returns nil the mail is in Redis, once.
//
// An error is [ErrInvalid] or [ErrLimited], and nothing was queued; or it is Redis trouble, and then the mail may have
// been queued all the same. Call again with the same IdempotencyKey to have it once.
func (c *Client) Send(ctx context.Context, m Mail) (id string, err error) {
	task, id, err := newTask(m, c.ceiling, time.Now())
	if err != nil {
		return "", err
	}
	if err := c.checkLimits(ctx, m, id); err != nil {
		return "", err
	}
	if err := c.enqueue(ctx, task, m.Kind, id); err != nil {
		return "", err
	}
	return id, nil
}

// ErrLimited says that a recipient has had too many mails: 10 in an hour or 30 in a day.
var ErrLimited = errors.New("the recipient has had too many mails; 10 an hour and 30 a day are the most")

// checkLimits looks whether a worker would take the mail. The workers have the last word, because a mail counts when it
// is sent. One that was sent already, and is repeated because the answer to Send was lost, counts for itself.
func (c *Client) checkLimits(ctx context.Context, m Mail, id string) error {
	if c.ring == nil {
		return nil
	}
	to, err := canonicalAddress(m.To)
	if err != nil {
		return err
	}
	ring, _ := c.ring.Ring() // as in Verify
	ok, err := c.records.Admits(ctx, record.RecipientHash(ring.Recipients(), to), string(m.Kind), id)
	if err == nil && !ok {
		return ErrLimited
	}
	return err
}
