package message_test

import (
	"bytes"
	"fmt"
	"image/png"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/skip2/go-qrcode"

	"example.com/securemail/internal/message"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// TestAccounts_GetInAtEveryDoorOrAtNone (O17): Send, the key URI and the mail had three lists of characters, so that
// Send said yes to a mail that the worker refused for good.
func TestAccounts_GetInAtEveryDoorOrAtNone(t *testing.T) {
	names := []string{"alice", "محمد", "דוד כהן", "日本語 🔑", "می\u200cخواهم", "ක්\u200dෂ", "a:b", " a", "a ", "\u3000a", "a\u00a0", strings.Repeat("é", 128), strings.Repeat("é", 129)}
	for _, table := range []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs, unicode.Bidi_Control, unicode.Variation_Selector} {
		ranges := slices.Clone(table.R32)
		for _, of := range table.R16 {
			ranges = append(ranges, unicode.Range32{Lo: uint32(of.Lo), Hi: uint32(of.Hi), Stride: uint32(of.Stride)})
		}
		for _, of := range ranges {
			for r := of.Lo; r <= of.Hi; r += of.Stride {
				for _, form := range []string{"al%cice", "alice%c", "%calice", "a %cb"} {
					names = append(names, fmt.Sprintf(form, rune(r)))
				}
			}
		}
	}
	raw := secret.New("12345678901234567890")
	refused, m := 0, sample(t, tasks.TOTP)
	for _, name := range names {
		atSend := tasks.Mail{Kind: tasks.TOTP, To: "alice@example.com", Account: name}.Validate()
		_, atURI := otpauth.Key{Issuer: "Example", Account: name, Secret: raw}.URI()
		m.Account = name
		_, atMail := message.Render(m)
		// A mail by itself could show a colon, or a space at an end.
		if (atSend == nil) != (atURI == nil) || atSend == nil && atMail != nil {
			t.Errorf("%+q: Send says %v, the key URI %v, the mail %v", name, atSend, atURI, atMail)
		}
		if atSend != nil {
			refused++
		}
	}
	if refused < 100 || refused > len(names)-20 {
		t.Errorf("%d of %d names were refused", refused, len(names))
	}
}

// TestProducts_OfWhichAPartIsNotSeenAreRefused (O18): entries that look the same are not found by a search. The
// worker composes a sample of each kind when it starts.
func TestProducts_OfWhichAPartIsNotSeenAreRefused(t *testing.T) {
	for product, good := range map[string]bool{"Bank\u200bX": false, "Bank\u2060": false, "\ufeffBank": false, "Bank\u200e": false, "Ba\u00adnk": false, "بنك": true,
		"می\u200cخواهم": true, "Bank 🔑": true} {
		for _, kind := range tasks.Kinds() {
			m := sample(t, kind.Kind)
			m.Product = product
			if _, err := message.Compose(m); (err == nil) != good {
				t.Errorf("%s, %+q: got %v, want accepted %v", kind.Kind, product, err, good)
			}
		}
	}
}

// TestTOTP_EveryPartCarriesOneSecret (O21): a person who taps the link twice, or scans and taps, gets entries with
// the same codes.
func TestTOTP_EveryPartCarriesOneSecret(t *testing.T) {
	m := sample(t, tasks.TOTP)
	if err := m.SetTOTP("alice@example.com", secret.New("12345678901234567890")); err != nil {
		t.Fatal(err)
	}
	m.Secret = secret.New("GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ")
	words, err := message.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	in := regexp.MustCompile(`secret=([A-Z2-7]+)&`)
	for part, text := range map[string]string{"text": words.Text, "HTML": words.HTML} {
		found := in.FindAllStringSubmatch(text, -1)
		if len(found) == 0 || slices.ContainsFunc(found, func(f []string) bool { return f[1] != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" }) {
			t.Errorf("%s: the links have %q", part, found)
		}
		if !strings.Contains(text, m.Secret.Reveal()) {
			t.Errorf("%s: the key does not stand beside the link", part)
		}
	}
	// The type says what the URI asks for (O11): apps ignore other values without a word.
	for part, text := range map[string]string{"text": words.Text, "HTML": strings.NewReplacer(`<span style="white-space:nowrap;">`, "", "</span>", "").Replace(words.HTML)} {
		if !regexp.MustCompile(`(?i)time-based \(TOTP\), SHA-1, 6 digits, 30 seconds`).MatchString(text) {
			t.Errorf("%s: the type is missing", part)
		}
	}
	if uri := m.URI.Reveal(); !strings.HasSuffix(uri, "&algorithm=SHA1&digits=6&period=30") {
		t.Errorf("got %s", uri)
	}
}

// TestTOTP_NamesNoApp (O20): a phone opens whichever app it likes, and people who were told to use another one are
// lost.
func TestTOTP_NamesNoApp(t *testing.T) {
	words, err := message.Render(sample(t, tasks.TOTP))
	if err != nil {
		t.Fatal(err)
	}
	app := regexp.MustCompile(`(?i)\b(google|microsoft|authy|aegis|freeotp|1password|bitwarden|duo|okta|apple|icloud|keepass\w*|lastpass|andotp|ente|2fas)\b`)
	shown := regexp.MustCompile(`(?s)<style.*?</style>|<[^>]*>`).ReplaceAllString(words.HTML, " ")
	for part, text := range map[string]string{"subject": words.Subject, "text": words.Text, "HTML": shown} {
		if found := app.FindString(text); found != "" {
			t.Errorf("%s: it names %s", part, found)
		}
	}
}

// TestTOTP_ALongNameCanBeScannedOffAScreen (O14): an image of a fixed width would have under 3 px a module.
func TestTOTP_ALongNameCanBeScannedOffAScreen(t *testing.T) {
	m := sample(t, tasks.TOTP)
	m.Product = strings.Repeat("語", 20)
	if err := m.SetTOTP(strings.Repeat("a", 30)+"@example.com", secret.New("12345678901234567890")); err != nil {
		t.Fatal(err)
	}
	q, err := qrcode.New(m.URI.Reveal(), qrcode.Medium)
	if err != nil {
		t.Fatal(err)
	}
	modules := len(q.Bitmap()) // the quiet zone included
	image, err := png.DecodeConfig(bytes.NewReader(m.QR))
	if err != nil {
		t.Fatal(err)
	}
	words, err := message.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`<img[^>]* width="(\d+)"`).FindStringSubmatch(words.HTML)
	if modules < 90 || image.Width < max(240, 4*modules) || shown == nil || shown[1] != fmt.Sprint(image.Width) {
		t.Errorf("%d modules in %d px, shown as %q; want 4 px a module", modules, image.Width, shown)
	}
	if key, err := otpauth.ParseURI(m.URI.Reveal()); err != nil || key.Issuer != m.Product {
		t.Errorf("got issuer %q, %v", key.Issuer, err)
	}
}
