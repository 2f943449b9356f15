package record

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/revoke.lua
	revokeSource string
	revokeScript = redis.NewScript(revokeSource)
)

// Revoke revokes the credential of id, and ends the mail unless it has ended already. A worker that is sending it stops
// before the final dot if the next Renew comes in time. It returns [ErrNotFound] where there is no record; see
// [Store.RevokeUnopened].
func (s *Store) Revoke(ctx context.Context, id string) error {
	return s.revoke(ctx, id)
}

// RevokeUnopened is Revoke for a mail that is still queued: it makes the record that stops the worker. One that was
// opened meanwhile is revoked as it is.
func (s *Store) RevokeUnopened(ctx context.Context, m Mail) error {
	return s.revoke(ctx, m.ID, m.ExpiresAt.Add(s.retention).UnixMilli(), "v", 1, "kind", m.Kind, "purpose", m.Purpose,
		"created", m.CreatedAt.UnixMilli(), "expires", m.ExpiresAt.UnixMilli())
}

func (s *Store) revoke(ctx context.Context, id string, args ...any) error {
	found, err := revokeScript.Run(ctx, s.rdb, []string{key(id), sealedKey(id)}, append([]any{s.retention.Milliseconds()}, args...)...).Bool()
	if err != nil {
		return fmt.Errorf("revoke the credential: %w", err)
	}
	if !found {
		return ErrNotFound
	}
	return nil
}

// Unlock forgets all that is counted of recipient, a [RecipientHash].
func (s *Store) Unlock(ctx context.Context, recipient string) error {
	if err := s.rdb.Del(ctx, recipientKey(recipient)).Err(); err != nil {
		return fmt.Errorf("clear the recipient's counters: %w", err)
	}
	return nil
}
