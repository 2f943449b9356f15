// Package otpauth computes the codes of an authenticator and hands the authenticator its secret, as a key URI and as
// a QR image of it.
//
// The codes are TOTP (RFC 6238) over HOTP (RFC 4226): SHA-1, 6 digits, 30 seconds, the one choice that every
// authenticator understands; some ignore what a URI says about it. The key URI is Google Authenticator's format,
// described in https://github.com/google/google-authenticator/wiki/Key-Uri-Format. No RFC defines it, so this package
// writes a narrow form that leaves a reader nothing to guess:
//
//	otpauth://totp/ISSUER:ACCOUNT?secret=BASE32&issuer=ISSUER&algorithm=SHA1&digits=6&period=30
package otpauth

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"example.com/securemail/internal/secret"
)

// Period is the time step X of RFC 6238.
const Period = 30 * time.Second

const (
	maxIssuer  = 64  // runes; authenticators show a line of it
	maxAccount = 128 // runes
	minSecret  = 16  // bytes: RFC 4226 section 4, R6, demands 128 bits and recommends 160
	maxSecret  = 64  // bytes: a block of SHA-1's HMAC; a longer one is hashed first and gains nothing
)

const (
	prefix   = "otpauth://totp/"
	constant = "&algorithm=SHA1&digits=6&period=30"
)

var base32NoPad = base32.StdEncoding.WithPadding(base32.NoPadding)

// Key is what an authenticator needs to know.
type Key struct {
	Issuer  string        // who asks for the codes, at most 64 runes
	Account string        // whose codes they are, at most 128 runes
	Secret  secret.String // the shared secret, 16 to 64 raw bytes
}

// URI returns the key URI. It refuses an issuer or account that is empty, too long, not UTF-8, begins or ends with
// space, or has a colon, which parts the two, or a character that controls a line or its direction. An error does not
// hold the secret.
func (k Key) URI() (secret.String, error) {
	if err := checkName(k.Issuer, maxIssuer); err != nil {
		return secret.String{}, fmt.Errorf("otpauth: issuer %w", err)
	}
	if err := checkName(k.Account, maxAccount); err != nil {
		return secret.String{}, fmt.Errorf("otpauth: account %w", err)
	}
	raw := k.Secret.Reveal()
	if len(raw) < minSecret || len(raw) > maxSecret {
		return secret.String{}, fmt.Errorf("otpauth: a secret of %d bytes, want %d to %d", len(raw), minSecret, maxSecret)
	}
	issuer := escape(k.Issuer)
	return secret.New(prefix + issuer + ":" + escape(k.Account) +
		"?secret=" + base32NoPad.EncodeToString([]byte(raw)) + "&issuer=" + issuer + constant), nil
}

// ParseURI reads back what [Key.URI] wrote, and nothing else: another order, another escape or other parameters are
// refused. It is for checking a QR code or a mail, not for importing the URIs of others. An error does not hold the
// URI.
func ParseURI(uri string) (Key, error) {
	errForm := errors.New("otpauth: not a key URI in the form that this package writes")
	rest, ok := strings.CutPrefix(uri, prefix)
	label, query, ok2 := strings.Cut(rest, "?secret=")
	issuer, account, ok3 := strings.Cut(label, ":")
	encoded, _, ok4 := strings.Cut(query, "&")
	if !ok || !ok2 || !ok3 || !ok4 {
		return Key{}, errForm
	}
	issuer, err1 := url.PathUnescape(issuer)
	account, err2 := url.PathUnescape(account)
	raw, err3 := base32NoPad.DecodeString(encoded)
	if err1 != nil || err2 != nil || err3 != nil {
		return Key{}, errForm
	}
	k := Key{Issuer: issuer, Account: account, Secret: secret.New(string(raw))}
	again, err := k.URI()
	if err != nil {
		return Key{}, err
	}
	if again.Reveal() != uri {
		return Key{}, errForm
	}
	return k, nil
}

func checkName(s string, limit int) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case utf8.RuneCountInString(s) > limit:
		return fmt.Errorf("is longer than %d characters", limit)
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with space, which some authenticators take away")
	case strings.Contains(s, ":"):
		return errors.New("has a colon, which parts issuer and account in a key URI; leave it out")
	case strings.ContainsFunc(s, controls):
		return errors.New("has a control character; leave it out")
	}
	return nil
}

// controls says yes to what could break the line that an authenticator shows, or turn its direction.
func controls(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// escape percent-encodes all but the unreserved characters (RFC 3986 section 2.3) and @, which is itself in a path
// and in a query (section 3.3) and common in accounts. Nothing in net/url does: PathEscape leaves & = + and :,
// QueryEscape makes + of a space, which authenticators show as +.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~@", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// Step returns the number of the time step that t is in, T of RFC 6238 section 4.2. A verifier keeps the step of the
// last code that it accepted and takes only later ones (section 5.2). t must not be before 1970.
func Step(t time.Time) int64 { return t.Unix() / int64(Period/time.Second) }

// Code returns the six digits that an authenticator with this raw secret shows at t. Compare them in constant time.
func Code(secret []byte, t time.Time) string {
	code, err := hotp.GenerateCodeCustom(base32.StdEncoding.EncodeToString(secret), uint64(Step(t)),
		hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		// Only base32 that does not decode is an error there. An empty code must never be compared with an empty
		// answer.
		panic("otpauth: " + err.Error())
	}
	return code
}
