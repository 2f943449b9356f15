package credential_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/securemail/internal/credential"
	"example.com/securemail/tasks"
)

const (
	code = "42819306"
	key  = "0123456789ABCDEFGHJKMNPQR"
	link = "https://example.com/k#m1abc.7K3QF9M2XW4TBHDPZ8RNV6C1J"
)

// reading is what ReadAnswer makes of a text: digits, a key, or nothing.
type reading struct{ name, typed, want string }

func testReadings(t *testing.T, rows []reading) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a, err := credential.ReadAnswer(r.typed)
			if got := credential.Digits(a) + credential.KeyText(a); got != r.want {
				t.Errorf("%q: got %q, want %q", r.typed, got, r.want)
			}
			if want := r.want == ""; errors.Is(err, tasks.ErrUnreadable) != want || (err != nil) != want {
				t.Errorf("%q: got the error %v", r.typed, err)
			}
		})
	}
}

func TestReadAnswer_ReadsDigitsOfEveryScriptByTheirValue(t *testing.T) {
	testReadings(t, []reading{
		{"T03 Arabic-Indic is not reversed", "١٢٣٤٥٦٧٨", "12345678"},
		{"T03 with direction marks", "\u200f١٢٣٤٥٦٧٨\u200f", "12345678"},
		{"T03 Persian", "۴۲۸۱ ۹۳۰۶", code},
		{"T06 Devanagari", "४२८१९३०६", code},
		{"T06 two scripts", "४२८१ 9306", code},
		{"T07 mathematical bold", "𝟒𝟐𝟖𝟏𝟗𝟑𝟎𝟔", code},
		{"T07 mathematical monospace", "𝟺𝟸𝟾𝟷𝟿𝟹𝟶𝟼", code},
		{"T07 superscripts are no digits", "⁴²⁸¹⁹³⁰⁶", ""},
		{"T07 circled numbers are no digits", "④②⑧①⑨③⓪⑥", ""},
		{"T07 nor beside digits", "428193⁰⁶", ""},
		{"T04 full width", "４２８１　９３０６", code},
		{"T04 a key in full width", "０１２３４　５６７８９　ＡＢＣＤＥ　ｆｇｈｊｋ－ＭＮＰＱＲ", key},
	})
}

func TestReadAnswer_ForgivesWhatKeyboardsAndCopyingAdd(t *testing.T) {
	testReadings(t, []reading{
		{"T04 prolonged sound mark", "４２８１ー９３０６", code},
		{"T04 in a key", "01234ー56789ーABCDEーFGHJKーMNPQR", key},
		{"T05 half-width prolonged sound mark", "4281ｰ9306", code},
		{"hyphens", "01234‐56789‑ABCDE–FGHJK—MNPQR", key},
		{"minus and small hyphens", "01234\u221256789\ufe63ABCDE\uff0dFGHJK\u00adMNPQR", key},
		{"spaces of every width", "01234\u00a056789\u2003ABCDE\u3000FGHJK\u202fMNPQR", key},
		{"lines and tabs", " 01234 56789\tABCDE\r\nFGHJK MNPQR \n", key},
		{"a key in odd groups", "0123 4567 89AB CDEF GHJK MNPQR", key},
		{"a key without digits", "ABCDE-FGHJK-MNPQR-STVWX-YZABC", "ABCDEFGHJKMNPQRSTVWXYZABC"},
		{"odd groups", "4 2819-30 6", code},
		{"T09 zero-width space", "4281\u200b9306", code},
		{"T09 byte order mark", "\ufeff42819306", code},
		{"T09 grapheme joiner of a preheader", "4281\u034f9306", code},
		{"T09 Hangul filler", "4281\u31649306", code},
		{"T09 braille blank", "4281\u28009306", code},
		{"T09 variation selector", "4281\ufe0f9306\U000e0100", code},
		{"T09 in a key", "\ufeff01234\u200b56789\u200eABCDE\u2060FGHJKMNPQR", key},
		{"T10 full stop", "42819306.", code},
		{"T10 ideographic full stop", "42819306。", code},
		{"T10 other full stops", "．42819306｡", code},
		{"T10 behind a key", "01234-56789-ABCDE-FGHJK-MNPQR.", key},
		{"T10 comma, colon, ellipsis", ": 42819306,…", code},
		{"quotes", "«“'`42819306`'”»", code},
		{"brackets and bold", "(**42819306**)", code},
		{"emoji", "🔐 4281 9306 ✔️", code},
		{"T20 quoted lines", "> 01234-56789-\r\n> ABCDE-FGHJK-MNPQR", key},
		{"T20 quoted twice, with a label", ">> Key:\n>> 01234-56789-\n> > ABCDE-FGHJK-MNPQR", key},
		{"T20 a quoted code", "> 4281 9306", code},
	})
}

func TestReadAnswer_ReadsLookAlikesInAnAnswerAlone(t *testing.T) {
	testReadings(t, []reading{
		{"T13 O in a code", "4281 93O6", code},
		{"T13 o in a code", "42819 3o6", code},
		{"T13 l in a code", "l2345678", "12345678"},
		{"T13 I in a code", "I2345678", "12345678"},
		{"T13 L and i of a TOTP", "L23 i56", "123156"},
		{"T13 full width", "４２８１ ９３Ｏ６", code},
		{"T13 a group of them", "OIlo 9306", "01109306"},
		{"T13 behind the host", "@example.com #4281 93O6", code},
		{"T13 a word before seven digits", "I 2345678", ""},
		{"T13 a word before six digits", "I 234567", ""},
		{"T13 a word alone", "lollol", ""},
		{"T13 glued to digits in a sentence", "Your code is 4281930 or O6", ""},
		{"T13 a letter too much", "O42819306", ""},
		{"T14 dotless i in a key", "ı023456789ABCDEFGHJKMNPQR", "1023456789ABCDEFGHJKMNPQR"},
		{"T14 dotted I in a key", "İ023456789ABCDEFGHJKMNPQR", "1023456789ABCDEFGHJKMNPQR"},
		{"T14 dotted I in lower case", "i\u0307023456789abcdefghjkmnpqr", "1023456789ABCDEFGHJKMNPQR"},
		{"T14 in a code", "ı234567İ", "12345671"},
		{"O, I and L in a key", "oIL23456789ABCDEFGHJKMNPQ", "01123456789ABCDEFGHJKMNPQ"},
		{"lower case", strings.ToLower(key), key},
		{"U is no letter of a key", "U" + key[1:], ""},
		{"long s", "\u017f" + key[1:], ""},
		{"Kelvin sign", strings.Replace(key, "K", "\u212a", 1), ""},
		{"Cyrillic A", strings.Replace(key, "A", "\u0410", 1), ""},
	})
}

func TestReadAnswer_FindsTheAnswerInAPastedText(t *testing.T) {
	testReadings(t, []reading{
		{"T12 the last line of the mail", "@example.com #42819306", code},
		{"T12 digits in the host", "@shop24.example #42819306", code},
		{"T12 digits before the host", "Order 123456\n\n@example.com #42819306", code},
		{"T12 an embedded host behind it", "@example.com #42819306 @frame12.example", code},
		{"T12 a sentence", "Your code is 42819306.", code},
		{"T12 a label", "code: 4281 9306", code},
		{"T12 a label without a space", "Code:42819306", code},
		{"T12 TOTP groups", "Code 123 456 (app)", "123456"},
		{"T12 hyphens", "PIN=123-456;", "123456"},
		{"T12 pairs", "code: 42 81 93 06", code},
		{"T12 German", "Ihr Code lautet: 4281\u00a09306", code},
		{"T12 Chinese, without spaces", "您的验证码是42819306，10分钟内有效。", code},
		{"T12 Japanese, without spaces", "認証コードは４２８１９３０６です", code},
		{"T12 Japanese, decomposed", "コードか\u309942819306", code},
		{"T12 Korean, with a particle", "코드는 42819306입니다.", code},
		{"T12 Thai", "รหัสของคุณคือ ๔๒๘๑๙๓๐๖", code},
		{"T12 Arabic", "رمزك هو \u2067٤٢٨١٩٣٠٦\u2069.", code},
		{"T12 Hindi", "आपका कोड ४२८१९३०६ है।", code},
		{"T12 Turkish, with an apostrophe", "Kodunuz 42819306’dır", code},
		{"T12 HTML source", "<b>42819306</b>", code},
		{"T12 an order number behind it", "Code 42819306 for order #12", code},
		{"a date and a time", "2026-11-25 14:05 Your code is 42819306", code},
		{"a date beside it", "42819306 2026-11-25", code},
		{"a date in words", "25.11.2026, 14:05: 4281 9306", code},
		{"a date with slashes", "11/25/2026 2:05 PM - code 4281 9306", code},
		{"a date in Japanese", "2026年11月25日14時05分 コード：42819306", code},
		{"minutes", "42819306 - 10 min", code},
		{"the same code twice", "Code 42819306\n4281 9306", code},
		{"the same code twice in a line", "42819306 4281 9306", code},
		{"a key with its label", "Key: 01234-56789-ABCDE-FGHJK-MNPQR", key},
		{"a key with its label, spaces", "Your key: 01234 56789 ABCDE FGHJK MNPQR (10 minutes)", key},
		{"a key in Russian", "Ваш ключ: 01234-56789-ABCDE-FGHJK-MNPQR.", key},
		{"T19 a link", link, link[len(link)-25:]},
		{"T19 %23 for #", strings.Replace(link, "#", "%23", 1), link[len(link)-25:]},
		{"T19 punctuation behind", "(" + link + ").", link[len(link)-25:]},
		{"T19 in a sentence", "Open " + strings.ToLower(link) + ", please", link[len(link)-25:]},
		{"T19 digits in the link", strings.Replace(link, "/k", "/123456/k?code=12345678", 1), link[len(link)-25:]},
		{"T19 rewritten by a gateway", "https://safe.example/?url=https%3A%2F%2Fexample.com%2Fk%23m1abc." + key + "&data=05.01&x=123456", key},
		{"T19 with the key below", link + "\n\n7K3QF-9M2XW-4TBHD-PZ8RN-V6C1J", link[len(link)-25:]},
	})
}

func TestReadAnswer_RefusesWhatCannotBeAnAnswer(t *testing.T) {
	testReadings(t, []reading{
		{"T16 a zero was lost", "4281930", ""},
		{"T23 letters", "abc", ""},
		{"T23 a hyphen", "-", ""},
		{"T23 three digits", "۴۲۸", ""},
		{"T23 nine digits", "1234 5678 9", ""},
		{"T23 nine digits, the first six of which are a group", "123456 - 789", ""},
		{"T23 nine digits in lines", "123456\n789", ""},
		{"empty", "", ""},
		{"white space", " \u3000\n", ""},
		{"not UTF-8", key + "\xff", ""},
		{"a control character", "\x00" + code, ""},
		{"a key too short", key[:24], ""},
		{"a key too long", key + "S", ""},
		{"an underscore in a key", "_" + key[1:], ""},
		{"a decimal point", "1234.5678", ""},
		{"a plus", "+2345678", ""},
		{"the longest", key + strings.Repeat(" ", 1024-len(key)), key},
		{"too long", key + strings.Repeat(" ", 1025-len(key)), ""},
		{"T12 two codes", "42819306 or 12345678", ""},
		{"T12 two codes in a line", "42819306 12345678", ""},
		{"T12 a code and six digits", "Code 42819306, order 123456", ""},
		{"two codes behind a #", "@example.com #42819306 #12345678", ""},
		{"two keys", "Key 01234-56789-ABCDE-FGHJK-MNPQR, key " + link, ""},
		{"digits glued to letters", "Mail m42819306 and order INV-123456", ""},
		{"digits of a host", "https://42819306.example/123456 or 123456@example.com", ""},
		{"digits of a link", "https://example.com/k?code=42819306#123456", ""},
		{"digits in brackets in a link", "https://example.com/a(12345678)", ""},
		{"digits of a longer number", "IBAN DE89 3704 0044 0532 0130 00", ""},
		{"a part of a card number", "Card 3782 822463 10005", ""},
		{"an amount", "1.234.567,00 and $123456", ""},
		{"a date alone", "2026-11-25", ""},
		{"dates alone", "from 2026-11-25 to 25-11-26, 14:05:06", ""},
		{"a sentence of five-letter words", "Never: these three words shall never", ""},
		{"a sentence of 25 letters", "I did not get it, send it again", ""},
		{"the same without punctuation", "I did not get that key again now", ""},
		{"a link without its key", "https://example.com/k#m1abc", ""},
		{"a link whose key was cut", link[:len(link)-1], ""},
	})
}

// TestReadAnswer_CanHoldACodeAndAKey: the record decides which of them counts.
func TestReadAnswer_CanHoldACodeAndAKey(t *testing.T) {
	a, err := credential.ReadAnswer("Code: 4281 9306\nKey: 01234-56789-ABCDE-FGHJK-MNPQR")
	if err != nil || credential.Digits(a) != code || credential.KeyText(a) != key {
		t.Errorf("got %q, %q, %v; want both", credential.Digits(a), credential.KeyText(a), err)
	}
}

func TestReading_DoesNotPrint(t *testing.T) {
	a, err := credential.ReadAnswer("Code: 4281 9306\nKey: 01234-56789-ABCDE-FGHJK-MNPQR")
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ A, a credential.Reading }{a, a}
	for _, v := range []any{a, &a, holder, &holder, []credential.Reading{a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			got := fmt.Sprintf(verb, v)
			for _, form := range []string{code, key, fmt.Sprintf("%x", code), fmt.Sprintf("%X", key), fmt.Sprint([]byte(code))} {
				if strings.Contains(got, form) {
					t.Errorf("%s prints the answer: %s", verb, got)
				}
			}
		}
	}
}
