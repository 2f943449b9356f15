package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

var (
	reserveScript = script("reserve")
	releaseScript = script("release")
)

// reservedKey has the fingerprint of the mail that has an idempotency key. It is in the slot of the record. It is a
// key of its own, because a program that only sends may not read records.
func reservedKey(id string) string { return recordKey(id) + ":reserved" }

// Reservation is what is known of an id that was reserved.
type Reservation struct {
	Repeated bool // an earlier call has reserved it for the same mail
	Blind    bool // this Redis user may not read whether the mail has a record
}

// Reserve reserves the id of an idempotency key for the mail with this fingerprint, until the retention past its
// expiry, as of now. It returns [tasks.ErrKeyReused] where another mail has the id. Otherwise it returns the status
// of the mail if it has a record, or none (with an empty State).
func (s *Store) Reserve(ctx context.Context, id string, fingerprint []byte, expires, now time.Time) (status tasks.Status, r Reservation, err error) {
	keys := []string{reservedKey(id)}
	args := named("fingerprint", fingerprint, "keep", expires.Add(s.retention).Sub(now).Milliseconds())
	pipe := s.rdb.Pipeline()
	reserved := reserveScript.EvalSha(ctx, pipe, keys, args...)
	read := pipe.HMGet(ctx, recordKey(id), statusFields...)
	pipe.Exec(ctx) // every command has its own error
	if redis.HasErrorPrefix(reserved.Err(), "NOSCRIPT") {
		reserved = reserveScript.Eval(ctx, s.rdb, keys, args...)
	}
	n, err := reserved.Int()
	if err == nil && !redis.HasErrorPrefix(read.Err(), "NOPERM") {
		err = readable(read.Err())
	}
	if err != nil {
		return tasks.Status{}, r, fmt.Errorf("reserve the idempotency key: %w", err)
	}
	status, before, err := statusOf(id, read.Val(), now)
	if err != nil { // there is no record, or none for this user
		status = tasks.Status{}
	}
	// Where the reservation was lost, the record knows better. That of a task which no worker could read has no
	// fingerprint.
	switch known := len(before) > 0; {
	case known && !bytes.Equal(before, fingerprint):
		return tasks.Status{}, r, errors.Join(tasks.ErrKeyReused, s.Release(ctx, id, fingerprint))
	case !known && n < 0:
		return tasks.Status{}, r, tasks.ErrKeyReused
	}
	return status, Reservation{Repeated: n != 0, Blind: read.Err() != nil}, nil
}

// Release frees what [Store.Reserve] has reserved for a mail that was not queued. Where two calls rely on the
// reservation it stays, because the other one may have queued the mail.
func (s *Store) Release(ctx context.Context, id string, fingerprint []byte) error {
	keys, args := []string{reservedKey(id)}, named("fingerprint", fingerprint)
	if err := releaseScript.Run(context.WithoutCancel(ctx), s.rdb, keys, args...).Err(); err != nil {
		return fmt.Errorf("free the idempotency key: %w", err)
	}
	return nil
}
