package credential

import "unicode"

// The bytes of a folded text that stand for more than themselves. Every other byte is an ASCII character: a digit, an
// upper case letter, or one of .,:;?=#/@%& with a meaning in hosts, links, times and sentences.
const (
	space    = ' '
	newline  = '\n' // and a tab: both part the cells of a table that was copied
	hyphen   = '-'
	boundary = '|' // punctuation, symbols, and letters that are written without spaces between words
	glue     = '_' // all that makes a digit beside it a part of something else: letters, marks, currency signs
)

// fold turns a text into ASCII, a byte for each character that matters. It returns false for a text with control
// characters.
func fold(text string) (string, bool) {
	out := make([]byte, 0, len(text))
	last := byte(newline)
	quoting := true // at the start of a line, where '>' quotes a mail
	for _, r := range text {
		if ignorable(r) {
			continue
		}
		b, ok := foldRune(r, last)
		if !ok {
			return "", false
		}
		if quoting && unwiden(r) == '>' {
			b = space
		}
		quoting = b == newline || quoting && b == space
		switch {
		case last == hyphen && quoting: // A line ends after a hyphen of a key. It goes on in the next line.
			continue
		case b == 0:
			continue
		}
		out, last = append(out, b), b
	}
	return string(out), true
}

// foldRune returns the byte for r, and 0 for a mark that belongs to the letter before it. It returns false for a
// control character. last is the byte before it.
func foldRune(r rune, last byte) (byte, bool) {
	if r == '，' || r == '：' { // No space follows them, and they part no thousands.
		return boundary, true
	}
	r = unwiden(r)
	if b, ok := foldASCII(r); ok {
		return b, true
	}
	if value, ok := digitValue(r); ok {
		return '0' + value, true
	}
	switch {
	case lineBreak(r):
		return newline, true
	case unicode.IsSpace(r) || r == '\u2800': // braille blank
		return space, true
	case unicode.IsControl(r):
		return 0, false
	case isHyphen(r):
		return hyphen, true
	case r == 'ı' || r == 'İ': // A Turkish keyboard has them where others have I and i.
		return 'I', true
	case r == '\u0307' && last == 'I': // İ in lower case, and decomposed
		return 0, true
	case unicode.In(r, unspaced...) || unicode.IsMark(r) && last == boundary || r == 'ﾞ' || r == 'ﾟ':
		return boundary, true
	case unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Sc):
		return glue, true
	}
	return boundary, true
}

// unwiden returns the ASCII character of a full-width form (Unicode, Halfwidth and Fullwidth Forms), which an East
// Asian input method types.
func unwiden(r rune) rune {
	if 0xFF01 <= r && r <= 0xFF5E {
		return r - 0xFF01 + '!'
	}
	return r
}

// foldASCII folds what prints. Case is mapped here, and not with [unicode.ToUpper], which makes an S of ſ and a K of
// the Kelvin sign.
func foldASCII(r rune) (byte, bool) {
	switch {
	case '0' <= r && r <= '9' || 'A' <= r && r <= 'Z':
		return byte(r), true
	case 'a' <= r && r <= 'z':
		return byte(r) - 'a' + 'A', true
	}
	switch r {
	case '.', ',', ':', ';', '?', '=', '#', '/', '@', '%', '&', '-', ' ':
		return byte(r), true
	case '\\':
		return '/', true
	case '_', '+', '$', '^', '~':
		return glue, true
	case '"', '\'', '`', '(', ')', '[', ']', '{', '}', '<', '>', '*', '!', '|':
		return boundary, true
	}
	return 0, false
}

// digitValue returns the value of a decimal digit of any script (Unicode category Nd). In Nd, ten digits follow each
// other from 0 to 9 (Unicode section 4.6). A range of the table can have several such sets: U+1D7CE to U+1D7FF has
// five.
func digitValue(r rune) (byte, bool) {
	for _, set := range unicode.Nd.R16 {
		if rune(set.Lo) <= r && r <= rune(set.Hi) {
			return byte((r - rune(set.Lo)) % 10), true
		}
	}
	for _, set := range unicode.Nd.R32 {
		if rune(set.Lo) <= r && r <= rune(set.Hi) {
			return byte((r - rune(set.Lo)) % 10), true
		}
	}
	return 0, false
}

// ignorable reports whether r shows nothing where it stands: Default_Ignorable_Code_Point, of which Go has the parts,
// and all format characters (Cf), such as soft hyphen, zero-width space and direction marks.
func ignorable(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func lineBreak(r rune) bool {
	switch r {
	case '\n', '\r', '\t', '\v', '\f', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// isHyphen reports true for every dash (Pd), the minus sign, which is not in Pd, and the prolonged sound mark in both
// widths, which a Japanese input method types for the hyphen key.
func isHyphen(r rune) bool {
	return unicode.Is(unicode.Pd, r) || r == '\u2212' || r == 'ー' || r == 'ｰ'
}

// unspaced are the scripts that put a number right beside a word: those without spaces, and Hangul, whose particles
// follow the number.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo, unicode.Yi, unicode.Hangul,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}
