package otpauth_test

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"

	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/secret"
)

// raw is the secret of the RFCs' test vectors.
const raw = "12345678901234567890"

var base32NoPad = base32.StdEncoding.WithPadding(base32.NoPadding)

func key(issuer, account string) otpauth.Key {
	return otpauth.Key{Issuer: issuer, Account: account, Secret: secret.New(raw)}
}

// The vectors are RFC 6238 appendix B, SHA-1. The RFC prints eight digits; a code of six is the
// last six of them (RFC 4226 section 5.3).
func TestCode_MatchesRFC6238(t *testing.T) {
	for unix, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471",
		1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := otpauth.Code([]byte(raw), time.Unix(unix, 0)); got != want[2:] {
			t.Errorf("at %d: got %s, want %s", unix, got, want[2:])
		}
	}
}

// The vectors are RFC 4226 appendix D. The step is the counter.
func TestCode_MatchesRFC4226(t *testing.T) {
	for counter, want := range []string{
		"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
	} {
		at := time.Unix(0, 0).Add(time.Duration(counter) * otpauth.Period)
		if got := otpauth.Code([]byte(raw), at); got != want {
			t.Errorf("counter %d: got %s, want %s", counter, got, want)
		}
		for _, within := range []time.Duration{0, otpauth.Period - 1} {
			if got := otpauth.Step(at.Add(within)); got != int64(counter) {
				t.Errorf("got step %d at %v, want %d", got, at.Add(within), counter)
			}
		}
	}
}

// TestURI_MatchesTheGoldenURIs (O01: a blank is %20 and never +; O03: & # = are escaped; O05: the issuer stands before the account
// too, byte for byte as in the parameter; O09: the secret has no padding; O11: SHA-1, 6 digits, 30 s).
func TestURI_MatchesTheGoldenURIs(t *testing.T) {
	for _, c := range []struct{ issuer, account, label, query string }{
		{"My App", "alice@example.com", "My%20App:alice@example.com", "My%20App"},          // O01
		{"A&B=C", "a#b@example.com", "A%26B%3DC:a%23b@example.com", "A%26B%3DC"},           // O03
		{"MyCompany", "alice@gmail.example", "MyCompany:alice@gmail.example", "MyCompany"}, // O05
		{"Example", "alice@example.com", "Example:alice@example.com", "Example"},
		{"AT&T Co", "me", "AT%26T%20Co:me", "AT%26T%20Co"},
		{"A+B", "a+b@example.com", "A%2BB:a%2Bb@example.com", "A%2BB"},
		{"Café", "Jörg", "Caf%C3%A9:J%C3%B6rg", "Caf%C3%A9"},
		{"a/b", "../x", "a%2Fb:..%2Fx", "a%2Fb"},
		{"100%", "%41", "100%25:%2541", "100%25"},
		{"x#y?z", "k=v;w", "x%23y%3Fz:k%3Dv%3Bw", "x%23y%3Fz"},
		{"%3A", "%3a", "%253A:%253a", "%253A"},
	} {
		got, err := key(c.issuer, c.account).URI()
		want := "otpauth://totp/" + c.label + "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=" + c.query +
			"&algorithm=SHA1&digits=6&period=30"
		if err != nil || got.Reveal() != want {
			t.Errorf("%s, %s: got %s, %v, want %s", c.issuer, c.account, got.Reveal(), err, want)
		}
	}
}

// names are issuers and accounts that some writer or reader of key URIs handles wrongly.
var names = []string{
	"Example", "alice@example.com", "AT&T Co", "A+B", "Café", "a/b", "100%", "x#y?z", "a=b", "%20", "%3A", "a%3Ab", "a%2Fb",
	"+", "&", "?secret=AAAA", "&issuer=x", "\\", "\"", "'", "<b>", "..", ".", "/", "//", "a;b", "a,b", "@", "~", "日本語", "🔑",
	"ß", "e\u0301", "a  b", strings.Repeat("é", 64),
}

func TestURI_IsReadBackByOtherReaders(t *testing.T) {
	for _, issuer := range names {
		for _, account := range names {
			checkReaders(t, key(issuer, account))
		}
	}
}

// checkReaders checks that ParseURI, net/url and pquerna/otp read the fields of k from its URI.
func checkReaders(t *testing.T, k otpauth.Key) {
	t.Helper()
	uri, err := k.URI()
	if err != nil {
		t.Fatalf("%q, %q: %v", k.Issuer, k.Account, err)
	}
	encoded := base32NoPad.EncodeToString([]byte(k.Secret.Reveal()))
	want := fmt.Sprintf("%q %q %s", k.Issuer, k.Account, encoded)

	ours, err := otpauth.ParseURI(uri.Reveal())
	if err != nil {
		t.Errorf("ParseURI of %s: %v", uri.Reveal(), err)
	}
	read := base32NoPad.EncodeToString([]byte(ours.Secret.Reveal()))
	if got := fmt.Sprintf("%q %q %s", ours.Issuer, ours.Account, read); got != want {
		t.Errorf("ParseURI: got %s, want %s", got, want)
	}
	theirs, err := otp.NewKeyFromURL(uri.Reveal())
	if err != nil {
		t.Fatalf("pquerna/otp: %v", err)
	}
	if got := fmt.Sprintf("%q %q %s", theirs.Issuer(), theirs.AccountName(), theirs.Secret()); got != want {
		t.Errorf("pquerna/otp: got %s, want %s", got, want)
	}
	if theirs.Type() != "totp" || theirs.Digits() != 6 || theirs.Period() != 30 || theirs.Algorithm() != otp.AlgorithmSHA1 {
		t.Errorf("pquerna/otp: got %s, %d, %d, %s", theirs.Type(), theirs.Digits(), theirs.Period(), theirs.Algorithm())
	}
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		t.Fatalf("net/url: %v", err)
	}
	q := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/"+k.Issuer+":"+k.Account || u.Fragment != "" || len(q) != 5 ||
		q.Get("issuer") != k.Issuer || q.Get("secret") != encoded {
		t.Errorf("net/url: got %q and %q of %s", u.Path, q, uri.Reveal())
	}
	if strings.ContainsAny(uri.Reveal(), "+ \"<>\\") {
		t.Errorf("%s has a character that a mail or an HTML page would mangle", uri.Reveal())
	}
}

func TestURI_RefusesInvalidFields(t *testing.T) {
	for name, c := range map[string]struct{ name, want string }{
		"empty":             {"", "empty"},
		"colon":             {"a:b", "colon"},
		"colon first":       {":", "colon"},
		"newline":           {"a\nb", "control"},
		"NUL":               {"a\x00b", "control"},
		"DEL":               {"a\x7fb", "control"},
		"C1":                {"a\u0085b", "control"},
		"line separator":    {"a\u2028b", "control"},
		"right-to-left":     {"a\u202eb", "control"},
		"O17 RLM":           {"alice\u200f", "control"},
		"O17 LRM":           {"alice\u200e", "control"},
		"O17 ALM":           {"alice\u061c", "control"},
		"O18 zero width":    {"Bank\u200bX", "control"},
		"O18 word joiner":   {"alice@example.com\u2060", "control"},
		"not UTF-8":         {"a\xffb", "UTF-8"},
		"129 characters":    {strings.Repeat("é", 129), "longer than"},
		"space before":      {" a", "space"},
		"space after":       {"a ", "space"},
		"wide space before": {"\u3000a", "space"},
	} {
		for field, k := range map[string]otpauth.Key{"issuer": key(c.name, "ok"), "account": key("ok", c.name)} {
			uri, err := k.URI()
			if err == nil || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), c.want) || !uri.IsZero() {
				t.Errorf("%s as %s: got %v, want %q", name, field, err, c.want)
			}
		}
	}
	if _, err := key(strings.Repeat("a", 65), "ok").URI(); err == nil {
		t.Error("accepted an issuer of 65 characters")
	}
	if _, err := key("ok", strings.Repeat("a", 128)).URI(); err != nil {
		t.Errorf("refused an account of 128 characters: %v", err)
	}
	for _, n := range []int{0, 15, 65} {
		k := otpauth.Key{Issuer: "i", Account: "a", Secret: secret.New(strings.Repeat("s", n))}
		if _, err := k.URI(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("secret of %d bytes", n)) {
			t.Errorf("secret of %d bytes: got %v", n, err)
		}
	}
}

// TestURI_SecretsHaveNoPadding (O09, O12): an app refused one with =, others computed wrong codes of an odd length, and a secret
// under 128 bits raises a red warning.
func TestURI_SecretsHaveNoPadding(t *testing.T) {
	uri, err := key("My App", "alice").URI()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\?secret=([^&]*)&`).FindStringSubmatch(uri.Reveal())
	if found == nil || !regexp.MustCompile(`^[A-Z2-7]{32}$`).MatchString(found[1]) {
		t.Errorf("got %q, want 32 characters of base32", found)
	}
}

func TestParseURI_RefusesEveryOtherForm(t *testing.T) {
	uri, err := key("Issuer", "account").URI()
	if err != nil {
		t.Fatal(err)
	}
	good := uri.Reveal()
	for name, edit := range map[string][2]string{
		"empty":                 {good, ""},
		"hotp":                  {"totp", "hotp"},
		"upper-case scheme":     {"otpauth", "OTPAUTH"},
		"no issuer in label":    {"Issuer:account", "account"},
		"escaped colon only":    {"Issuer:", "Issuer%3A"},
		"colon in account":      {":account", ":acc:ount"},
		"escaped colon":         {":account", ":acc%3Aount"},
		"escaped colon, lower":  {"totp/Issuer", "totp/Iss%3auer"},
		"control character":     {":account", ":acc%0Aount"},
		"not UTF-8":             {":account", ":acc%FFount"},
		"bad escape":            {":account", ":acc%GGount"},
		"needless escape":       {":account", ":%61ccount"},
		"no account":            {":account", ":"},
		"two issuers":           {"issuer=Issuer", "issuer=Other"},
		"no secret":             {"secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "secret="},
		"secret not base32":     {"GEZDG", "GEZD1"},
		"secret in lower case":  {"GEZDG", "gezdg"},
		"short secret":          {"GEZDGNBVGY3TQOJQ", ""},
		"stray bits":            {"OJQ&", "OJQGB&"},
		"padded secret":         {"OJQ&", "OJQ====&"},
		"8 digits":              {"digits=6", "digits=8"},
		"60 s":                  {"period=30", "period=60"},
		"SHA256":                {"SHA1", "SHA256"},
		"another parameter":     {"period=30", "period=30&image=x"},
		"fragment":              {"period=30", "period=30#x"},
		"trailing newline":      {"period=30", "period=30\n"},
		"plus for space":        {"issuer=Issuer", "issuer=Iss+uer"},
		"another order":         {"&algorithm=SHA1&digits=6", "&digits=6&algorithm=SHA1"},
		"missing default":       {"&period=30", ""},
		"user in the authority": {"//totp", "//x@totp"},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if bad == good {
			t.Fatalf("%s: the edit changed nothing", name)
		}
		k, err := otpauth.ParseURI(bad)
		if err == nil {
			t.Errorf("%s: accepted %s", name, bad)
			continue
		}
		if k != (otpauth.Key{}) || strings.Contains(err.Error(), "GEZD") {
			t.Errorf("%s: a key or the secret beside the error %v", name, err)
		}
	}
}

func TestKey_NeverPrintsTheSecret(t *testing.T) {
	k := key("Issuer", "account")
	_, err := otpauth.Key{Issuer: "a:b", Account: "c", Secret: k.Secret}.URI()
	out := fmt.Sprint(err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		out += fmt.Sprintf(verb, k)
	}
	for _, form := range []string{raw, "GEZD", hex.EncodeToString([]byte(raw)), "49 50 51"} {
		if strings.Contains(out, form) {
			t.Errorf("printed the secret: %s", out)
		}
	}
}

// ParseURI, net/url and pquerna/otp read back every URI.
func FuzzURI(f *testing.F) {
	for _, name := range names {
		f.Add(name, "alice@example.com", []byte(raw))
		f.Add("Example", name, []byte(raw))
	}
	f.Fuzz(func(t *testing.T, issuer, account string, sec []byte) {
		k := otpauth.Key{Issuer: issuer, Account: account, Secret: secret.New(string(sec))}
		if _, err := k.URI(); err == nil {
			checkReaders(t, k)
		}
	})
}

// URI writes every URI that ParseURI accepts, byte for byte.
func FuzzParseURI(f *testing.F) {
	for _, name := range names {
		uri, err := key(name, name).URI()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uri.Reveal())
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := otpauth.ParseURI(s)
		if err != nil {
			return
		}
		if uri, err := k.URI(); err != nil || uri.Reveal() != s {
			t.Errorf("got %s, %v back, want %s", uri.Reveal(), err, s)
		}
	})
}
