package record

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/resend.lua
	resendSource string
	resendScript = redis.NewScript(resendSource)
)

// Kept is what a record keeps for sending its mail again.
type Kept struct {
	State     State
	Kind      string
	Purpose   string
	KeyID     string
	Sending   int // the last one
	ExpiresAt time.Time
	Sealed    []byte // as in [Mail]; empty once the credential is dead
}

// sealedKey is in the slot of the record, and a key of its own because it ends with the credential, not with the record.
func sealedKey(id string) string { return key(id) + ":mail" }

// Kept reads what there is for sending the mail again, or returns [ErrNotFound].
func (s *Store) Kept(ctx context.Context, id string) (Kept, error) {
	pipe := s.rdb.Pipeline()
	read := pipe.HMGet(ctx, key(id), "state", "kind", "purpose", "kid", "sending", "expires")
	sealed := pipe.Get(ctx, sealedKey(id))
	pipe.Exec(ctx) // every command has its own error
	var f struct {
		State   string `redis:"state"`
		Kind    string `redis:"kind"`
		Purpose string `redis:"purpose"`
		KeyID   string `redis:"kid"`
		Sending int    `redis:"sending"`
		Expires int64  `redis:"expires"`
	}
	if err := read.Scan(&f); err != nil {
		return Kept{}, fmt.Errorf("read the record: %w", err)
	}
	if f.State == "" {
		return Kept{}, ErrNotFound
	}
	k := Kept{State(f.State), f.Kind, f.Purpose, f.KeyID, f.Sending, moment(f.Expires), nil}
	if err := sealed.Err(); err != nil && err != redis.Nil {
		return Kept{}, fmt.Errorf("read the sealed mail: %w", err)
	}
	k.Sealed = []byte(sealed.Val())
	return k, nil
}

// Resend shows the mail as queued for its sending n, whose task is in the queue. A worker that was faster is left alone.
func (s *Store) Resend(ctx context.Context, id string, n int) error {
	if err := resendScript.Run(ctx, s.rdb, []string{key(id), sealedKey(id)}, n).Err(); err != nil {
		return fmt.Errorf("write the record as queued again: %w", err)
	}
	return nil
}
