package credential_test

import (
	"strings"
	"testing"
	"unicode"

	"example.com/securemail/internal/credential"
	"example.com/securemail/tasks"
)

// read returns the reading of typed. It is the zero Reading, which matches nothing, if there is none.
func read(typed string) credential.Reading {
	a, _ := credential.ReadAnswer(typed)
	return a
}

// spellings are ways in which people type a secret that they read.
var spellings = map[string]func(shown string) string{
	"as shown":     func(s string) string { return s },
	"no groups":    func(s string) string { return strings.NewReplacer("-", "", " ", "").Replace(s) },
	"spaces":       func(s string) string { return strings.ReplaceAll(s, "-", " ") },
	"hyphens":      func(s string) string { return strings.ReplaceAll(s, " ", "-") },
	"dashes":       func(s string) string { return strings.NewReplacer("-", "–", " ", "—").Replace(s) },
	"no-break":     func(s string) string { return strings.NewReplacer("-", "\u00a0", " ", "\u00a0").Replace(s) },
	"pasted lines": func(s string) string { return "\r\n\t" + s + " \n" },
	"lower case":   strings.ToLower,
	"full width": func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == ' ' {
				return '\u3000'
			}
			return r + 0xFEE0
		}, s)
	},
}

var lookalikes = []*strings.Replacer{
	strings.NewReplacer("0", "O", "1", "I"),
	strings.NewReplacer("0", "o", "1", "L"),
	strings.NewReplacer("1", "l"),
}

func TestMatch_AcceptsEverySpelling(t *testing.T) {
	for i := range 200 {
		for _, p := range []credential.Params{
			{Kind: tasks.Key}, {Kind: tasks.Code, Digits: 8}, {Kind: tasks.Code, Digits: 6},
		} {
			digits := p.Digits
			p = params(p.Kind)
			p.Digits, p.Seed[0] = digits, byte(i)
			c := derive(t, ringKey, p)
			shown := c.Display().Reveal()
			for name, spell := range spellings {
				if typed := spell(shown); !c.Match(read(typed)) {
					t.Errorf("%s: %q does not match %q", name, typed, shown)
				}
				for _, r := range lookalikes {
					typed := r.Replace(spell(shown))
					if p.Kind == tasks.Code && !strings.ContainsFunc(typed, unicode.IsDigit) {
						continue // a code of 0 and 1 alone, all in letters: those can be a word
					}
					if !c.Match(read(typed)) {
						t.Errorf("%s, look-alikes: %q does not match %q", name, typed, shown)
					}
				}
			}
		}
	}
}

// lookAlike returns the digit that r looks like, or r.
func lookAlike(r rune) byte {
	return strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(string(r))[0]
}

func TestMatch_RefusesOtherAnswers(t *testing.T) {
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code} {
		c := derive(t, ringKey, params(kind))
		text := strings.NewReplacer("-", "", " ", "").Replace(c.Display().Reveal())
		for i := range text {
			for _, wrong := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
				if typed := text[:i] + string(wrong) + text[i+1:]; typed != text && lookAlike(wrong) != text[i] && c.Match(read(typed)) {
					t.Errorf("%s: %q matches %q", kind, typed, text)
				}
			}
		}
		for _, typed := range []string{"", text[1:], text[:len(text)-2], text + "0", text + text, strings.Repeat(" ", 1000)} {
			if c.Match(read(typed)) {
				t.Errorf("%s: %q matches %q", kind, typed, text)
			}
		}
	}
	long, short := params(tasks.Code), params(tasks.Code)
	short.Digits = 6
	if derive(t, ringKey, long).Match(read(derive(t, ringKey, short).Display().Reveal())) {
		t.Error("six digits match a code of eight")
	}
	totp := derive(t, ringKey, params(tasks.TOTP))
	if totp.Match(read(totp.Display().Reveal())) || totp.Match(read(totp.SharedSecret().Reveal())) || totp.Match(read("123456")) || totp.Match(read("")) {
		t.Error("a TOTP matches its own secret")
	}
	if new(credential.Credential).Match(credential.Reading{}) {
		t.Error("the zero Credential matches an empty answer")
	}
}
