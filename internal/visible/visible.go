// Package visible finds characters in a text that a person cannot see, and that make it another text than it looks
// like. Whoever accepts a text and whoever mails it use these functions, so that nothing gets in at one door and is
// refused at the next.
package visible

import (
	"unicode"
	"unicode/utf8"
)

// FaultInText returns the byte at which s, of any length, has a character that breaks the line, or that turns the
// direction of the text around it (UAX #9), or -1. Marks that turn nothing but themselves, such as U+200F, have their
// use in a sentence.
func FaultInText(s string) int {
	for i, r := range s {
		if turns(r) {
			return i
		}
	}
	return -1
}

// FaultInName is FaultInText for a name by which people find a thing, such as an account in their authenticator: two
// names that look the same have to be the same. So it finds every character that is not seen (category Cf), but for
// the joiners between two letters, which change the form of letters in Persian and in the scripts of India.
func FaultInName(s string) int {
	letterBefore := false
	for i, r := range s {
		switch {
		case turns(r):
			return i
		case r == zeroWidthNonJoiner || r == zeroWidthJoiner:
			next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
			if !letterBefore || !isLetter(next) {
				return i
			}
		case unicode.In(r, unicode.Cf, unicode.Bidi_Control):
			return i
		}
		letterBefore = isLetter(r)
	}
	return -1
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

func turns(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// isLetter counts the marks of a letter, because a joiner can follow them.
func isLetter(r rune) bool { return unicode.In(r, unicode.L, unicode.M) }
