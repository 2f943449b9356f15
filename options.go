package securemail

import (
	"errors"
	"fmt"
	"time"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/tasks"
)

// Option changes how a [Client] works.
type Option func(*Client) error

// WithKeyRingFile names the key ring, which [Client.Verify], [Client.Export] and [Client.Unlock] need. With it,
// [Client.Send] and [Client.Resend] return a [*tasks.LimitError] for a mail that is over a limit; without it, the worker
// refuses the mail with [tasks.ReasonLimited]. The file is read again whenever it has changed. If it becomes invalid, the
// last valid keys stay in use.
func WithKeyRingFile(path string) Option {
	return func(c *Client) error {
		ring, err := keyring.Open(path)
		if err != nil {
			return fmt.Errorf("securemail: WithKeyRingFile: %w", err)
		}
		c.ring = ring
		return nil
	}
}

// WithMaxLife sets the longest life of secrets of one kind, which is also their default. It is 10 seconds at least. Set the
// workers (max_life) to the same or more: they refuse a longer life than theirs.
func WithMaxLife(kind tasks.Kind, life time.Duration) Option {
	return func(c *Client) error {
		if _, known := c.lives[kind]; !known || life < tasks.MinLife {
			return fmt.Errorf("securemail: WithMaxLife(%.20q, %v): the kind is unknown, or the life is under %v", kind, life, tasks.MinLife)
		}
		c.lives[kind] = life
		return nil
	}
}

// WithIdempotencySecret makes ids of idempotency keys that nobody without the secret can compute. Use it where others can guess
// the keys, such as the numbers of orders. Give every process of an application the same secret, of 16 to 512 bytes: with
// another secret, a key makes another mail.
func WithIdempotencySecret(secret string) Option {
	return func(c *Client) error {
		if len(secret) < 16 || len(secret) > 512 {
			return fmt.Errorf("securemail: WithIdempotencySecret: it has %d bytes, want 16 to 512", len(secret))
		}
		c.idempotencySecret = []byte(secret)
		return nil
	}
}

// WithLimits sets the limits that the client holds mails to, in place of [tasks.DefaultLimits]. Give it the numbers of the
// workers (limits): they have the last word. A client without a key ring uses RecipientInterval alone, for
// [tasks.Receipt.ResendAfter].
func WithLimits(l tasks.Limits) Option {
	return func(c *Client) error {
		var errs []error
		l.Check(func(name, format string, args ...any) {
			errs = append(errs, fmt.Errorf("securemail: WithLimits: %s: %s", name, fmt.Sprintf(format, args...)))
		})
		c.limits = l
		return errors.Join(errs...)
	}
}

// WithReplicas makes Send and Resend return only when n replicas of Redis have the task too, so that a failover to one
// of them does not lose it. They try three times, wait for up to wait each time (1 ms to 2 s), and fail if there are
// fewer replicas by then. After a failure the mail may be queued nevertheless: call Send again with the same
// IdempotencyKey, or Resend again.
//
// It costs a second round trip, and the time of the n-th replica. A replica has the task in memory; durability on its
// disk depends on its appendfsync.
func WithReplicas(n int, wait time.Duration) Option {
	return func(c *Client) error {
		if n < 1 || wait < time.Millisecond || wait > 2*time.Second {
			return fmt.Errorf("securemail: WithReplicas(%d, %v): ask for 1 or more, and wait for 1ms to 2s", n, wait)
		}
		c.queue.WithReplicas(n, wait)
		return nil
	}
}
