// Package secret holds values that must not be printed.
//
// A password that is an ordinary string ends up, sooner or later, in an error text, a log line or a %+v of the
// struct around it. A [String] prints as "[redacted]" whatever verb, encoder or logger meets it, also inside an
// unexported field, where fmt can call no method: it holds a pointer, and fmt prints a nested pointer as an address.
// [String.Reveal] is the only way out, so that a search for Reveal finds every place that handles a secret.
package secret

import "log/slog"

// Redacted is what a secret prints as.
const Redacted = "[redacted]"

// String is a string that does not print. The zero value is the empty secret. Compare secrets with
// crypto/subtle, not with ==, which compares identity here.
type String struct{ p *string }

// New hides s.
func New(s string) String {
	if s == "" {
		return String{}
	}
	return String{&s}
}

// Reveal returns the hidden string.
func (s String) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether the secret is empty.
func (s String) IsZero() bool { return s.p == nil }

func (String) String() string               { return Redacted }
func (String) GoString() string             { return Redacted }
func (String) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
func (String) LogValue() slog.Value         { return slog.StringValue(Redacted) }
