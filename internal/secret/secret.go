// Package secret has a string type for values that must not be printed.
//
// A password in an ordinary string sooner or later gets into an error text, a log line or the %+v
// of a struct. A [String] prints as "[redacted]" with every verb, encoder and logger. fmt calls no
// method of an unexported field. There it prints an address, because a String holds a pointer and
// fmt does not follow nested pointers. [String.Reveal] is the only way to the value, so a search
// for Reveal finds every place that handles a secret.
package secret

import "log/slog"

// Redacted is the text that a secret prints as.
const Redacted = "[redacted]"

// String is a string that does not print. The zero value is the empty secret. Compare revealed
// secrets with crypto/subtle; == on two Strings compares pointers, not texts.
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
