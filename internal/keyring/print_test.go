package keyring_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail/internal/keyring"
)

// T2 of the threat model: no key is in any output.
func TestKeyRing_NeverPrintsAKey(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	r := load(t, path)
	f, err := keyring.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Public *keyring.Ring
		hidden *keyring.Ring
		value  keyring.Ring
		list   []keyring.KeyInfo
	}
	h := holder{r, r, *r, r.List()}
	core, logs := observer.New(zapcore.DebugLevel)
	log := zap.New(core)
	var out []string
	for _, v := range []any{r, *r, f, h, &h, []any{r, f}, map[string]any{"r": r, "f": f}, r.List()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		enc, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(enc))
		log.Info("m", zap.Any("v", v), zap.Reflect("r", v))
	}
	enc := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, l := range logs.All() {
		line, err := enc.EncodeEntry(l.Entry, l.Context)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line.String())
	}
	for _, c := range []byte{'A', 'R'} {
		raw := strings.Repeat(string(c), 8)
		decimal := strings.TrimSuffix(strings.Repeat(fmt.Sprint(c)+" ", 8), " ")
		for _, form := range []string{raw, b64(c)[:12], hex.EncodeToString([]byte(raw)), decimal, strings.ReplaceAll(decimal, " ", ",")} {
			for _, o := range out {
				if strings.Contains(strings.ToLower(o), strings.ToLower(form)) {
					t.Errorf("printed a key: %s", o)
				}
			}
		}
	}
}
