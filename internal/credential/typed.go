package credential

import (
	"strings"
	"unicode"

	"example.com/securemail/tasks"
)

// maxTyped is the most bytes that are looked at: a key in full-width letters with a wide space between any two has 147.
const maxTyped = 256

// Normalize returns the canonical form of what a person typed, or false if that cannot be an answer of this kind: 25
// characters for a key, 8 or 6 digits for a code, 6 digits of an authenticator for a TOTP.
//
// Forgiven are case, spaces, hyphens and dashes of every sort, and invisible characters, which come with copying from
// a mail; in a key O for 0 and I and L for 1 (Crockford's Base 32); and the full-width forms that an East Asian input
// method types. None of it makes guessing easier: still only one canonical form is right.
func Normalize(kind tasks.Kind, typed string) (string, bool) {
	if len(typed) > maxTyped {
		return "", false
	}
	var b strings.Builder
	for _, r := range typed {
		if 0xFF01 <= r && r <= 0xFF5E {
			r -= 0xFF01 - '!' // full-width forms mirror ASCII
		}
		if ignored(r) {
			continue
		}
		c, ok := canonical(kind, r)
		if !ok {
			return "", false
		}
		b.WriteByte(c)
	}
	if !validLength(kind, b.Len()) {
		return "", false
	}
	return b.String(), true
}

func validLength(kind tasks.Kind, n int) bool {
	switch kind {
	case tasks.Key:
		return n == keyChars
	case tasks.Code:
		return n == 6 || n == 8
	case tasks.TOTP:
		return n == totpDigits
	}
	return false
}

// ignored says yes to space of every width, to dashes (Pd) and the minus sign, which is none, and to format
// characters (Cf): soft hyphen, zero-width space, direction marks.
func ignored(r rune) bool {
	return unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) || r == '\u2212'
}

// canonical returns the character that r stands for in an answer of this kind.
func canonical(kind tasks.Kind, r rune) (byte, bool) {
	if '0' <= r && r <= '9' {
		return byte(r), true
	}
	if kind != tasks.Key {
		return 0, false
	}
	if 'a' <= r && r <= 'z' {
		r -= 'a' - 'A'
	}
	switch r {
	case 'O':
		return '0', true
	case 'I', 'L':
		return '1', true
	}
	return byte(r), r < 0x80 && strings.ContainsRune(crockford, r)
}
