package record

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

var resendScript = script("resend")

// Kept is what a record keeps for sending its mail again.
type Kept struct {
	State     tasks.State
	Version   int
	Kind      tasks.Kind
	Purpose   string
	KeyID     string
	Resends   int // of the last sending
	CreatedAt time.Time
	ExpiresAt time.Time
	Sealed    []byte // as in [Entry]; empty once the credential is dead
}

// Kept reads what there is for sending the mail again. It returns [tasks.ErrNotFound] where there is no record, or
// [ErrBroken].
func (s *Store) Kept(ctx context.Context, id string) (Kept, error) {
	fields := []string{"state", "v", "kind", "purpose", "kid", "sending", "created", "expires"}
	pipe := s.rdb.Pipeline()
	read := pipe.HMGet(ctx, recordKey(id), fields...)
	sealed := pipe.Get(ctx, sealedKey(id))
	pipe.Exec(ctx) // every command has its own error
	if err := readable(read.Err()); err != nil {
		return Kept{}, fmt.Errorf("read the record: %w", err)
	}
	h := hashOf(fields, read.Val())
	if h["state"] == "" {
		return Kept{}, tasks.ErrNotFound
	}
	if err := readable(sealed.Err()); err != nil && err != redis.Nil {
		return Kept{}, fmt.Errorf("read the sealed mail: %w", err)
	}
	return Kept{State: tasks.State(h["state"]), Version: int(h.number("v")), Kind: tasks.Kind(h["kind"]), Purpose: h["purpose"], KeyID: h["kid"],
		Resends: h.count("sending"), CreatedAt: h.moment("created"), ExpiresAt: h.moment("expires"), Sealed: []byte(sealed.Val())}, nil
}

// Resend shows the mail as queued for another sending, whose task is in the queue. It does nothing where a worker was
// faster.
func (s *Store) Resend(ctx context.Context, id string, resends int) error {
	if err := resendScript.Run(ctx, s.rdb, keysOf(id), named("resends", resends)...).Err(); err != nil {
		return fmt.Errorf("write the record as queued again: %w", err)
	}
	return nil
}
