package worker_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// canarySearch searches a text for many secrets at once, in every form in which a program might
// write them. It finds them by their first eight bytes, so that it reads a text once, however many
// secrets there are.
type canarySearch map[uint64][]canaryNeedle

type canaryNeedle struct {
	name, form, text string
	digits           bool // a code in digits; see standsAlone
}

// canaryHit is one match.
type canaryHit struct{ name, form, around string }

func (h canaryHit) String() string { return fmt.Sprintf("%s, %s: %.120q", h.name, h.form, h.around) }

// add adds a secret to the search. spellings are the texts that a person reads as the same secret:
// with and without separators, in upper and lower case.
func (s canarySearch) add(name string, spellings ...string) {
	for _, spelling := range spellings {
		for form, text := range canaryForms(spelling) {
			if len(text) < 8 {
				panic(fmt.Sprintf("%s, %s: too short for the search", name, form))
			}
			needle := canaryNeedle{name, form, text, text == spelling && strings.Trim(spelling, "0123456789 ") == ""}
			start := binary.BigEndian.Uint64([]byte(text))
			if !slices.Contains(s[start], needle) {
				s[start] = append(s[start], needle)
			}
		}
	}
}

var canaryBase32, canaryBase64, canaryBase64URL = base32.StdEncoding.WithPadding(base32.NoPadding), base64.RawStdEncoding, base64.RawURLEncoding

// canaryForms returns the forms of one spelling, by name.
func canaryForms(s string) map[string]string {
	b := []byte(s)
	forms := map[string]string{
		"as it is":                s,
		"in hex":                  hex.EncodeToString(b),
		"in hex, upper case":      strings.ToUpper(hex.EncodeToString(b)),
		"in hex, byte by byte":    strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
		"in decimal":              strings.Trim(fmt.Sprint(b), "[]"),
		"in decimal, with commas": strings.ReplaceAll(strings.Trim(fmt.Sprint(b), "[]"), " ", ","),
		"quoted":                  strings.Trim(strconv.Quote(s), `"`),
		"in a URL's query":        url.QueryEscape(s),
		"in a URL's path":         url.PathEscape(s),
	}
	// If a longer text was encoded, the characters depend on where in it the secret begins.
	for offset := range 5 {
		text := canaryAligned(canaryBase32.EncodeToString, 5, offset, b)
		forms[fmt.Sprintf("in base32 at %d", offset)] = text
		forms[fmt.Sprintf("in base32 at %d, lower case", offset)] = strings.ToLower(text)
	}
	for offset := range 3 {
		forms[fmt.Sprintf("in base64 at %d", offset)] = canaryAligned(canaryBase64.EncodeToString, 6, offset, b)
		forms[fmt.Sprintf("in base64url at %d", offset)] = canaryAligned(canaryBase64URL.EncodeToString, 6, offset, b)
	}
	return forms
}

// canaryAligned returns the characters that depend on b alone, if b begins offset bytes into a
// text.
func canaryAligned(encode func([]byte) string, bitsPerCharacter, offset int, b []byte) string {
	text := encode(append(make([]byte, offset), b...))
	return text[(8*offset+bitsPerCharacter-1)/bitsPerCharacter : 8*(offset+len(b))/bitsPerCharacter]
}

var canaryEscape = regexp.MustCompile(`\\(?:x[0-9a-f]{2}|u00[0-9a-f]{2}|[abnrt"\\])`)

// find returns the matches of every secret and form in text. It searches text as it is, and with
// its backslash escapes resolved, which Redis writes in MONITOR and zap in JSON.
func (s canarySearch) find(text string) []canaryHit {
	hits := map[[2]string]canaryHit{}
	s.scan(text, hits)
	if strings.ContainsRune(text, '\\') {
		s.scan(canaryEscape.ReplaceAllStringFunc(text, func(escape string) string {
			if plain, err := strconv.Unquote(`"` + escape + `"`); err == nil && escape[1] != 'u' {
				return plain
			}
			// An escape of JSON; the pattern allows values up to 0xff.
			code, _ := strconv.ParseUint(escape[2:], 16, 8)
			return string([]byte{byte(code)})
		}), hits)
	}
	return slices.SortedFunc(maps.Values(hits), func(a, b canaryHit) int { return strings.Compare(a.name+a.form, b.name+b.form) })
}

func (s canarySearch) scan(text string, hits map[[2]string]canaryHit) {
	var window uint64
	for end := range len(text) {
		window = window<<8 | uint64(text[end])
		for _, needle := range s[window] {
			at := end - 7
			if at >= 0 && strings.HasPrefix(text[at:], needle.text) && (!needle.digits || standsAlone(text, at, at+len(needle.text))) {
				around := text[max(0, at-60):min(len(text), at+len(needle.text)+20)]
				hits[[2]string{needle.name, needle.form}] = canaryHit{needle.name, needle.form, around}
			}
		}
	}
}

// standsAlone reports whether the digits are a number of their own. Inside a time in milliseconds,
// a hash or a fraction, one of some hundred codes turns up by chance. The remaining chance is one
// in ten million for each number of exactly eight digits in the text. A caller that knows such
// numbers removes them first.
func standsAlone(text string, start, end int) bool {
	word := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] >= 'a' && text[i] <= 'z' || text[i] >= 'A' && text[i] <= 'Z')
	}
	return !word(start-1) && !word(end) && (start == 0 || text[start-1] != '.')
}

// The other tests expect the search to find nothing, so this one checks that it finds what is
// there.
func TestCanarySearch_FindsEveryForm(t *testing.T) {
	raw := "\x00\x8f\xaa\"\\é\n\x7f raw secret\xff"
	s := canarySearch{}
	s.add("key", "ABCDE-23456-QRSTV", "ABCDE23456QRSTV", "abcde23456qrstv")
	s.add("code", "1234 5678", "12345678")
	s.add("raw", raw)
	for _, test := range []struct{ text, want string }{
		{"key=ABCDE-23456-QRSTV;", "key, as it is"},
		{"ABCDE23456QRSTV", "key, as it is"},
		{"xabcde23456qrstvx", "key, as it is"},
		{hex.EncodeToString([]byte("...ABCDE23456QRSTV...")), "key, in hex"},
		{fmt.Sprintf("%X", "ABCDE-23456-QRSTV"), "key, in hex, upper case"},
		{fmt.Sprintf("%v", []byte("a ABCDE23456QRSTV")), "key, in decimal"},
		{fmt.Sprintf("%#v", []byte("a ABCDE23456QRSTV z")), "key, in hex, byte by byte"},
		{base32.StdEncoding.EncodeToString([]byte("ABCDE23456QRSTV")), "key, in base32 at 0"},
		{base32.StdEncoding.EncodeToString([]byte("4444ABCDE23456QRSTV\n")), "key, in base32 at 4"},
		{base32.HexEncoding.EncodeToString([]byte("ABCDE23456QRSTV")), ""},
		{base64.StdEncoding.EncodeToString([]byte("ABCDE23456QRSTV")), "key, in base64 at 0"},
		{base64.StdEncoding.EncodeToString([]byte("{\"k\":\"ABCDE-23456-QRSTV\"}")), "key, in base64 at 0"},
		{base64.StdEncoding.EncodeToString([]byte("me:ABCDE-23456-QRSTV")), "key, in base64 at 0"},
		{base64.URLEncoding.EncodeToString([]byte("a" + raw)), "raw, in base64url at 1"},
		{base64.StdEncoding.EncodeToString([]byte("ab" + raw + "cd")), "raw, in base64 at 2"},
		{"before" + raw + "after", "raw, as it is"},
		{strconv.Quote(raw), "raw, quoted"},
		{strings.ToLower(url.QueryEscape(raw)), ""},
		{url.QueryEscape(raw), "raw, in a URL's query"},
		{`"\x00\x8f\xaa\"\\` + "\xc3\xa9" + `\n\x7f raw secret\xff"`, "raw, as it is"}, // MONITOR
		{"your code is 1234 5678.", "code, as it is"},
		{`{"code":"12345678"}`, "code, as it is"},
		{`"\b12345678"`, "code, as it is"}, // in MONITOR, after a length
		{`"\u000812345678"`, "code, as it is"},
		{"code=1234+5678", "code, in a URL's query"},
		{"12345678", "code, as it is"},
		{hex.EncodeToString([]byte("12345678")), "code, in hex"},
		{base64.StdEncoding.EncodeToString([]byte("12345678")), "code, in base64 at 0"},
		{base32.StdEncoding.EncodeToString([]byte("x12345678")), "code, in base32 at 1"},
		{"1712345678901", ""}, {"0.12345678", ""}, {"id=a12345678", ""}, {"12345678f", ""}, {"91234 5678", ""}, {"", ""}, {"ABCDE", ""},
	} {
		var got []string
		for _, hit := range s.find(test.text) {
			got = append(got, hit.name+", "+hit.form)
		}
		if test.want == "" && len(got) > 0 || test.want != "" && !slices.Contains(got, test.want) {
			t.Errorf("in %q: got %q, want %q", test.text, got, test.want)
		}
	}
}
