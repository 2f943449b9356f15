package record

import (
	"context"
	"fmt"
	"time"
)

// CredentialState is where the credential of a mail stands, apart from the mail itself.
type CredentialState string

// The states of a credential. The last four are final.
const (
	CredentialLive    CredentialState = "live"
	CredentialPending CredentialState = "pending" // a TOTP before its first right code
	CredentialActive  CredentialState = "active"  // and after it
	CredentialUsed    CredentialState = "used"
	CredentialLocked  CredentialState = "locked"
	CredentialExpired CredentialState = "expired"
	CredentialRevoked CredentialState = "revoked"
)

// Status is what a record says of its mail, without what its secret is derived from.
type Status struct {
	ID         string
	Kind       string
	Purpose    string
	State      State
	Credential CredentialState // empty for a mail that was never opened for sending
	Reason     string          // of the last failure, or of the outcome: one of a closed list of words
	Code       int             // the relay's last reply code, 0 if there was none
	Enhanced   string          // and its enhanced status code (RFC 3463)
	Relay      string          // the relay that was tried last
	QueueID    string          // what the relay calls the accepted mail
	Sending    int
	Tries      int
	CreatedAt  time.Time
	ExpiresAt  time.Time
	ChangedAt  time.Time
	NextTry    time.Time // set while deferred
	AcceptedAt time.Time // set once accepted
}

// Status reads what the record of id says, or returns [ErrNotFound].
func (s *Store) Status(ctx context.Context, id string) (Status, error) {
	var f struct {
		Kind     string `redis:"kind"`
		Purpose  string `redis:"purpose"`
		State    string `redis:"state"`
		Cred     string `redis:"cred"`
		Reason   string `redis:"reason"`
		Code     int    `redis:"code"`
		Enhanced string `redis:"enhanced"`
		Relay    string `redis:"relay"`
		QueueID  string `redis:"queue_id"`
		Sending  int    `redis:"sending"`
		Tries    int    `redis:"tries"`
		Created  int64  `redis:"created"`
		Expires  int64  `redis:"expires"`
		Changed  int64  `redis:"changed"`
		Next     int64  `redis:"next"`
		Accepted int64  `redis:"accepted"`
	}
	err := s.rdb.HMGet(ctx, key(id), "kind", "purpose", "state", "cred", "reason", "code", "enhanced", "relay", "queue_id", "sending", "tries",
		"created", "expires", "changed", "next", "accepted").Scan(&f)
	if err != nil {
		return Status{}, fmt.Errorf("read the record: %w", err)
	}
	if f.State == "" {
		return Status{}, ErrNotFound
	}
	credential := CredentialState(f.Cred)
	if (credential == CredentialLive || credential == CredentialPending) && time.Now().After(moment(f.Expires)) {
		credential = CredentialExpired // nothing writes this down: time alone ends it
	}
	return Status{id, f.Kind, f.Purpose, State(f.State), credential, f.Reason, f.Code, f.Enhanced, f.Relay, f.QueueID, f.Sending, f.Tries,
		moment(f.Created), moment(f.Expires), moment(f.Changed), moment(f.Next), moment(f.Accepted)}, nil
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
