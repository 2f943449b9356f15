package record

import (
	"context"
	"fmt"
	"time"

	"example.com/securemail/tasks"
)

var statusFields = []string{"kind", "purpose", "client_ref", "state", "cred", "reason", "code", "enhanced", "said", "relay", "queue_id", "sending", "tries",
	"created", "expires", "next", "accepted", "fingerprint"}

// Status reads what the record of id says of its mail, as of now. It returns [tasks.ErrNotFound] where there is no record, or
// [ErrBroken].
func (s *Store) Status(ctx context.Context, id string, now time.Time) (tasks.Status, error) {
	values, err := s.rdb.HMGet(ctx, recordKey(id), statusFields...).Result()
	if err = readable(err); err != nil {
		return tasks.Status{}, fmt.Errorf("read the record: %w", err)
	}
	status, _, err := statusOf(id, values, now)
	return status, err
}

// statusOf takes over what was read of the record, and returns the mail's fingerprint too.
func statusOf(id string, values []any, now time.Time) (status tasks.Status, fingerprint []byte, err error) {
	h := hashOf(statusFields, values)
	if h["state"] == "" {
		return tasks.Status{}, nil, tasks.ErrNotFound
	}
	credential := tasks.CredentialState(h["cred"])
	if (credential == tasks.CredentialLive || credential == tasks.CredentialPending) && now.After(h.moment("expires")) {
		credential = tasks.CredentialExpired // nothing writes this down: the clock alone ends it
	}
	return tasks.Status{ID: id, Reference: tasks.Reference(id), ClientRef: h["client_ref"], Kind: tasks.Kind(h["kind"]), Purpose: h["purpose"],
		State: tasks.State(h["state"]), Credential: credential, Reason: tasks.Reason(h["reason"]), Code: int(h.number("code")),
		EnhancedCode: h["enhanced"], RelaySaid: h["said"], Relay: h["relay"], QueueID: h["queue_id"], Resends: h.count("sending"),
		Tries: h.count("tries"), CreatedAt: h.moment("created"), ExpiresAt: h.moment("expires"), NextTry: h.moment("next"),
		AcceptedAt: h.moment("accepted")}, []byte(h["fingerprint"]), nil
}
