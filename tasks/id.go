package tasks

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"

	"example.com/securemail/internal/lp"
)

// The labels below keep one hash from standing for another. docs/derivation.md has the formats, with vectors.

const (
	idSize          = 16 // bytes
	fingerprintSize = 16
)

// idEncoding is Crockford's Base 32 in lower case.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// randomID returns 128 random bits: without the id, nobody can verify or exhaust a secret.
func randomID() string {
	id := make([]byte, idSize)
	rand.Read(id) // never fails (crypto/rand)
	return idEncoding.EncodeToString(id)
}

// keyedID returns the id of the mail that an idempotency key names. Without a secret, whoever guesses the key can compute it.
func keyedID(secret []byte, key string) string {
	return idEncoding.EncodeToString(keyed(secret, "securemail/id/v2", key)[:idSize])
}

// fingerprint tells mails with one idempotency key apart. It covers all that m asks for, defaults filled in, but not where
// the request came from: that differs when a request is repeated. It is keyed with the idempotency key, so that nobody can
// find an address by trying.
func (m Mail) fingerprint(secret, session []byte) []byte {
	parts := []string{"securemail/fingerprint/v1", m.IdempotencyKey, string(m.Kind), m.To, m.Purpose, strconv.Itoa(m.Digits), string(session), m.Account,
		m.Locale, strconv.FormatInt(int64(m.ExpiresIn.Seconds()), 10), m.Brand, m.Link, m.ClientRef}
	for _, name := range slices.Sorted(maps.Keys(m.Vars)) {
		parts = append(parts, name, m.Vars[name])
	}
	return keyed(secret, parts...)[:fingerprintSize]
}

// keyed is HMAC-SHA-256 (RFC 2104) of the parts, each with its length before it. An empty secret makes it a plain hash.
func keyed(secret []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(lp.Join(parts...))
	return h.Sum(nil)
}

// SessionHash returns what tasks and secrets hold of a session: 32 bytes.
func SessionHash(session string) []byte {
	sum := sha256.Sum256(lp.Join("securemail/session/v1", session))
	return sum[:]
}

// referenceLetters has no vowels, so that three letters spell no word, and none that looks like another.
const referenceLetters = "BCDFGHJKMNPQRSTVWXZ"

// Reference returns three letters that name the mail with this id to people, and stay the same on every resend. [Receipt] and
// [Status] have them; the mail does not show them yet. They are no secret, and other mails can have the same ones.
func Reference(id string) string {
	sum := sha256.Sum256(lp.Join("securemail/reference/v1", id))
	n := binary.BigEndian.Uint64(sum[:8])
	var letters [3]byte
	for i := range letters {
		letters[i] = referenceLetters[n%uint64(len(referenceLetters))]
		n /= uint64(len(referenceLetters))
	}
	return string(letters[:])
}
