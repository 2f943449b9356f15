package submission

import (
	_ "embed" // words.txt
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// How much of a reply is read for its words. Real replies are far shorter.
const (
	maxRead  = 4 << 10 // bytes
	maxWords = 1000
)

// vocabulary is words.txt, turned around: from words to concepts.
type vocabulary struct {
	exact   map[string]concept
	stems   map[string]concept // words that begin so
	lengths []int              // of stems, in bytes, shortest first
	phrases map[string][]phrase
	inside  []phrase // found inside of text without spaces
}

// phrase is a sequence of words; the first one is the key under which it stands.
type phrase struct {
	words   []string
	concept concept
}

//go:embed words.txt
var lexicon string

var vocab = sync.OnceValue(func() *vocabulary {
	v := &vocabulary{exact: map[string]concept{}, stems: map[string]concept{}, phrases: map[string][]phrase{}}
	var c concept
	for line := range strings.Lines(lexicon) {
		if line[0] == '#' {
			continue
		}
		if name, rest, named := strings.Cut(line, ": "); named {
			c, line = 1<<slices.Index(conceptNames, name), rest
		}
		for word := range strings.FieldsSeq(line) {
			v.add(word, c)
		}
	}
	slices.Sort(v.lengths)
	return v
})

func (v *vocabulary) add(word string, c concept) {
	parts := strings.Split(word, "_")
	stem, isStem := strings.CutSuffix(word, "*")
	switch {
	case spaceless(word):
		v.inside = append(v.inside, phrase{[]string{word}, c})
	case len(parts) > 1:
		v.phrases[parts[0]] = append(v.phrases[parts[0]], phrase{parts, c})
	case isStem:
		v.stems[stem] |= c
		if !slices.Contains(v.lengths, len(stem)) {
			v.lengths = append(v.lengths, len(stem))
		}
	default:
		v.exact[word] |= c
	}
}

// spaceless reports whether s is in a script that is written without spaces.
func spaceless(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
	})
}

// concepts returns what each word of the reply is about, in order. Addresses, host names, links and
// whatever holds digits are not words: a name may hold anything.
func concepts(lines []string) []concept {
	v := vocab()
	tokens := withoutPrefix(tokenize(lines))
	all := make([]concept, len(tokens))
	for i, token := range tokens {
		all[i] |= v.word(token)
		for _, p := range v.phrases[token] {
			if p.at(tokens[i:]) {
				all[i] |= p.concept
			}
		}
	}
	return all
}

func (v *vocabulary) word(token string) concept {
	if token[0] >= utf8.RuneSelf && spaceless(token) {
		var c concept
		for _, p := range v.inside {
			if strings.Contains(token, p.words[0]) {
				c |= p.concept
			}
		}
		return c
	}
	c := v.exact[token]
	for _, n := range v.lengths {
		if n > len(token) {
			break
		}
		c |= v.stems[token[:n]]
	}
	return c
}

// at reports whether tokens begin with the phrase.
func (p phrase) at(tokens []string) bool {
	if len(tokens) < len(p.words) {
		return false
	}
	for i, word := range p.words {
		stem, isStem := strings.CutSuffix(word, "*")
		if tokens[i] != word && !(isStem && strings.HasPrefix(tokens[i], stem)) {
			return false
		}
	}
	return true
}

// tokenize returns the words of a reply, in lower case.
func tokenize(lines []string) []string {
	var tokens []string
	left := maxRead
	for _, line := range lines {
		line = line[:min(len(line), left)]
		left -= len(line)
		for chunk := range strings.FieldsSeq(line) {
			switch {
			case len(tokens) >= maxWords:
				return tokens[:maxWords]
			case strings.ContainsRune(chunk, '@'):
				tokens = append(tokens, "@")
			case !isName(chunk):
				tokens = split(tokens, chunk)
			}
		}
	}
	return tokens
}

// withoutPrefix drops the words with which Postfix begins whatever it refuses at RCPT, if more follow:
// "Recipient address rejected: hourly limit exceeded" is not about the recipient.
func withoutPrefix(tokens []string) []string {
	if i := slices.Index(tokens, "rejected"); i >= 2 && len(tokens) > i+2 && tokens[i-2] == "recipient" && strings.HasPrefix(tokens[i-1], "address") {
		return slices.Delete(tokens, i-2, i+1)
	}
	return tokens
}

// isName reports whether chunk, which holds no space, is a link, a host name or something in angle
// brackets.
func isName(chunk string) bool {
	if strings.Contains(chunk, "://") || chunk[0] == '<' && strings.ContainsRune(chunk, '>') {
		return true
	}
	chunk = strings.Trim(chunk, `.,;:!?()[]<>"'`)
	dot := strings.LastIndexByte(chunk, '.')
	if dot <= 0 || len(chunk)-dot < 3 {
		return false
	}
	for _, c := range []byte(chunk[dot+1:]) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return strings.Trim(chunk, safeCharacters) == ""
}

// split appends the words of chunk. An apostrophe joins ("doesn't"), unless an elided article stands
// before it ("l'adresse"); a capital behind a small letter begins a word ("RecipientNotFound").
func split(tokens []string, chunk string) []string {
	var word strings.Builder
	digits := false
	end := func() {
		if word.Len() > 0 && !digits {
			tokens = append(tokens, word.String())
		}
		word.Reset()
		digits = false
	}
	last := ' '
	for _, r := range chunk {
		switch {
		case unicode.IsDigit(r):
			digits = true
			word.WriteRune(r)
		case unicode.IsLetter(r) || unicode.IsMark(r):
			if unicode.IsUpper(r) && unicode.IsLower(last) {
				end()
			}
			word.WriteRune(unicode.ToLower(r))
		case (r == '\'' || r == '’') && word.Len() > 2:
		default:
			end()
		}
		last = r
	}
	end()
	return tokens
}
