// Package credential derives the secret that a mail carries, and compares it with what a person
// types.
//
// A credential is derived, never stored. HKDF-SHA-256 (RFC 5869) takes a key of the key ring and,
// as salt, the random seed of the task. The result is bound to the kind, the mail's id, the purpose
// and the address. So:
//
//   - every retry and every resend carries the same secret
//   - neither Redis alone nor the key ring alone reveals a secret
//   - a task that was rewritten to another address carries another secret, which does not verify
//     for the expected one
//
// The derivation is fixed. A change of its output needs another label than
// "securemail/credential/v2".
//
// [ReadAnswer] reads what a person typed. [Derive] returns a [Credential], and [Credential.Match]
// compares the two. The answer to a TOTP is not the secret but a code of the current time, which
// [MatchTOTP] compares. [Seal] encrypts a TOTP secret that outlives its mail.
package credential

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.com/securemail/internal/lp"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

const (
	label      = "securemail/credential/v2"
	keyLen     = 32 // bytes of a ring key
	keyChars   = 25
	groupChars = 5 // of a key as it is shown
	totpBytes  = 20
	totpDigits = 6
)

// crockford is the alphabet of Douglas Crockford's Base 32. It leaves out U, and the letters I, L
// and O, which people mistake for digits.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var base32NoPad = base32.StdEncoding.WithPadding(base32.NoPadding)

// Params holds all that a credential depends on besides the key.
type Params struct {
	Kind    tasks.Kind
	ID      string // of the mail
	Purpose string
	To      string // the canonical address; another spelling gives another secret
	Seed    []byte // 32 random bytes
	Digits  int    // of a code: 6 or 8; 0 for the other kinds
	Session []byte // the hash of the session that the secret is tied to (tasks.SessionHash), or empty
}

// Credential is a secret. It does not print.
type Credential struct {
	kind tasks.Kind
	text secret.String // canonical, as in a Reading; for a TOTP, the raw shared secret
}

// Derive returns the credential of p under key, a ring key of 32 bytes. The same arguments always
// give the same one:
//
//	info = lp("securemail/credential/v2", kind, id, purpose, to, digits, session)
//	HKDF-SHA-256(ikm = key, salt = seed, info)
//
// where lp puts the length of each part before it, as 4 bytes, big-endian. digits is "6" or "8" for a code, and empty for
// the others. session is 32 bytes or empty. docs/derivation.md has test vectors. A key has 25 characters,
// each made from five bits of a byte. A code has 6 or 8 digits, each made from a byte below 250. A
// TOTP secret is the first 20 bytes.
//
// An error means that an argument is empty, has the wrong length, or names no kind. It holds no
// argument but the kind.
func Derive(key []byte, p Params) (Credential, error) {
	if len(key) != keyLen {
		return Credential{}, fmt.Errorf("credential: the ring key has %d bytes, want %d", len(key), keyLen)
	}
	if len(p.Seed) != tasks.SeedSize {
		return Credential{}, fmt.Errorf("credential: the seed has %d bytes, want %d", len(p.Seed), tasks.SeedSize)
	}
	if p.ID == "" || p.Purpose == "" || p.To == "" {
		return Credential{}, errors.New("credential: id, purpose and address must not be empty")
	}
	digits := ""
	if p.Kind == tasks.Code {
		digits = strconv.Itoa(p.Digits)
	}
	if p.Kind == tasks.Code && p.Digits != 6 && p.Digits != 8 || p.Kind != tasks.Code && p.Digits != 0 {
		return Credential{}, fmt.Errorf("credential: %d digits; a code has 6 or 8, and the other kinds 0", p.Digits)
	}
	if len(p.Session) != 0 && len(p.Session) != sha256.Size {
		return Credential{}, fmt.Errorf("credential: the session's hash has %d bytes, want %d", len(p.Session), sha256.Size)
	}
	// Eight digits take 8 bytes, and one more for each rejected byte; one byte in 43 is rejected.
	stream, err := hkdf.Key(sha256.New, key, p.Seed, string(lp.Join(label, string(p.Kind), p.ID, p.Purpose, p.To, digits, string(p.Session))), 64)
	if err != nil {
		return Credential{}, fmt.Errorf("credential: %w", err)
	}
	var text string
	switch p.Kind {
	case tasks.Key:
		text = keyText(stream)
	case tasks.Code:
		text, err = codeText(stream, p.Digits)
	case tasks.TOTP:
		text = string(stream[:totpBytes])
	default:
		err = fmt.Errorf("credential: unknown kind %.16q, want key, code or totp", p.Kind)
	}
	if err != nil {
		return Credential{}, err
	}
	return Credential{kind: p.Kind, text: secret.New(text)}, nil
}

// keyText makes a character from five bits of each byte. 32 divides 256, so every character is
// equally likely.
func keyText(stream []byte) string {
	text := make([]byte, keyChars)
	for i := range text {
		text[i] = crockford[stream[i]&31]
	}
	return string(text)
}

// codeText makes a digit from each byte below 250. It skips the other six values of a byte: with
// them, 0 to 5 would be more likely than 6 to 9.
func codeText(stream []byte, digits int) (string, error) {
	text := make([]byte, 0, digits)
	for _, b := range stream {
		if b < 250 {
			text = append(text, '0'+b%10)
		}
		if len(text) == digits {
			return string(text), nil
		}
	}
	return "", errors.New("credential: too few bytes below 250 for a code")
}

// SharedSecret returns the 20 raw bytes of a TOTP secret, or an empty string for the other kinds.
func (c Credential) SharedSecret() secret.String {
	if c.kind != tasks.TOTP {
		return secret.String{}
	}
	return c.text
}

// Display returns the secret as a person reads and types it: XXXXX-XXXXX-XXXXX-XXXXX-XXXXX for a
// key, 1234 5678 or 123 456 for a code, base32 in groups of four for a TOTP.
func (c Credential) Display() secret.String {
	text := c.text.Reveal()
	switch c.kind {
	case tasks.Key:
		return secret.New(group(text, groupChars, "-"))
	case tasks.Code:
		return secret.New(group(text, len(text)/2, " "))
	default:
		return secret.New(group(base32NoPad.EncodeToString([]byte(text)), 4, " "))
	}
}

func group(s string, size int, sep string) string {
	var groups []string
	for len(s) > size {
		groups = append(groups, s[:size])
		s = s[size:]
	}
	return strings.Join(append(groups, s), sep)
}

// Match reports whether the answer is the credential: its key for a key, its digits for a code. Its
// duration does not depend on the credential. For a TOTP it always reports false; use [MatchTOTP].
func (c Credential) Match(a Reading) bool {
	var read secret.String
	switch c.kind {
	case tasks.Key:
		read = a.key
	case tasks.Code:
		read = a.digits
	default:
		return false
	}
	return subtle.ConstantTimeCompare([]byte(read.Reveal()), []byte(c.text.Reveal())) == 1
}
