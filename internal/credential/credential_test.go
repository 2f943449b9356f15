package credential_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail/internal/credential"
	"example.com/securemail/tasks"
)

var ringKey = bytes.Repeat([]byte{7}, 32)

func params(kind tasks.Kind) credential.Params {
	seed := bytes.Repeat([]byte{9}, 32)
	p := credential.Params{Kind: kind, ID: "id", Purpose: "default", To: "alice@example.com", Seed: seed}
	if kind == tasks.Code {
		p.Digits = 8
	}
	return p
}

func derive(t testing.TB, key []byte, p credential.Params) credential.Credential {
	t.Helper()
	c, err := credential.Derive(key, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors are RFC 5869 appendix A.1 to A.3.
func TestHKDF_MatchesRFC5869(t *testing.T) {
	count := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&b, "%02x", i)
		}
		return b.String()
	}
	for name, v := range map[string]struct{ ikm, salt, info, okm string }{
		"A.1": {strings.Repeat("0b", 22), count(0x00, 0x0c), count(0xf0, 0xf9),
			"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
		"A.2": {count(0x00, 0x4f), count(0x60, 0xaf), count(0xb0, 0xff),
			"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09" +
				"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
		"A.3": {strings.Repeat("0b", 22), "", "",
			"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
	} {
		want := unhex(t, v.okm)
		got, err := hkdf.Key(sha256.New, unhex(t, v.ikm), unhex(t, v.salt), string(unhex(t, v.info)), len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, want)
		}
	}
}

// The vectors are those of docs/derivation.md. deploy/examples/derivation.py computes them without this package.
func TestDerive_MatchesTheVectors(t *testing.T) {
	data, err := os.ReadFile("../../docs/derivation.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Secret []struct {
			Seed, ID, Purpose, To, Session, Secret string
			RingKey                                string `json:"ring_key"`
			Kind                                   tasks.Kind
			Digits                                 int
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Secret) < 11 {
		t.Fatalf("got %d vectors, want 11", len(vectors.Secret))
	}
	for _, v := range vectors.Secret {
		p := credential.Params{Kind: v.Kind, ID: v.ID, Purpose: v.Purpose, To: v.To, Seed: unhex(t, v.Seed), Digits: v.Digits}
		if v.Session != "" {
			p.Session = tasks.SessionHash(v.Session)
		}
		c := derive(t, unhex(t, v.RingKey), p)
		if got := strings.NewReplacer(" ", "", "-", "").Replace(c.Display().Reveal()); got != v.Secret {
			t.Errorf("%s %s: got %q, want %q", v.Kind, v.ID, got, v.Secret)
		}
		raw, err := base32.StdEncoding.DecodeString(v.Secret)
		if v.Kind != tasks.TOTP {
			raw, err = nil, nil
		}
		if v.Kind == tasks.TOTP && len(raw) != 20 { // O09, O12: no padding, and no warning of an authenticator
			t.Errorf("%s: the secret of a TOTP has %d bytes, want 20", v.ID, len(raw))
		}
		if got := c.SharedSecret().Reveal(); err != nil || got != string(raw) {
			t.Errorf("%s %s: got shared secret %x, want %x", v.Kind, v.ID, got, raw)
		}
	}
}

func TestDerive_DependsOnEveryPart(t *testing.T) {
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		seen := map[string]string{}
		for name, change := range map[string]func(key []byte, p *credential.Params){
			"nothing":          func([]byte, *credential.Params) {},
			"id":               func(_ []byte, p *credential.Params) { p.ID = "ie" },
			"purpose":          func(_ []byte, p *credential.Params) { p.Purpose = "defaulu" },
			"to":               func(_ []byte, p *credential.Params) { p.To = "alicf@example.com" },
			"case of to":       func(_ []byte, p *credential.Params) { p.To = "Alice@example.com" },
			"seed":             func(_ []byte, p *credential.Params) { p.Seed = append(bytes.Repeat([]byte{9}, 31), 8) },
			"key":              func(key []byte, _ *credential.Params) { key[31] ^= 1 },
			"session":          func(_ []byte, p *credential.Params) { p.Session = make([]byte, 32) },
			"another session":  func(_ []byte, p *credential.Params) { p.Session = bytes.Repeat([]byte{1}, 32) },
			"id into purpose":  func(_ []byte, p *credential.Params) { p.ID, p.Purpose = "i", "ddefault" },
			"purpose into to":  func(_ []byte, p *credential.Params) { p.Purpose, p.To = "defaul", "talice@example.com" },
			"id and purpose ↔": func(_ []byte, p *credential.Params) { p.ID, p.Purpose = p.Purpose, p.ID },
		} {
			key, p := bytes.Clone(ringKey), params(kind)
			change(key, &p)
			got := derive(t, key, p).Display().Reveal()
			if other, dup := seen[got]; dup {
				t.Errorf("%s: the same secret for %q and %q", kind, name, other)
			}
			seen[got] = name
		}
	}
	// A code of six digits is no part of the one of eight.
	six := params(tasks.Code)
	six.Digits = 6
	short := strings.ReplaceAll(derive(t, ringKey, six).Display().Reveal(), " ", "")
	if long := strings.ReplaceAll(derive(t, ringKey, params(tasks.Code)).Display().Reveal(), " ", ""); strings.HasPrefix(long, short) {
		t.Error("the code of six digits is the beginning of the code of eight")
	}
	// Each kind has its own secret: a code reveals nothing of a key's first bytes.
	key := derive(t, ringKey, params(tasks.Key)).Display().Reveal()
	asTOTP := []byte(derive(t, ringKey, params(tasks.TOTP)).SharedSecret().Reveal())
	for i := range asTOTP {
		asTOTP[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[asTOTP[i]&31]
	}
	if strings.HasPrefix(strings.ReplaceAll(key, "-", ""), string(asTOTP)) {
		t.Error("key and TOTP come from the same bytes")
	}
}

func TestDerive_RefusesInvalidArguments(t *testing.T) {
	for name, c := range map[string]struct {
		change func(key *[]byte, p *credential.Params)
		want   string
	}{
		"short key":    {func(key *[]byte, _ *credential.Params) { *key = make([]byte, 31) }, "ring key has 31 bytes"},
		"no key":       {func(key *[]byte, _ *credential.Params) { *key = nil }, "ring key has 0 bytes"},
		"short seed":   {func(_ *[]byte, p *credential.Params) { p.Seed = p.Seed[:31] }, "seed has 31 bytes"},
		"long seed":    {func(_ *[]byte, p *credential.Params) { p.Seed = make([]byte, 33) }, "seed has 33 bytes"},
		"no seed":      {func(_ *[]byte, p *credential.Params) { p.Seed = nil }, "seed has 0 bytes"},
		"no id":        {func(_ *[]byte, p *credential.Params) { p.ID = "" }, "must not be empty"},
		"no purpose":   {func(_ *[]byte, p *credential.Params) { p.Purpose = "" }, "must not be empty"},
		"no address":   {func(_ *[]byte, p *credential.Params) { p.To = "" }, "must not be empty"},
		"no kind":      {func(_ *[]byte, p *credential.Params) { p.Kind = "" }, "unknown kind"},
		"unknown kind": {func(_ *[]byte, p *credential.Params) { p.Kind = "Key" }, "unknown kind"},
		"7 digits":     {func(_ *[]byte, p *credential.Params) { p.Kind, p.Digits = tasks.Code, 7 }, "a code has 6 or 8"},
		"no digits":    {func(_ *[]byte, p *credential.Params) { p.Kind, p.Digits = tasks.Code, 0 }, "a code has 6 or 8"},
		"digits":       {func(_ *[]byte, p *credential.Params) { p.Digits = 8 }, "a code has 6 or 8"},
		"session":      {func(_ *[]byte, p *credential.Params) { p.Session = make([]byte, 31) }, "session's hash has 31 bytes"},
		"-1 digits":    {func(_ *[]byte, p *credential.Params) { p.Kind, p.Digits = tasks.Code, -1 }, "a code has 6 or 8"},
	} {
		key, p := bytes.Clone(ringKey), params(tasks.Key)
		c.change(&key, &p)
		if _, err := credential.Derive(key, p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// This is a chi-square test against equal shares, with the limit at p = 0.001. The inputs are
// fixed, so the result never varies.
func TestDerive_ChoosesSymbolsUniformly(t *testing.T) {
	for _, c := range []struct {
		kind    tasks.Kind
		symbols string
		limit   float64 // for len(symbols)-1 degrees of freedom
	}{
		{tasks.Code, "0123456789", 27.88},
		{tasks.Key, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 61.10},
	} {
		count := map[rune]int{}
		n := 0
		for i := 0; n < 100_000; i++ {
			p := params(c.kind)
			p.ID = fmt.Sprint(i)
			for _, r := range derive(t, ringKey, p).Display().Reveal() {
				if r != '-' && r != ' ' {
					count[r]++
					n++
				}
			}
		}
		want, chi2 := float64(n)/float64(len(c.symbols)), 0.0
		for _, r := range c.symbols {
			d := float64(count[r]) - want
			chi2 += d * d / want
		}
		if chi2 > c.limit || len(count) != len(c.symbols) {
			t.Errorf("%s: got chi-square %.1f over %d symbols, want at most %.1f over %d",
				c.kind, chi2, len(count), c.limit, len(c.symbols))
		}
	}
}

func TestCredential_NeverPrints(t *testing.T) {
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		c := derive(t, ringKey, params(kind))
		shown := c.Display().Reveal()
		raw := c.SharedSecret().Reveal()
		if raw == "" {
			raw = strings.NewReplacer("-", "", " ", "").Replace(shown)
		}
		holder := struct {
			Public credential.Credential
			hidden credential.Credential
		}{c, c}
		core, logs := observer.New(zapcore.DebugLevel)
		var out []string
		for _, v := range []any{c, &c, holder, &holder, []credential.Credential{c}, c.Display()} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				out = append(out, fmt.Sprintf(verb, v))
			}
			enc, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			zap.New(core).Info("m", zap.Any("v", v), zap.Reflect("r", v))
			out = append(out, string(enc))
		}
		enc := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
		for _, l := range logs.All() {
			line, err := enc.EncodeEntry(l.Entry, l.Context)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, line.String())
		}
		for _, o := range out {
			for _, form := range []string{shown, raw, hex.EncodeToString([]byte(raw)), fmt.Sprint([]byte(raw))} {
				if strings.Contains(strings.ToLower(o), strings.ToLower(form)) {
					t.Errorf("%s: printed the secret: %s", kind, o)
				}
			}
		}
	}
}

func BenchmarkDerive(b *testing.B) {
	p := params(tasks.Key)
	b.ReportAllocs()
	for b.Loop() {
		derive(b, ringKey, p)
	}
}
