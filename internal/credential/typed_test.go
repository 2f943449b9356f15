package credential_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/securemail/internal/credential"
	"example.com/securemail/tasks"
)

func TestNormalize_ReturnsTheCanonicalAnswer(t *testing.T) {
	const key = "0123456789ABCDEFGHJKMNPQR"
	for _, c := range []struct {
		kind        tasks.Kind
		typed, want string // want is empty for text that is not an answer
	}{
		{tasks.Key, key, key},
		{tasks.Key, strings.ToLower(key), key},
		{tasks.Key, "01234-56789-ABCDE-FGHJK-MNPQR", key},
		{tasks.Key, " 01234 56789\tABCDE\r\nFGHJK MNPQR \n", key},
		{tasks.Key, "01234\u00a056789\u2003ABCDE\u3000FGHJK\u202fMNPQR", key},
		{tasks.Key, "01234‐56789‑ABCDE–FGHJK—MNPQR", key},
		{tasks.Key, "01234\u221256789\ufe63ABCDE\uff0dFGHJK\u00adMNPQR", key},
		{tasks.Key, "\ufeff01234\u200b56789\u200eABCDE\u2060FGHJKMNPQR", key},
		{tasks.Key, "oIL23456789ABCDEFGHJKMNPQ", "01123456789ABCDEFGHJKMNPQ"},
		{tasks.Key, "Oil23456789ABCDEFGHJKMNPQ", "01123456789ABCDEFGHJKMNPQ"},
		{tasks.Key, "０１２３４　５６７８９　ＡＢＣＤＥ　ｆｇｈｊｋ－ＭＮＰＱＲ", key},
		{tasks.Key, "Ｏｉｌ23456789ABCDEFGHJKMNPQ", "01123456789ABCDEFGHJKMNPQ"},
		{tasks.Key, key[:24], ""},
		{tasks.Key, key + "S", ""},
		{tasks.Key, "U" + key[1:], ""},
		{tasks.Key, "_" + key[1:], ""},
		{tasks.Key, "." + key[1:], ""},
		{tasks.Key, "\u0131" + key[1:], ""}, // dotless i: upper case I in Unicode
		{tasks.Key, "\u017f" + key[1:], ""}, // long s
		{tasks.Key, "\u0410" + key[1:], ""}, // Cyrillic A
		{tasks.Key, "\x00" + key, ""},
		{tasks.Key, "\xff" + key, ""},
		{tasks.Key, "", ""},
		{tasks.Key, key + strings.Repeat(" ", 256-len(key)), key},
		{tasks.Key, key + strings.Repeat(" ", 257-len(key)), ""},
		{tasks.Code, "12345678", "12345678"},
		{tasks.Code, "1234 5678", "12345678"},
		{tasks.Code, "1234-5678", "12345678"},
		{tasks.Code, "１２３４　５６７８", "12345678"},
		{tasks.Code, "123 456", "123456"},
		{tasks.Code, "1234567", ""},
		{tasks.Code, "123456789", ""},
		{tasks.Code, "O2345678", ""},
		{tasks.Code, "+2345678", ""},
		{tasks.Code, "1234.5678", ""},
		{tasks.Code, "١٢٣٤٥٦٧٨", ""}, // Arabic-Indic: no known client types them
		{tasks.Code, "  - ", ""},
		{tasks.TOTP, "123 456", "123456"},
		{tasks.TOTP, "12345678", ""},
		{"", "123456", ""},
		{"Key", key, ""},
	} {
		got, ok := credential.Normalize(c.kind, c.typed)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s %q: got %q, %v, want %q", c.kind, c.typed, got, ok, c.want)
		}
	}
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
				if typed := spell(shown); !c.Match(typed) {
					t.Errorf("%s: %q does not match %q", name, typed, shown)
				}
				for _, r := range lookalikes {
					if typed := r.Replace(spell(shown)); p.Kind == tasks.Key && !c.Match(typed) {
						t.Errorf("%s, look-alikes: %q does not match %q", name, typed, shown)
					}
				}
			}
		}
	}
}

func TestMatch_RefusesOtherAnswers(t *testing.T) {
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code} {
		c := derive(t, ringKey, params(kind))
		text, _ := credential.Normalize(kind, c.Display().Reveal())
		for i := range text {
			for _, wrong := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
				if typed := text[:i] + string(wrong) + text[i+1:]; typed != text && c.Match(typed) {
					t.Errorf("%s: %q matches %q", kind, typed, text)
				}
			}
		}
		for _, typed := range []string{"", text[1:], text[:len(text)-2], text + "0", text + text, strings.Repeat(" ", 1000)} {
			if c.Match(typed) {
				t.Errorf("%s: %q matches %q", kind, typed, text)
			}
		}
	}
	long, short := params(tasks.Code), params(tasks.Code)
	short.Digits = 6
	if derive(t, ringKey, long).Match(derive(t, ringKey, short).Display().Reveal()) {
		t.Error("six digits match a code of eight")
	}
	totp := derive(t, ringKey, params(tasks.TOTP))
	if totp.Match(totp.Display().Reveal()) || totp.Match(totp.SharedSecret().Reveal()) || totp.Match("") {
		t.Error("a TOTP matches its own secret")
	}
	if new(credential.Credential).Match("") {
		t.Error("the zero Credential matches an empty answer")
	}
}

// Normalize does not change its own result, which is ASCII and of at most 25 characters.
func FuzzNormalize(f *testing.F) {
	f.Add("key", "01234-56789-abcde-fghjk-mnpqr")
	f.Add("code", "1234 5678")
	f.Add("code", "１２３ ４５６")
	f.Add("totp", "123\u00a0456")
	f.Add("key", "\xff\xfe")
	f.Fuzz(func(t *testing.T, kind, typed string) {
		k := tasks.Kind(kind)
		once, ok := credential.Normalize(k, typed)
		if !ok {
			if once != "" {
				t.Errorf("got %q beside false", once)
			}
			return
		}
		if twice, ok := credential.Normalize(k, once); !ok || twice != once {
			t.Errorf("%q: got %q, then %q, %v", typed, once, twice, ok)
		}
		if len(once) > 25 || len(once) != utf8.RuneCountInString(once) {
			t.Errorf("%q: got %q", typed, once)
		}
	})
}
