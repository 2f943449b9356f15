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
	"unicode"
	"unicode/utf8"

	"example.com/securemail/internal/mailaddr"
)

// Mail says what to send, to whom and what for. Only Kind and To are required.
type Mail struct {
	Kind Kind
	// To is one address, name@domain. A domain outside ASCII is converted (IDNA); the local part must be ASCII.
	To string
	// Purpose is what the secret is for, such as "sign-in": 1 to 64 of a-z, 0-9, dot, underscore and hyphen. It is
	// part of what is checked, so that a secret mailed for one purpose does not pass for another. Empty means "default".
	Purpose string
	// Account labels the entry in the authenticator (TOTP only): at most 128 characters, no colon. Empty means the
	// address.
	Account string
	// Locale is a language tag (RFC 5646), such as "de" or "pt-BR". Mails without a template for it are in English.
	Locale string
	// ExpiresIn is how long the secret can be verified, from Send on: 10 seconds to 10 minutes for a code, to 24 hours
	// for the others. Zero means the longest. For a TOTP it is the time for the first right code; an active TOTP does
	// not expire. It is rounded down to whole seconds.
	ExpiresIn time.Duration
	// Origin tells the recipient where the request came from.
	Origin Origin
	// Vars are values for the template: at most 16; names of a-z, 0-9 and underscore up to 32 characters, values up to
	// 256 characters without line breaks. The built-in templates know "name", which they greet the recipient with.
	Vars map[string]string
	// IdempotencyKey makes repeated calls one mail: the same key with the same kind, recipient and purpose gives the
	// same id for as long as the mail's record lives (seven days past its expiry, unless the workers' record_retention
	// says otherwise). 1 to 128 printable ASCII characters without spaces. The id is a hash of
	// the four, so use a key that others cannot guess, such as a random one kept in the session. Empty: every call is
	// a mail of its own, with a random id.
	IdempotencyKey string
}

// Origin is where a request came from, as the application saw it. The mail shows it, so that a recipient can tell their
// own request from somebody else's.
type Origin struct {
	IP    string    `json:"ip,omitempty"`    // IPv4 or IPv6
	Agent string    `json:"agent,omitempty"` // browser or program, at most 256 characters
	At    time.Time `json:"at,omitzero"`     // when it came; zero, or later than Send, means the time of Send
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
	if m.Kind != TOTP && m.Account != "" {
		wrong("account", "only a totp mail has an account name")
	}
	if m.Kind == TOTP && m.Account == "" {
		m.Account = m.To
	}
	if strings.Contains(m.Account, ":") || strings.TrimSpace(m.Account) != m.Account {
		wrong("account", "an authenticator takes no colon in it, and no space at its ends")
	}
	if err := checkText(m.Account, 128); err != nil {
		wrong("account", "%v (where none is given, it is the address)", err)
	}
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
	errs = append(errs, m.Origin.validate()...)
	errs = append(errs, validateVars(m.Vars)...)
	if len(errs) > 0 {
		return Mail{}, fmt.Errorf("%w: %w", ErrInvalid, joined(errs))
	}
	return m, nil
}

func (o Origin) validate() (errs []error) {
	if o.IP != "" {
		if _, err := netip.ParseAddr(o.IP); err != nil {
			errs = append(errs, errors.New("origin.ip: it is not an IP address"))
		}
	}
	if err := checkText(o.Agent, 256); err != nil {
		errs = append(errs, fmt.Errorf("origin.agent: %w", err))
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
	for _, r := range s {
		// The directional controls of UAX #9 would show something else than what stands there.
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return errors.New("it holds a line break or another control character")
		}
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
