package tasks

import "time"

// State is the state of a mail. The last five are outcomes: they do not change, with two exceptions: where it
// becomes known afterwards that a relay has accepted the mail, the state becomes accepted; a resend starts again.
type State string

const (
	Queued   State = "queued"   // no worker has started on it yet
	Sending  State = "sending"  // a worker is sending it
	Deferred State = "deferred" // an attempt failed; another follows at NextTry
	Accepted State = "accepted" // a relay took responsibility for it
	Refused  State = "refused"  // the worker gave up; Reason says why
	Expired  State = "expired"  // too little of its life was left for it to be of use, so it was not sent
	Revoked  State = "revoked"  // the application withdrew it
	Unknown  State = "unknown"  // the relay may or may not have it, and the settings say not to try again
)

// Ended reports whether s is an outcome.
func (s State) Ended() bool {
	switch s {
	case Accepted, Refused, Expired, Revoked, Unknown:
		return true
	}
	return false
}

// CredentialState is the state of a mail's secret, apart from the mail. The last five are final, except that Unlock makes a
// TOTP active again that was active when it was locked.
type CredentialState string

const (
	CredentialNew      CredentialState = "new"      // no worker has made it yet
	CredentialLive     CredentialState = "live"     // it can be verified
	CredentialPending  CredentialState = "pending"  // a TOTP before its first right code; it can be verified
	CredentialActive   CredentialState = "active"   // a TOTP after its first right code; it can be verified
	CredentialVerified CredentialState = "verified" // the right answer was given, and used it up
	CredentialLocked   CredentialState = "locked"   // too many wrong answers
	CredentialExpired  CredentialState = "expired"  // its life is over
	CredentialRevoked  CredentialState = "revoked"  // the application withdrew it
	CredentialExported CredentialState = "exported" // a TOTP that the application checks by itself from now on
)

// Verifiable reports whether an answer can be right, now or once the mail is sent.
func (s CredentialState) Verifiable() bool {
	switch s {
	case CredentialNew, CredentialLive, CredentialPending, CredentialActive:
		return true
	}
	return false
}

// Reason says what the last failure of a mail was about, or why it ended; docs/operations.md explains each. ReasonLocked is
// about the send lock, and ReasonCredentials about the login at the relay. Neither is about the secret.
type Reason string

const (
	ReasonRecipient   Reason = "recipient"   // the relay does not accept mail for this address
	ReasonLimited     Reason = "limited"     // too many mails to the recipient, for the asker, or in all
	ReasonLate        Reason = "late"        // too little of the secret's life was left
	ReasonUsed        Reason = "used"        // the secret was verified before the mail was sent
	ReasonMisses      Reason = "misses"      // wrong answers locked the secret before the mail was sent
	ReasonRevoked     Reason = "revoked"     // the application revoked the secret before the mail was sent
	ReasonNetwork     Reason = "network"     // no connection to the relay, or it broke
	ReasonRelay       Reason = "relay"       // the relay fails, or its policy refuses us
	ReasonCredentials Reason = "credentials" // the relay does not accept our login
	ReasonMessage     Reason = "message"     // the relay refuses the message, or it cannot be composed
	ReasonUnconfirmed Reason = "unconfirmed" // the message was sent, and the relay's reply was lost
	ReasonRedis       Reason = "redis"       // the record could not be read or written
	ReasonKeyRing     Reason = "key-ring"    // the key ring lacks the key that the mail began with
	ReasonMalformed   Reason = "malformed"   // the task is invalid
	ReasonRecord      Reason = "record"      // the record in Redis is not what a worker wrote for this mail
	ReasonNewer       Reason = "newer"       // the task is for a newer worker
	ReasonLocked      Reason = "locked"      // another worker is sending the mail
	ReasonRepeated    Reason = "repeated"    // the task came again after the mail had ended
	ReasonStopping    Reason = "stopping"    // the worker was stopped during the attempt
	ReasonFault       Reason = "fault"       // a bug in the worker; its log has the stack
)

// Reasons returns every [Reason].
func Reasons() []Reason {
	return []Reason{ReasonRecipient, ReasonLimited, ReasonLate, ReasonUsed, ReasonMisses, ReasonRevoked, ReasonNetwork, ReasonRelay,
		ReasonCredentials, ReasonMessage, ReasonUnconfirmed, ReasonRedis, ReasonKeyRing, ReasonMalformed, ReasonRecord, ReasonNewer, ReasonLocked,
		ReasonRepeated, ReasonStopping, ReasonFault}
}

// Status is what is known of a mail. Times are UTC; a zero time means that it is not known or does not apply.
type Status struct {
	ID         string          `json:"id"`
	Reference  string          `json:"reference"`            // see [Reference]
	ClientRef  string          `json:"client_ref,omitempty"` // as in the [Mail]
	Kind       Kind            `json:"kind,omitempty"`       // empty while queued
	Purpose    string          `json:"purpose,omitempty"`
	State      State           `json:"state"`
	Credential CredentialState `json:"credential,omitempty"` // empty for a mail that ended before a worker made its secret
	Reason     Reason          `json:"reason,omitempty"`
	// Code and EnhancedCode are the relay's last reply (RFC 5321 section 4.2, RFC 3463), if there was one.
	Code         int    `json:"code,omitempty"`
	EnhancedCode string `json:"enhanced_code,omitempty"`
	// RelaySaid is the text of that reply, for an operator: at most 300 bytes in one line, without control characters,
	// addresses or anything that stands in the message.
	RelaySaid  string    `json:"relay_said,omitempty"`
	Relay      string    `json:"relay,omitempty"`
	QueueID    string    `json:"queue_id,omitempty"` // the relay's name for the mail
	Resends    int       `json:"resends"`            // how often it was sent again
	Tries      int       `json:"tries"`              // attempts since Send or the last Resend, without those that failed because of the relay or the network
	CreatedAt  time.Time `json:"created_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	NextTry    time.Time `json:"next_try,omitzero"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
}
