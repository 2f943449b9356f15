package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"example.com/securemail/internal/lp"
)

const sealLabel = "securemail/seal/v1"

// The uses of a sealed text. Each use has its own keys.
const (
	UseTOTP = "totp" // the shared secret of a TOTP, which outlives its mail
	UseMail = "mail" // the data that a resend needs; it has the address, so To is empty
)

// Binding says what a sealed text belongs to. [Unseal] fails if any field differs from that given
// to [Seal].
type Binding struct {
	Use     string // what the text is: UseTOTP or UseMail
	ID      string // of the mail
	Purpose string
	To      string // the address in its canonical form
	KeyID   string // of the ring key
}

// ErrSealed is returned by [Unseal] for a sealed text that was changed, has another [Binding], or
// was sealed under another key.
var ErrSealed = errors.New("credential: the sealed text cannot be decrypted")

// Seal encrypts text with AES-256-GCM (NIST SP 800-38D) under a key derived from key, a ring key of
// 32 bytes:
//
//	key = HKDF-SHA-256(ikm = ring key, no salt, info = lp("securemail/seal/v1", use, id))
//	AAD = lp("securemail/seal/v1", use, id, purpose, to, key id)
//
// The result begins with a random nonce of 96 bits. Every id has its own key, so a nonce
// practically never repeats under a key. The only error is a key of another length.
func Seal(key []byte, b Binding, text []byte) ([]byte, error) {
	aead, err := b.aead(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, text, b.aad()), nil
}

// Unseal decrypts what [Seal] returned for the same key and Binding. The error is [ErrSealed], or
// says that key has another length than 32 bytes; it holds nothing of the text.
func Unseal(key []byte, b Binding, sealed []byte) ([]byte, error) {
	aead, err := b.aead(key)
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nil, sealed, b.aad())
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}

func (b Binding) aead(key []byte) (cipher.AEAD, error) {
	if len(key) != keyLen {
		return nil, fmt.Errorf("credential: the ring key has %d bytes, want %d", len(key), keyLen)
	}
	own, err := hkdf.Key(sha256.New, key, nil, string(lp.Join(sealLabel, b.Use, b.ID)), keyLen)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (b Binding) aad() []byte {
	return lp.Join(sealLabel, b.Use, b.ID, b.Purpose, b.To, b.KeyID)
}
