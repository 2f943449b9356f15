package credential

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	period = 30 // seconds, X of RFC 6238
	skew   = 1  // accepted time steps before and after the current one (RFC 6238 section 5.2)
)

// MatchTOTP returns the time step (T of RFC 6238 section 4.2) whose code has the digits of a:
// the current step, the one before or the one after. If the code matches several of these steps, MatchTOTP
// returns the latest. If it matches none, MatchTOTP returns false. Its duration does not depend on
// the codes. A caller must accept only a step that is later than the last step it accepted (RFC
// 6238 section 5.2).
func MatchTOTP(sharedSecret []byte, a Reading, now time.Time) (step int64, ok bool) {
	answer := a.digits.Reveal()
	found := int64(0)
	current := now.Unix() / period
	for s := current - skew; s <= current+skew; s++ {
		if subtle.ConstantTimeCompare([]byte(answer), []byte(hotp(sharedSecret, s))) == 1 {
			found = s
		}
	}
	return found, found != 0
}

// hotp is RFC 4226 section 5.3. The library that package otpauth uses would link an image library
// into every application.
func hotp(sharedSecret []byte, counter int64) string {
	mac := hmac.New(sha1.New, sharedSecret)
	binary.Write(mac, binary.BigEndian, counter)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000)
}
