package credential

import (
	"strings"
	"unicode/utf8"

	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// maxTyped bounds an answer, in bytes. A line of a mail fits, a link, and a key in full-width letters; a mail does
// not.
const maxTyped = 1024

// Reading is what a typed text can stand for: a string of 6 or 8 digits, a key of 25 canonical characters, or one of
// each. It does not print. The zero Reading matches nothing.
type Reading struct {
	digits secret.String // for a code or a TOTP
	key    secret.String
}

func (Reading) String() string   { return secret.Redacted }
func (Reading) GoString() string { return secret.Redacted }

// ReadAnswer reads what a person typed or pasted, without knowing what was mailed. The error is
// [tasks.ErrUnreadable]: typed has no reading, two different ones of the same sort, more than 1,024 bytes, or is not
// UTF-8. The time it takes is linear in the length.
//
// Where typed is the answer and nothing else, these do not matter:
//
//   - upper and lower case, spaces, line breaks, hyphens and dashes of every width (Pd), and the prolonged sound
//     mark, which a Japanese keyboard types for a hyphen
//   - invisible characters (Cf, Default_Ignorable_Code_Point), and '>' at the start of a line
//   - quotes, brackets, punctuation, symbols and emoji around it
//   - the script of the digits: every Nd counts by its value. Superscripts and circled digits are No, and no digits.
//   - O for 0, and I, L, dotless ı and dotted İ for 1
//
// Otherwise typed is a text with the answer in it, such as a line of the mail. There, a candidate is 6 or 8 digits,
// whole or in equal groups with one space or hyphen between any two; and 25 characters, whole or in groups of five.
// Letters, a host or another number beside it are glued to it, and then it is none. A '#' after white space, as in
// the last line of the mail (WICG, Origin-bound one-time codes), makes what stands behind it the answer. In a link,
// the answer is the key after the last '.' of the fragment. A date such as 2026-11-25 is never a candidate.
func ReadAnswer(typed string) (Reading, error) {
	if len(typed) > maxTyped || !utf8.ValidString(typed) {
		return Reading{}, tasks.ErrUnreadable
	}
	text, ok := fold(typed)
	if !ok {
		return Reading{}, tasks.ErrUnreadable
	}
	// A '#' is before an order number too. So the whole text is read if nothing behind the '#' can be.
	if a, ok := read(behindHash(text)); ok {
		return a, nil
	}
	if a, ok := read(text); ok {
		return a, nil
	}
	return Reading{}, tasks.ErrUnreadable
}

// behindHash returns what stands behind the first '#' that follows white space.
func behindHash(text string) string {
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && (text[i-1] == space || text[i-1] == newline) {
			return text[i+1:]
		}
	}
	return ""
}

// read reads a folded text: first as an answer alone, then as a text with an answer in it.
func read(text string) (Reading, bool) {
	alone := strings.Trim(text, around)
	if a, ok := readAlone(alone); ok {
		return a, true
	}
	var f finder
	for line := range strings.SplitSeq(text, string(newline)) {
		f.line(line)
	}
	// Where all is digits, a number beside a candidate can be a part of it that was torn off.
	if f.several || f.other && onlyDigits(alone) {
		return Reading{}, false
	}
	return Reading{digits: secret.New(f.digits), key: secret.New(f.key)}, f.digits != "" || f.key != ""
}

// around is what may stand around an answer, besides white space.
const around = " \n-|.,:;?=#"

// readAlone reads text as a code or a key in groups of any size.
func readAlone(text string) (Reading, bool) {
	groups := strings.FieldsFunc(text, isSeparator)
	joined := strings.Join(groups, "")
	switch len(joined) {
	case 6, 8:
		if onlyDigits(text) && !isDate.MatchString(text) && digitsIn(groups) {
			return Reading{digits: secret.New(digits(joined))}, true
		}
	case keyChars:
		// A sentence can have 25 letters too. Without a digit, only the groups of a key make it one.
		if strings.Trim(joined, keyLetters) == "" && (hasDigit(joined) || len(groups) == 1 || fives(groups)) {
			return Reading{key: secret.New(digits(joined))}, true
		}
	}
	return Reading{}, false
}

// fives reports whether groups that are a key together have the length of a key's groups.
func fives(groups []string) bool {
	for _, g := range groups {
		if len(g) != groupChars {
			return false
		}
	}
	return true
}

func isSeparator(r rune) bool { return r == space || r == newline || r == hyphen }

// onlyDigits reports true for a text of digits, look-alikes of digits, and separators.
func onlyDigits(text string) bool {
	return strings.Trim(text, "0123456789OIL \n-") == ""
}

// digitsIn reports whether look-alikes in groups can be digits. A group without a digit can be a word, such as "I".
// It is none where all groups have the same length, as in 42OO 93O6.
func digitsIn(groups []string) bool {
	same, all := true, true
	for _, g := range groups {
		same = same && len(g) == len(groups[0])
		all = all && hasDigit(g)
	}
	return all || same && hasDigit(strings.Join(groups, ""))
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }

// digits reads look-alikes as the digits that they look like, in a code as in a key (Crockford's Base 32).
func digits(s string) string { return lookAlikes.Replace(s) }

var lookAlikes = strings.NewReplacer("O", "0", "I", "1", "L", "1")
