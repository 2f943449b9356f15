package message

import (
	"bytes"
	"fmt"
	"image/png"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/visible"
	"example.com/securemail/tasks"
)

// FieldError says which field of a [Content] is not valid, and why. It never holds the field's
// value.
type FieldError struct {
	Field  string // the Go name: "To", "From.Address"
	Reason string
}

func (e *FieldError) Error() string { return "message: " + e.Field + " " + e.Reason }

func bad(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

const (
	maxURI = 4 << 10  // octets; the largest QR code holds fewer
	maxQR  = 64 << 10 // octets; a 1-bit image of 400 pixels has less than 3 KiB
)

// check returns the first invalid field of m as a [*FieldError].
func (m *Content) check() error {
	if _, known := templates[m.Kind]; !known {
		return bad("Kind", "is none that has a template")
	}
	for field, address := range map[string]mailaddr.Address{"From.Address": m.From.Address, "To": m.To} {
		if address.IsZero() {
			return bad(field, "is empty")
		}
	}
	for _, f := range []struct {
		field, value string
		check        func(string) string
	}{
		{"From.Name", m.From.Name, headerName(64)},
		{"MessageID", m.MessageID, messageID},
		{"Product", m.Product, headerName(64)},
		{"Purpose", m.Purpose, slug},
		{"Name", m.Name, text(256)},
		{"Account", m.Account, name(254)},
		{"IP", m.IP, text(256)}, // an IPv6 zone may hold anything
		{"IP", m.IP, optional(ip)},
		{"Agent", m.Agent, text(256)},
		{"Locale", m.Locale, text(64)},
		{"Secret", m.Secret.Reveal(), grouped},
	} {
		if reason := f.check(f.value); reason != "" {
			return bad(f.field, "%s", reason)
		}
	}
	if strings.TrimSpace(m.Product) == "" {
		return bad("Product", "is empty: say who the mail is from")
	}
	for _, f := range []struct {
		field string
		value time.Time
	}{{"Date", m.Date}, {"RequestedAt", m.RequestedAt}, {"ExpiresAt", m.ExpiresAt}} {
		if y := f.value.UTC().Year(); y < 2000 || y > 9999 {
			return bad(f.field, "is not set, or not in the years 2000 to 9999")
		}
	}
	if !m.ExpiresAt.After(m.RequestedAt) {
		return bad("ExpiresAt", "is not after RequestedAt")
	}
	return m.checkTOTP()
}

func (m *Content) checkTOTP() error {
	if m.Kind != tasks.TOTP {
		const reason = "is set, but only a totp mail has it"
		switch {
		case m.Account != "":
			return bad("Account", reason)
		case !m.URI.IsZero():
			return bad("URI", reason)
		case m.QR != nil:
			return bad("QR", reason)
		}
		return nil
	}
	uri := m.URI.Reveal()
	switch {
	case m.Account == "":
		return bad("Account", "is empty: the authenticator shows it")
	case !strings.HasPrefix(uri, "otpauth://totp/"):
		return bad("URI", "does not begin with otpauth://totp/")
	case len(uri) > maxURI:
		return bad("URI", "has %d octets, more than %d", len(uri), maxURI)
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'<>\\^`{|}", r) }):
		return bad("URI", "holds a character that RFC 3986 wants percent-encoded")
	case len(m.QR) > maxQR:
		return bad("QR", "has %d octets, more than %d", len(m.QR), maxQR)
	}
	image, err := png.DecodeConfig(bytes.NewReader(m.QR))
	if err != nil {
		return bad("QR", "is not a PNG image")
	}
	if image.Width != image.Height || image.Width < 100 || image.Width > 1000 {
		return bad("QR", "is not a square of 100 to 1000 pixels")
	}
	return nil
}

// Each check below returns "" for a valid value, and otherwise the reason.

func optional(check func(string) string) func(string) string {
	return func(s string) string {
		if s == "" {
			return ""
		}
		return check(s)
	}
}

func text(limit int) func(string) string {
	return func(s string) string {
		if !utf8.ValidString(s) {
			return "is not valid UTF-8"
		}
		if n := utf8.RuneCountInString(s); n > limit {
			return fmt.Sprintf("has %d characters, more than %d", n, limit)
		}
		return hidden(s, visible.FaultInText(s))
	}
}

// name is text by which people find a thing.
func name(limit int) func(string) string {
	check := text(limit)
	return func(s string) string {
		if reason := check(s); reason != "" {
			return reason
		}
		return hidden(s, visible.FaultInName(s))
	}
}

func hidden(s string, at int) string {
	if at < 0 {
		return ""
	}
	r, _ := utf8.DecodeRuneInString(s[at:])
	return fmt.Sprintf("holds the control character %U at byte %d", r, at)
}

// headerName is for a name that also goes into a header.
func headerName(limit int) func(string) string {
	check := name(limit)
	return func(s string) string {
		if strings.Contains(s, "=?") {
			return "holds =?, which mail programs decode in a header (RFC 2047)"
		}
		return check(s)
	}
}

var messageIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)

// messageID accepts a subset of msg-id in RFC 5322 section 3.6.4, which a URL and a log hold without escapes.
func messageID(s string) string {
	if len(s) > 320 || !messageIDForm.MatchString(s) {
		return "is not of the form id-left@id-right with letters, digits, dots, hyphens and underscores, 320 octets in all"
	}
	return ""
}

func slug(s string) string {
	odd := func(r rune) bool { return !isLetterOrDigit(r) && !strings.ContainsRune("._-", r) }
	if len(s) > 64 || strings.ContainsFunc(s, odd) {
		return "is not a slug of up to 64 ASCII letters, digits, hyphens, underscores and dots"
	}
	return ""
}

func ip(s string) string {
	if _, err := netip.ParseAddr(s); err != nil {
		return "is not an IPv4 or IPv6 address"
	}
	return ""
}

// grouped accepts a secret that is written in groups.
func grouped(s string) string {
	for _, r := range s {
		if r != ' ' && r != '-' && !isLetterOrDigit(r) {
			return "holds a character that is no ASCII letter, digit, space or hyphen"
		}
	}
	if s == "" || len(s) > 64 || strings.Trim(s, " -") != s {
		return "is empty, longer than 64 characters, or does not begin and end with a letter or digit"
	}
	return ""
}

func isLetterOrDigit(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
