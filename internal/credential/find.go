package credential

import (
	"regexp"
	"strings"
)

// keyLetters are the characters of a key, with the look-alikes that a person types for 0 and 1.
const keyLetters = crockford + "OIL"

// The shapes of candidates in a folded text. Groups are equal, with the same separator between any two. Six digits in
// pairs with hyphens are none, because dates look like that.
var (
	codeShape = regexp.MustCompile(`^(\d{6}|\d{8}|\d{3}[ -]\d{3}|\d{4}[ -]\d{4}|\d\d( \d\d){2,3}|\d\d(-\d\d){3}|` +
		`\d( \d){5}|\d( \d){7}|\d(-\d){5}|\d(-\d){7})$`)
	keyShape = regexp.MustCompile(`^[0-9A-TV-Z]{5}(-[0-9A-TV-Z]{5}){4}$`)
	keyWhole = regexp.MustCompile(`^[0-9A-TV-Z]{25}$`)
	keyGroup = regexp.MustCompile(`^[0-9A-TV-Z]{5}$`)
	number   = regexp.MustCompile(`^[0-9OIL]+(-[0-9OIL]+)*$`)
	isDate   = regexp.MustCompile(`^(` + year + `-` + month + `-` + day + `|` +
		day + `-` + month + `-` + year + `|` + month + `-` + day + `-` + year + `)$`)
)

const (
	year  = `(19|20)\d\d`
	month = `(0[1-9]|1[0-2])`
	day   = `(0[1-9]|[12]\d|3[01])`
)

// finder collects the candidates of a text.
type finder struct {
	digits, key string
	several     bool // two different candidates of one sort
	other       bool // a number that is no candidate and no date
}

// line looks for candidates in a line of folded text.
func (f *finder) line(line string) {
	for part := range strings.SplitSeq(f.plain(line), string(boundary)) {
		words := strings.Split(part, string(space))
		f.codes(words)
		f.keys(words)
	}
}

// plain returns the line with a boundary for all that ends a candidate: punctuation at the ends of a word, and every
// word that is a link, an address or a host. It looks for the key of a link on the way.
func (f *finder) plain(line string) string {
	var out strings.Builder
	inLink := false // punctuation in a link does not end it, such as that around 12345678 in https://example.com/a(12345678)
	for len(line) > 0 {
		end := strings.IndexAny(line, " |")
		switch end {
		case -1:
			end = len(line)
		case 0:
			inLink = inLink && line[0] == boundary
			out.WriteByte(line[0])
			line = line[1:]
			continue
		}
		word := line[:end]
		line = line[end:]
		core := strings.Trim(word, around)
		inLink = inLink || strings.Contains(core, "://")
		if linkLike(core) {
			f.addKey(linkKey(core))
		}
		if inLink || linkLike(core) {
			out.WriteByte(boundary)
			continue
		}
		before, after, _ := strings.Cut(word, core)
		if before != "" || core == "" {
			out.WriteByte(boundary)
		}
		writeParts(&out, core)
		if after != "" {
			out.WriteByte(boundary)
		}
	}
	return out.String()
}

// linkLike reports whether word is a link, an address or a host: it has a slash, an @, a fragment, or a full stop
// inside.
func linkLike(word string) bool { return strings.ContainsAny(word, "/@.#") }

// writeParts writes the word with boundaries for punctuation inside, as in "code:1234". Between two digits, a colon
// or comma is a part of a time or number, and stays.
func writeParts(out *strings.Builder, word string) {
	for i := range len(word) {
		c := word[i]
		switch c {
		case ';', '=', '?':
			c = boundary
		case ':', ',': // never at an end, because word is trimmed
			if !isDigit(word[i-1]) || !isDigit(word[i+1]) {
				c = boundary
			}
		}
		out.WriteByte(c)
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// linkKey returns the key in a link, or an empty string: what stands after the last full stop of the fragment. A
// gateway that rewrites links puts %23 in place of '#', and its own parameters behind it.
func linkKey(link string) string {
	link = strings.ReplaceAll(link, "%23", "#")
	at := strings.LastIndexByte(link, '#')
	if at < 0 {
		return ""
	}
	fragment := link[at+1:]
	if end := strings.IndexAny(fragment, "&?=;:,/%"); end >= 0 {
		fragment = fragment[:end]
	}
	fragment = strings.Trim(fragment, ".-")
	key := strings.ReplaceAll(fragment[strings.LastIndex(fragment, ".")+1:], string(hyphen), "")
	if !keyWhole.MatchString(key) {
		return ""
	}
	return key
}

// codes looks for codes. Numbers with one space between any two belong together, so that a part of a longer number is
// no candidate.
func (f *finder) codes(words []string) {
	var run []string
	for _, word := range append(words, "") {
		if number.MatchString(word) && hasDigit(word) && !isDate.MatchString(word) {
			run = append(run, word)
			continue
		}
		if len(run) > 0 {
			f.addNumber(run)
		}
		run = run[:0]
		// A look-alike alone is a word in a sentence, and perhaps a digit beside digits.
		f.other = f.other || number.MatchString(word) && !hasDigit(word)
	}
}

func (f *finder) addNumber(run []string) {
	code := strings.Join(run, string(space))
	if codeShape.MatchString(code) {
		code = strings.Join(strings.FieldsFunc(code, isSeparator), "")
	} else {
		code = repeated(run)
	}
	switch {
	case code == "":
		f.other = true
	case f.digits != "" && f.digits != code:
		f.several = true
	default:
		f.digits = code
	}
}

// repeated returns the code that the words of a run say twice or more, as in "1234 5678 12345678", or an empty
// string.
func repeated(run []string) string {
	for _, size := range []int{6, 8} {
		code, said, times := "", "", 0
		for _, word := range run {
			if said += strings.ReplaceAll(word, string(hyphen), ""); len(said) < size {
				continue
			}
			if times++; times == 1 {
				code = said
			}
			if said != code {
				break
			}
			said = ""
		}
		if times > 1 && said == "" && len(code) == size && strings.Trim(code, "0123456789") == "" {
			return code
		}
	}
	return ""
}

// keys looks for keys. Five words of five letters can be a sentence, and so can one of 25; with a digit in it, it is
// a key.
func (f *finder) keys(words []string) {
	var run []string
	for _, word := range append(words, "") {
		switch {
		case keyShape.MatchString(word):
			f.addKey(strings.ReplaceAll(word, string(hyphen), ""))
		case keyWhole.MatchString(word) && hasDigit(word):
			f.addKey(word)
		}
		if keyGroup.MatchString(word) {
			run = append(run, word)
			continue
		}
		if key := strings.Join(run, ""); len(run) == keyChars/groupChars && hasDigit(key) {
			f.addKey(key)
		}
		run = run[:0]
	}
}

func (f *finder) addKey(key string) {
	if key = digits(key); key == "" {
		return
	}
	f.several = f.several || f.key != "" && f.key != key
	f.key = key
}
