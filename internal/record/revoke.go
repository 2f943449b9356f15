package record

import (
	"context"
	"fmt"

	"example.com/securemail/tasks"
)

var revokeScript = script("revoke")

// Revoke revokes the credential of id, and ends the mail unless it has ended already. A worker that is sending it stops
// before the final dot if the next Renew comes in time. Revoke returns [tasks.ErrNotFound] where there is no record; see
// [Store.RevokeUnopened].
func (s *Store) Revoke(ctx context.Context, id string) error {
	return s.revoke(ctx, id, named("retention", s.retention.Milliseconds()))
}

// RevokeUnopened is Revoke for a mail that is still queued: it makes the record that stops the worker. One that was
// opened meanwhile is revoked as it is.
func (s *Store) RevokeUnopened(ctx context.Context, m Entry) error {
	args := named("retention", s.retention.Milliseconds(), "gone", s.gone(m))
	return s.revoke(ctx, m.ID, append(args, m.plainFields()...))
}

func (s *Store) revoke(ctx context.Context, id string, args []any) error {
	found, err := revokeScript.Run(ctx, s.rdb, append(keysOf(id), exportKey(id)), args...).Bool()
	if err != nil {
		return fmt.Errorf("revoke the credential: %w", readable(err))
	}
	if !found {
		return tasks.ErrNotFound
	}
	return nil
}
