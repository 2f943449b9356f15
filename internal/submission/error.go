package submission

import (
	"fmt"
	"strings"
	"time"
)

// Phase is the step of a submission in which it failed.
type Phase string

const (
	PhasePrepare  Phase = "prepare"  // nothing was dialled: the message or its envelope may not leave
	PhaseDial     Phase = "dial"     // name lookup and TCP
	PhaseTLS      Phase = "tls"      // the handshake, on either port
	PhaseGreeting Phase = "greeting" // the server's first reply
	PhaseEHLO     Phase = "ehlo"
	PhaseStartTLS Phase = "starttls"
	PhaseAuth     Phase = "auth"
	PhaseReset    Phase = "reset" // RSET, before a further message on a session
	PhaseMail     Phase = "mail"
	PhaseRcpt     Phase = "rcpt"
	PhaseData     Phase = "data" // the DATA command and its 354
	PhaseBody     Phase = "body" // before the final dot was written
	PhaseDot      Phase = "dot"  // the reply to the final dot
)

// Scope tells which other mails the failure affects.
type Scope string

const (
	ScopeRecipient   Scope = "recipient"   // every mail to this address
	ScopeMessage     Scope = "message"     // this message, through whatever relay
	ScopeRelay       Scope = "relay"       // every mail through this relay
	ScopeCredentials Scope = "credentials" // every mail through this relay until its login is fixed
	ScopeNetwork     Scope = "network"     // every mail over this path; the relay itself may be healthy
	ScopeCaller      Scope = "caller"      // no other: the caller cancelled, or beforeDot refused
	ScopeUnclear     Scope = "unclear"     // it cannot be told; Said has the server's own words
)

// Error is why a submission failed.
type Error struct {
	Relay        string
	Phase        Phase
	Code         int    // the reply code; 0 if the failure was not a reply
	EnhancedCode string // the enhanced status code, such as "5.7.8"; often empty
	Scope        Scope
	// Permanent says that retrying cannot succeed without a change: of the mail, or by somebody of the
	// relay or its credentials.
	Permanent bool
	Ambiguous bool  // the whole body, its final dot included, may have left, and no reply to it was understood
	Err       error // the cause, for errors.Is and errors.As; nil if the server's reply is the cause. Not for a log: use Error

	// Limited says that the relay has had too much for now. Wait is then how long it should not be asked
	// for this mail; it grows while the relay goes on saying so.
	Limited bool
	Wait    time.Duration

	hint   string // what happened and how to fix it
	said   string
	pause  Pause  // "": as the scope says
	domain string // of the recipient
}

// Error says what happened and how to fix it: short, valid UTF-8, without secrets, addresses or
// anything that the server wrote, since it is stored in Redis and in logs.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "relay %s: %s: ", e.Relay, e.Phase)
	if e.Code != 0 {
		fmt.Fprintf(&b, "%d ", e.Code)
		if e.EnhancedCode != "" {
			b.WriteString(e.EnhancedCode + " ")
		}
	}
	b.WriteString(e.hint)
	if e.Ambiguous {
		b.WriteString("; the server may have taken the mail")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Said returns what the server wrote, for an operator: at most 300 bytes of valid UTF-8 in one line,
// without control characters, addresses, long tokens or anything secret that it was sent. It is empty
// where there was no reply.
func (e *Error) Said() string { return e.said }
