package credential

import (
	"strings"
	"unicode"

	"example.com/securemail/tasks"
)

// maxTyped bounds an answer, in bytes. A key in full-width letters with a wide space between any
// two has 147.
const maxTyped = 256

// Normalize returns the canonical form of what a person typed: 25 characters for a key, 6 or 8
// digits for a code, 6 digits of an authenticator for a TOTP. It returns false if typed cannot be
// an answer of this kind, or has more than 256 bytes.
//
// Normalize ignores case, spaces, every kind of hyphen and dash, and the invisible characters that
// come with copying from a mail. In a key it reads O as 0, and I and L as 1 (Crockford's Base 32).
// It also reads the full-width forms that an East Asian input method types. This does not make
// guessing easier: still one canonical form is right.
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

// ignored reports true for spaces of every width, dashes (Pd), the minus sign, which is not in Pd,
// and format characters (Cf): soft hyphen, zero-width space, direction marks.
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
