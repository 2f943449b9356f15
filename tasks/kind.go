package tasks

import "time"

// Kind is the kind of secret that a mail carries. [Kinds] lists them.
type Kind string

const (
	// Key is 25 random characters (125 bits) in five groups, for enrolment and recovery.
	Key Kind = "key"
	// Code is a short number that a person types within minutes: eight decimal digits, or six.
	Code Kind = "code"
	// TOTP is the shared secret of a time-based one-time password (RFC 6238), with its QR code.
	TOTP Kind = "totp"
)

// KindInfo is what is fixed about one kind.
type KindInfo struct {
	Kind    Kind
	Secret  string        // what the recipient gets, in a few words
	MaxLife time.Duration // how long a secret lives by default, and at most unless a setting says otherwise
	Queue   string        // the queue in which its mails wait: [Queue] or [QueueCodes]
}

// NIST SP 800-63B-4 section 4.2.1.2 and OWASP ASVS 5.0 6.5.5 give the two lives.
var kinds = []KindInfo{
	{Kind: Key, Secret: "a random key of 25 characters", MaxLife: 24 * time.Hour, Queue: Queue},
	{Kind: Code, Secret: "a code of eight or six digits", MaxLife: 10 * time.Minute, Queue: QueueCodes},
	{Kind: TOTP, Secret: "a TOTP secret with its QR code", MaxLife: 24 * time.Hour, Queue: Queue},
}

// Kinds returns every kind, in the order in which lists show them.
func Kinds() []KindInfo { return append([]KindInfo(nil), kinds...) }

// Info returns what is fixed about k, or false if there is no such kind.
func (k Kind) Info() (KindInfo, bool) {
	for _, info := range kinds {
		if info.Kind == k {
			return info, true
		}
	}
	return KindInfo{}, false
}

// Lives says how long a secret of each kind lives by default, and at most.
type Lives map[Kind]time.Duration

// DefaultLives returns the lives of [Kinds].
func DefaultLives() Lives {
	lives := Lives{}
	for _, info := range kinds {
		lives[info.Kind] = info.MaxLife
	}
	return lives
}

// MinLife is the shortest life of a secret. It leaves time to try a relay.
const MinLife = 10 * time.Second
