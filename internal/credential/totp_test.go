package credential_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/securemail/internal/credential"
)

// The vectors are RFC 6238 appendix B, SHA-1. The RFC prints eight digits; a code of six is the
// last six of them.
func TestMatchTOTP_MatchesRFC6238(t *testing.T) {
	secret := []byte("12345678901234567890")
	for _, v := range []struct {
		unix int64
		code string
	}{{59, "94287082"}, {1111111109, "07081804"}, {1111111111, "14050471"}, {1234567890, "89005924"}, {2000000000, "69279037"}, {20000000000, "65353130"}} {
		code := v.code[2:]
		for shift, want := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
			now := time.Unix(v.unix+30*shift, 0)
			if now.Unix() < 0 {
				continue
			}
			step, ok := credential.MatchTOTP(secret, read(code), now)
			if ok != want || ok && step != v.unix/30 {
				t.Errorf("%s at %d steps from its own: got %d, %v; want %d, %v", code, shift, step, ok, v.unix/30, want)
			}
		}
		if _, ok := credential.MatchTOTP(secret, read(fmt.Sprintf(" %s-%s\n", code[:3], code[3:])), time.Unix(v.unix, 0)); !ok {
			t.Errorf("%s in groups was not accepted", code)
		}
	}
	for _, typed := range []string{"", "00000", "0000000", "abcdef", "94287082"} {
		if _, ok := credential.MatchTOTP(secret, read(typed), time.Unix(59, 0)); ok {
			t.Errorf("%q was accepted", typed)
		}
	}
}
