package secret_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail/internal/secret"
)

const canary = "canary-7f3a"

type holder struct {
	Name   string
	Public secret.String
	hidden secret.String
}

func TestString_NeverPrints(t *testing.T) {
	s := secret.New(canary)
	h := holder{"h", s, s}
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{s, &s, h, &h, []secret.String{s}, map[string]holder{"k": h}} {
			out = append(out, fmt.Sprintf(verb, v))
		}
	}
	enc, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "s", s, "h", h)
	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Info("m", zap.Any("s", s), zap.Any("h", h), zap.Stringer("t", s))
	out = append(out, string(enc), text.String(), fmt.Sprint(logs.All()[0].ContextMap()))
	for _, o := range out {
		if strings.Contains(o, canary) || strings.Contains(o, fmt.Sprintf("%x", canary)) {
			t.Errorf("printed the secret: %s", o)
		}
	}
	if s.Reveal() != canary || !secret.New("").IsZero() || secret.New("").Reveal() != "" {
		t.Error("Reveal or IsZero is wrong")
	}
}
