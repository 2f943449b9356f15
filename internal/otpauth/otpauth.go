// Package otpauth writes the key URI and the QR image that give an authenticator its TOTP secret,
// and computes the codes that the authenticator shows.
//
// TOTP is RFC 6238 over HOTP (RFC 4226). This package uses SHA-1, 6 digits and 30 seconds. Every
// authenticator supports these values, and some ignore other values in the URI. The key URI is
// Google Authenticator's format, described in
// https://github.com/google/google-authenticator/wiki/Key-Uri-Format. No RFC defines it, so this
// package writes one narrow form, which every known reader understands in the same way:
//
//	otpauth://totp/ISSUER:ACCOUNT?secret=BASE32&issuer=ISSUER&algorithm=SHA1&digits=6&period=30
//
// The package uses two libraries: skip2/go-qrcode computes the modules of the QR code, and
// pquerna/otp computes the result of [Code]. `worker dev` calls Code to check a TOTP mail, and the
// tests call it instead of an authenticator. The codes that people type are verified by package
// credential, which has its own HOTP. The tests compare this package's URIs, images and codes with
// those of pquerna/otp, zbarimg and oathtool.
package otpauth

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/visible"
)

// Period is the time step X of RFC 6238.
const Period = 30 * time.Second

const (
	maxIssuer  = 64  // runes; authenticators show it on one line
	maxAccount = 128 // runes
	minSecret  = 16  // bytes: RFC 4226 section 4, R6, demands 128 bits and recommends 160
	maxSecret  = 64  // bytes: the block size of SHA-1; HMAC gains nothing from a longer secret
)

const (
	prefix   = "otpauth://totp/"
	constant = "&algorithm=SHA1&digits=6&period=30"
)

var base32NoPad = base32.StdEncoding.WithPadding(base32.NoPadding)

// Key holds the values that an authenticator needs.
type Key struct {
	Issuer  string        // the name of the service, 1 to 64 runes
	Account string        // the name of the person's account, 1 to 128 runes
	Secret  secret.String // the shared secret, 16 to 64 raw bytes
}

// URI returns the key URI. The error says which field is not valid and never holds the secret.
// Issuer and Account must be UTF-8 and must not be empty or too long, begin or end with a space, or
// contain a colon (it separates the two) or a character that nobody sees (package visible).
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

// ParseURI returns the Key of a URI that [Key.URI] wrote. It refuses every other URI, also one with
// another order, another escape or another parameter. It is for checking a QR code or a mail, not
// for importing URIs. An error does not hold the URI.
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
		return errors.New("begins or ends with a space, which some authenticators remove")
	case strings.Contains(s, ":"):
		return errors.New("has a colon, which separates issuer and account in a key URI; leave it out")
	case visible.FaultInName(s) >= 0:
		return errors.New("has a control character, or one that nobody sees; leave it out")
	}
	return nil
}

// escape percent-encodes every character but the unreserved ones (RFC 3986 section 2.3) and @,
// which may stand in a path and in a query (RFC 3986 section 3.3) and is common in accounts.
// net/url has no such function: PathEscape does not encode & = + and :, and QueryEscape turns a
// space into +, which authenticators show as +.
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

// Step returns the number of the time step of t, T of RFC 6238 section 4.2. A verifier stores the
// step of the last code that it accepted, and accepts only codes of later steps (RFC 6238 section
// 5.2). t must not be before 1970.
func Step(t time.Time) int64 { return t.Unix() / int64(Period/time.Second) }

// Code returns the six digits that an authenticator with this raw secret shows at t. Compare codes
// in constant time.
func Code(secret []byte, t time.Time) string {
	code, err := hotp.GenerateCodeCustom(base32.StdEncoding.EncodeToString(secret), uint64(Step(t)),
		hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		// The only possible cause is base32 that does not decode. Returning "" would let an empty
		// answer match.
		panic("otpauth: " + err.Error())
	}
	return code
}
