package tasks

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/visible"
)

// Mail says what to send, to whom and what for. Only Kind and To are required.
type Mail struct {
	Kind Kind
	// To is one address, name@domain. A domain outside ASCII is converted (IDNA); the local part must be ASCII.
	To string
	// Purpose is what the secret is for, such as "sign-in": 1 to 64 of a-z, 0-9, dot, underscore and hyphen. It is
	// part of what is checked, so that a secret mailed for one purpose does not pass for another. Empty means "default".
	Purpose string
	// Digits is how many digits a code has: 6 or 8. Zero means 8. Only a code has them.
	Digits int
	// Session ties the secret to the browser session that asks for it. Give a value that only this session has, such as that
	// of a random cookie: 16 to 512 bytes. An answer is then right only together with the same [Ref.Session]. The task carries
	// a hash of the value, which itself is stored nowhere. A session protects a person whose code somebody else got hold of. It
	// does not help where a stranger asked for the code, and the person reads it out to them. Only keys and codes take one.
	Session string
	// Account labels the entry in the authenticator (TOTP only): at most 128 characters, no colon. Empty means the
	// address.
	Account string
	// Locale is a language tag (RFC 5646), such as "de" or "pt-BR". Mails without a template for it are in English.
	Locale string
	// ExpiresIn is how long the secret can be verified, from Send on: 10 seconds to 10 minutes for a code, to 24 hours
	// for the others. Zero means the longest. For a TOTP it is the time for the first right code; an active TOTP does
	// not expire. It is rounded down to whole seconds.
	ExpiresIn time.Duration
	// Origin is where the request came from. The mail says so, and its IP address counts for [Limits.PerOrigin].
	Origin Origin
	// Vars are values for the template: at most 16; names of a-z, 0-9 and underscore up to 32 characters, values up to
	// 256 characters without line breaks. The built-in templates know "name", which they greet the recipient with.
	Vars map[string]string
	// ClientRef is the application's own name for the mail, such as an order's number: up to 64 printable ASCII characters.
	// [Status] has it; the recipient does not see it.
	ClientRef string
	// Brand and Link are not available yet: they have to be empty.
	Brand, Link string
	// IdempotencyKey makes repeated calls one mail. The key is that mail's until seven days past its expiry: a call with the
	// same fields, but for Origin, sends nothing more, and one with any other field changed is [ErrKeyReused]. The same key
	// always gives the same id. So once the mail's record is gone (after those seven days, or earlier where the workers'
	// record_retention says so), the key makes a new mail under the old id. 1 to 128 printable ASCII characters without
	// spaces. The id is a hash of the key: use one that others cannot guess, or give the client an idempotency secret.
	// Empty: every call is a mail of its own, with a random id.
	IdempotencyKey string
}

// String leaves out the address and the session.
func (m Mail) String() string { return string(m.Kind) + " mail for " + m.Purpose }

// GoString is String, so that %#v shows no more.
func (m Mail) GoString() string { return m.String() }

// Origin is where a request came from, as the application saw it. The mail shows IP, Agent and At, so that a recipient can
// tell their own request from somebody else's. It does not show Place and TimeZone yet.
type Origin struct {
	IP       string    `json:"ip,omitempty"`        // IPv4 or IPv6, without a zone
	Agent    string    `json:"agent,omitempty"`     // browser or program, at most 256 characters
	Place    string    `json:"place,omitempty"`     // where the IP address is, such as "Berlin", at most 64 characters
	TimeZone string    `json:"time_zone,omitempty"` // of the person, as in the IANA database: "Europe/Berlin"
	At       time.Time `json:"at,omitzero"`         // when it came; zero, or later than Send, means the time of Send
}

const (
	defaultPurpose = "default"
	purposeForm    = "use 1 to 64 of a-z, 0-9, dot, underscore and hyphen, such as sign-in"
)

var (
	purposePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	localePattern  = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`)
	varPattern     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	idemPattern    = regexp.MustCompile(`^[!-~]{1,128}$`)
	refPattern     = regexp.MustCompile(`^[ -~]{0,64}$`)
	zonePattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}$`)
)

// Validate reports everything that is wrong with m at once, as one error that is [ErrInvalid], or nil.
func (m Mail) Validate() error {
	_, err := m.canonical(DefaultLives())
	return err
}

// canonical returns m with its defaults filled in and its address in canonical form.
func (m Mail) canonical(lives Lives) (Mail, error) {
	var errs []error
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	most, known := lives[m.Kind]
	if !known {
		wrong("kind", "it is key, code or totp")
	}
	to, err := mailaddr.Parse(m.To)
	if err != nil {
		wrong("to", "%v", err)
	}
	m.To = to.String()
	if m.Purpose == "" {
		m.Purpose = defaultPurpose
	}
	if !purposePattern.MatchString(m.Purpose) {
		wrong("purpose", purposeForm)
	}
	errs = append(errs, m.secretFields()...)
	errs = append(errs, m.accountName()...)
	if m.Locale != "" && !localePattern.MatchString(m.Locale) {
		wrong("locale", "use a language tag such as en or pt-BR")
	}
	if known && m.ExpiresIn == 0 {
		m.ExpiresIn = most
	}
	m.ExpiresIn = m.ExpiresIn.Truncate(time.Second)
	switch {
	case !known:
	case m.ExpiresIn < MinLife:
		wrong("expires_in", "%v is too short or in the past; at least %v", m.ExpiresIn, MinLife)
	case m.ExpiresIn > most:
		wrong("expires_in", "%v is over the ceiling of %v for a %s", m.ExpiresIn, most, m.Kind)
	}
	if m.IdempotencyKey != "" && !idemPattern.MatchString(m.IdempotencyKey) {
		wrong("idempotency_key", "use 1 to 128 printable ASCII characters without spaces")
	}
	if !refPattern.MatchString(m.ClientRef) {
		wrong("client_ref", "use up to 64 printable ASCII characters")
	}
	if m.Brand != "" {
		wrong("brand", "brands are not available yet; leave it empty")
	}
	if m.Link != "" {
		wrong("link", "links are not available yet; leave it empty")
	}
	errs = append(errs, m.Origin.validate()...)
	errs = append(errs, validateVars(m.Vars)...)
	if len(errs) > 0 {
		return Mail{}, fmt.Errorf("%w: %w", ErrInvalid, joined(errs))
	}
	return m, nil
}

// secretFields checks what the secret depends on besides the kind, and fills in the digits of a code.
func (m *Mail) secretFields() (errs []error) {
	switch {
	case m.Kind == Code && m.Digits == 0:
		m.Digits = 8
	case m.Kind == Code && m.Digits != 6 && m.Digits != 8:
		errs = append(errs, errors.New("digits: a code has 6 or 8"))
	case m.Kind != Code && m.Digits != 0:
		errs = append(errs, errors.New("digits: only a code has a number of digits"))
	}
	if m.Session != "" {
		if m.Kind == TOTP {
			errs = append(errs, errors.New("session: an authenticator is used in every session, so a totp mail takes none"))
		}
		if err := checkSession(m.Session); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func checkSession(session string) error {
	if len(session) < 16 || len(session) > 512 {
		return errors.New("session: use 16 to 512 bytes, such as the value of a random cookie")
	}
	return nil
}

// accountName checks the name of a TOTP's entry, and fills it in.
func (m *Mail) accountName() (errs []error) {
	if m.Kind != TOTP {
		if m.Account != "" {
			errs = append(errs, errors.New("account: only a totp mail has an account name"))
		}
		return errs
	}
	if m.Account == "" {
		m.Account = m.To
	}
	if strings.Contains(m.Account, ":") || strings.TrimSpace(m.Account) != m.Account {
		errs = append(errs, errors.New("account: an authenticator takes no colon in it, and no space at its ends"))
	}
	if err := checkText(m.Account, 128); err != nil {
		errs = append(errs, fmt.Errorf("account: %w (where none is given, it is the address)", err))
	} else if visible.FaultInName(m.Account) >= 0 {
		errs = append(errs, errors.New("account: it holds a character that nobody sees, such as a zero-width space or a mark of direction"))
	}
	return errs
}

func (o Origin) validate() (errs []error) {
	if o.IP != "" {
		if ip, err := netip.ParseAddr(o.IP); err != nil || ip.Zone() != "" {
			errs = append(errs, errors.New("origin.ip: it is not an IP address without a zone"))
		}
	}
	if err := checkText(o.Agent, 256); err != nil {
		errs = append(errs, fmt.Errorf("origin.agent: %w", err))
	}
	if err := checkText(o.Place, 64); err != nil {
		errs = append(errs, fmt.Errorf("origin.place: %w", err))
	}
	if o.TimeZone != "" && !zonePattern.MatchString(o.TimeZone) {
		errs = append(errs, errors.New("origin.time_zone: use a name of the IANA database, such as Europe/Berlin"))
	}
	if year := o.At.Year(); !o.At.IsZero() && (year < 2000 || year > 9999) {
		errs = append(errs, errors.New("origin.at: the year is not between 2000 and 9999"))
	}
	return errs
}

func validateVars(vars map[string]string) (errs []error) {
	if len(vars) > 16 {
		errs = append(errs, errors.New("vars: at most 16"))
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !varPattern.MatchString(name) {
			errs = append(errs, errors.New("vars: a name has to start with a-z and go on with a-z, 0-9 and underscore, at most 32 characters"))
			continue
		}
		if err := checkText(vars[name], 256); err != nil {
			errs = append(errs, fmt.Errorf("vars.%s: %w", name, err))
		}
	}
	return errs
}

// checkText refuses what could end a header or a line early, and text no mail would show as it was given.
func checkText(s string, most int) error {
	if !utf8.ValidString(s) {
		return errors.New("it is not valid UTF-8")
	}
	if utf8.RuneCountInString(s) > most {
		return fmt.Errorf("it is longer than %d characters", most)
	}
	if visible.FaultInText(s) >= 0 {
		return errors.New("it holds a line break or another control character")
	}
	return nil
}

// joined is errors.Join on one line: this text ends up in terminals, logs and asynq's error field.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	format := strings.Repeat("; %w", len(errs))[2:]
	args := make([]any, len(errs))
	for i, err := range errs {
		args[i] = err
	}
	return fmt.Errorf(format, args...)
}
