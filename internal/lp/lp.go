// Package lp joins texts for hashing. Each part is preceded by its length, so that no two lists of parts give the
// same bytes.
package lp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Join returns every part with its length before it, as 4 bytes, big-endian.
func Join(parts ...string) []byte {
	size := 0
	for _, p := range parts {
		size += 4 + len(p)
	}
	b := make([]byte, 0, size)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// Hash returns a keyed hash of the parts: the first 128 bits of HMAC-SHA-256 (RFC 2104), in hex.
func Hash(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	h.Write(Join(parts...))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
