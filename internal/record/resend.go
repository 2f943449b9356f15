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
	Kind      tasks.Kind
	Purpose   string
	KeyID     string
	Resends   int // of the last sending
	ExpiresAt time.Time
	Sealed    []byte // as in [Entry]; empty once the credential is dead
}

// Kept reads what there is for sending the mail again, or returns [tasks.ErrNotFound].
func (s *Store) Kept(ctx context.Context, id string) (Kept, error) {
	pipe := s.rdb.Pipeline()
	read := pipe.HMGet(ctx, recordKey(id), "state", "kind", "purpose", "kid", "sending", "expires")
	sealed := pipe.Get(ctx, sealedKey(id))
	pipe.Exec(ctx) // every command has its own error
	var f struct {
		State   tasks.State `redis:"state"`
		Kind    tasks.Kind  `redis:"kind"`
		Purpose string      `redis:"purpose"`
		KeyID   string      `redis:"kid"`
		Resends int         `redis:"sending"`
		Expires int64       `redis:"expires"`
	}
	if err := read.Scan(&f); err != nil {
		return Kept{}, fmt.Errorf("read the record: %w", err)
	}
	if f.State == "" {
		return Kept{}, tasks.ErrNotFound
	}
	if err := sealed.Err(); err != nil && err != redis.Nil {
		return Kept{}, fmt.Errorf("read the sealed mail: %w", err)
	}
	return Kept{State: f.State, Kind: f.Kind, Purpose: f.Purpose, KeyID: f.KeyID, Resends: f.Resends, ExpiresAt: moment(f.Expires),
		Sealed: []byte(sealed.Val())}, nil
}

// Resend shows the mail as queued for another sending, whose task is in the queue. It does nothing where a worker was
// faster.
func (s *Store) Resend(ctx context.Context, id string, resends int) error {
	if err := resendScript.Run(ctx, s.rdb, keysOf(id), named("resends", resends)...).Err(); err != nil {
		return fmt.Errorf("write the record as queued again: %w", err)
	}
	return nil
}
