package credential_test

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"example.com/securemail/internal/credential"
)

// zeros are the characters with the decimal value 0, of UnicodeData.txt 14.0 (field 6, as Python's unicodedata gives
// it). The nine characters behind each have the values 1 to 9.
const zeros = "0٠۰߀०০੦૦୦௦౦೦൦෦๐໐༠၀႐០᠐᥆᧐᪀᪐᭐᮰᱀᱐꘠꣐꤀꧐꧰꩐꯰０𐒠𐴰𑁦𑃰𑄶𑇐𑋰𑑐𑓐𑙐𑛀𑜰𑣠𑥐𑱐𑵐𑶠𖩠𖫀𖭐𝟎𝟘𝟢𝟬𝟶𞅀𞋰𞥐🯰"

func TestReadAnswer_ReadsEveryDecimalDigit(t *testing.T) {
	seen := map[rune]bool{}
	for _, zero := range zeros {
		for value := range rune(10) {
			seen[zero+value] = true
			typed, want := strings.Repeat(string(zero+value), 6), strings.Repeat(string('0'+value), 6)
			if got := credential.Digits(read(typed)); got != want {
				t.Errorf("%U: got %q, want %q", zero+value, got, want)
			}
		}
	}
	// Go may know a newer Unicode. A digit's value is then the number of digits right before it, in tens.
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsDigit(r) {
			if !unicode.IsNumber(r) && r >= 0x3000 && r%61 != 0 { // a sample of the letters of the world
				continue
			}
			if n := credential.Digits(read("12345" + string(r))); n != "" && !strings.ContainsRune("oOlLiIıİＯｏＬｌＩｉ", r) {
				t.Errorf("%U is no decimal digit, and was read as one: %q", r, n)
			}
			continue
		}
		before := 0
		for unicode.IsDigit(r - rune(before) - 1) {
			before++
		}
		want := "12345" + string(rune('0'+before%10))
		if got := credential.Digits(read("12345" + string(r))); got != want {
			t.Errorf("%U: got %q, want %q", r, got, want)
		}
	}
	if len(seen) != 660 {
		t.Errorf("%d digits were tried, want 660", len(seen))
	}
}

var canonical = regexp.MustCompile(`^(\d{6}|\d{8})?,([0-9A-HJKMNP-TV-Z]{25})?$`)

// What ReadAnswer returns is canonical, and reads as itself; beside an error it returns nothing.
func FuzzReadAnswer_IsCanonical(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, typed string) {
		a, err := credential.ReadAnswer(typed)
		digits, key := credential.Digits(a), credential.KeyText(a)
		if !canonical.MatchString(digits+","+key) || (err == nil) != (digits+key != "") {
			t.Fatalf("%q: got %q and %q, %v", typed, digits, key, err)
		}
		if credential.Digits(read(digits)) != digits || credential.KeyText(read(key)) != key {
			t.Errorf("%q: got %q and %q, which read otherwise", typed, digits, key)
		}
	})
}

// Characters that show nothing change nothing, wherever they are.
func FuzzReadAnswer_IgnoresTheInvisible(f *testing.F) {
	seed(f)
	invisible := []string{"\u00ad", "\u034f", "\u061c", "\u115f", "\u17b4", "\u180b", "\u200b", "\u200e", "\u2060", "\u2067", "\u3164", "\ufe0f", "\ufeff", "\U000e0020", "\U000e0100"}
	f.Fuzz(func(t *testing.T, typed string) {
		if len(typed) > 120 || strings.ToValidUTF8(typed, "") != typed {
			t.Skip() // the invisible would make it too long
		}
		var noisy strings.Builder
		for i, r := range []rune(typed) {
			noisy.WriteString(invisible[i%len(invisible)])
			noisy.WriteRune(r)
		}
		got, want := read(noisy.String()+"\u200d"), read(typed)
		if credential.Digits(got) != credential.Digits(want) || credential.KeyText(got) != credential.KeyText(want) {
			t.Errorf("%q reads otherwise than %q", noisy.String(), typed)
		}
	})
}

// Text around an answer never makes another one of it: it is read, or nothing is.
func FuzzReadAnswer_NeverReadsAnotherCode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, around string) {
		if strings.ContainsFunc(around, unicode.IsNumber) || strings.ContainsAny(around, "#oOlLiIıİＯｏＬｌＩｉ") {
			t.Skip()
		}
		for _, typed := range []string{around + code, code + around, around + "4281 9306" + around} {
			if got := credential.Digits(read(typed)); got != "" && got != code {
				t.Errorf("%q: got %q", typed, got)
			}
		}
	})
}

func seed(f *testing.F) {
	for _, typed := range []string{code, "01234-56789-abcde-fghjk-mnpqr", "１２３ ４５６", "Your code is 4281 9306.", "> 4281\r\n> 9306", link,
		"@shop24.example #42819306", "2026-11-25 14:05", "\xff\xfe", "| ", "a:,b;", "-\n", "認証コード", "%23.", "İ\u0307ı"} {
		f.Add(typed)
	}
}

// TestReadAnswer_TakesLinearTime: a form is open to everybody.
func TestReadAnswer_TakesLinearTime(t *testing.T) {
	for _, part := range []string{"1", "1 ", "1-", "123456 ", "12345678|", "#", " #", "a.", "-\n", ">", "\n", ":", "1:", "%23", "ABCDE ", "\u200b"} {
		typed := strings.Repeat(part, 1024/len(part))
		fastest := time.Hour // the machine may be busy
		for range 20 {
			begun := time.Now()
			read(typed)
			fastest = min(fastest, time.Since(begun))
		}
		if fastest > 20*time.Millisecond {
			t.Errorf("1,024 bytes of %q took %v", part, fastest)
		}
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		read("Your code is 4281 9306.")
	}
}
