package securemail

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// recordRetention is how long a record outlives its secret where the client makes it, for a mail revoked in the queue.
const recordRetention = 7 * 24 * time.Hour

// Client sends mails, tells how they went, and checks what was typed. It is safe for concurrent use. It has nothing to
// close; the Redis client stays the caller's.
type Client struct {
	queue   *queue.Client
	records *record.Store
	mails   *limits.Mails
	limits  tasks.Limits
	lives   tasks.Lives
	ring    *keyring.File // nil for a client that only sends
	now     func() time.Time

	idempotencySecret []byte // empty for none
}

// NewClient returns a client over rdb. It does not connect. Deadlines of the contexts given to its methods reach the
// connection only if rdb was made with ContextTimeoutEnabled. Until a worker has started on the mail, Status, Resend and
// Revoke also read asynq's queue. That read ignores the context, and takes no longer than rdb's own timeouts allow.
func NewClient(rdb redis.UniversalClient, options ...Option) (*Client, error) {
	c := &Client{
		queue:   queue.NewClient(rdb),
		records: record.NewStore(rdb, recordRetention),
		limits:  tasks.DefaultLimits(),
		lives:   tasks.DefaultLives(),
		now:     time.Now,
	}
	for _, option := range options {
		if err := option(c); err != nil {
			return nil, err
		}
	}
	c.mails = limits.NewMails(rdb, c.limits)
	return c, nil
}

var errNoKeyRing = errors.New("securemail: to check answers the client needs WithKeyRingFile")

// keyRing returns the key ring, or an error for a client without one. A file that became invalid leaves the last valid
// keys, which can be used.
func (c *Client) keyRing() (*keyring.Ring, error) {
	if c.ring == nil {
		return nil, errNoKeyRing
	}
	ring, _ := c.ring.Ring()
	return ring, nil
}

// counters returns the key of what is counted of a recipient.
func counters(ring *keyring.Ring, to string) (string, error) {
	address, err := mailaddr.Parse(to)
	if err != nil {
		return "", err
	}
	return limits.RecipientKey(ring.Recipients(), address), nil
}
