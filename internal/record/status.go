package record

import (
	"context"
	"fmt"
	"time"

	"example.com/securemail/tasks"
)

// Status reads what the record of id says of its mail, as of now, or returns [tasks.ErrNotFound].
func (s *Store) Status(ctx context.Context, id string, now time.Time) (tasks.Status, error) {
	var f struct {
		Kind         tasks.Kind            `redis:"kind"`
		Purpose      string                `redis:"purpose"`
		State        tasks.State           `redis:"state"`
		Credential   tasks.CredentialState `redis:"cred"`
		Reason       tasks.Reason          `redis:"reason"`
		Code         int                   `redis:"code"`
		EnhancedCode string                `redis:"enhanced"`
		Said         string                `redis:"said"`
		Relay        string                `redis:"relay"`
		QueueID      string                `redis:"queue_id"`
		Resends      int                   `redis:"sending"`
		Tries        int                   `redis:"tries"`
		Created      int64                 `redis:"created"`
		Expires      int64                 `redis:"expires"`
		Next         int64                 `redis:"next"`
		Accepted     int64                 `redis:"accepted"`
	}
	err := s.rdb.HMGet(ctx, recordKey(id), "kind", "purpose", "state", "cred", "reason", "code", "enhanced", "said", "relay", "queue_id", "sending", "tries",
		"created", "expires", "next", "accepted").Scan(&f)
	if err != nil {
		return tasks.Status{}, fmt.Errorf("read the record: %w", err)
	}
	if f.State == "" {
		return tasks.Status{}, tasks.ErrNotFound
	}
	if (f.Credential == tasks.CredentialLive || f.Credential == tasks.CredentialPending) && now.After(moment(f.Expires)) {
		f.Credential = tasks.CredentialExpired // nothing writes this down: the clock alone ends it
	}
	return tasks.Status{ID: id, Kind: f.Kind, Purpose: f.Purpose, State: f.State, Credential: f.Credential, Reason: f.Reason, Code: f.Code,
		EnhancedCode: f.EnhancedCode, RelaySaid: f.Said, Relay: f.Relay, QueueID: f.QueueID, Resends: f.Resends, Tries: f.Tries, CreatedAt: moment(f.Created),
		ExpiresAt: moment(f.Expires), NextTry: moment(f.Next), AcceptedAt: moment(f.Accepted)}, nil
}
