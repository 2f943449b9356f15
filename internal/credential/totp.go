package credential

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"

	"example.com/securemail/tasks"
)

const (
	period = 30 // seconds, X of RFC 6238
	skew   = 1  // time steps to either side that a code may be of (RFC 6238 section 5.2)
)

// MatchTOTP tells which time step (T of RFC 6238 section 4.2) the typed code is of: that of now, the one before or the
// one after. Where it is of several, that is the latest. The time it takes tells nothing of the codes. A caller must
// take a step only if it is above the last one that it took (section 5.2).
func MatchTOTP(sharedSecret []byte, typed string, now time.Time) (step int64, ok bool) {
	answer, ok := Normalize(tasks.TOTP, typed)
	if !ok {
		return 0, false
	}
	found := int64(0)
	current := now.Unix() / period
	for s := current - skew; s <= current+skew; s++ {
		if subtle.ConstantTimeCompare([]byte(answer), []byte(hotp(sharedSecret, s))) == 1 {
			found = s
		}
	}
	return found, found != 0
}

// hotp is RFC 4226 section 5.3. It is here because the library that package otpauth uses would bring an image library
// into every application.
func hotp(sharedSecret []byte, counter int64) string {
	mac := hmac.New(sha1.New, sharedSecret)
	binary.Write(mac, binary.BigEndian, counter)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000)
}
