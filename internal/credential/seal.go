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

// What is sealed: each use has keys of its own.
const (
	UseTOTP = "totp" // the shared secret of a TOTP, which outlives its mail
	UseMail = "mail" // what a resend needs; its Binding has no address, because that is inside
)

// Binding is what a sealed text belongs to. With anything else in one of its fields it does not open.
type Binding struct {
	Use     string // what the text is: UseTOTP or UseMail
	ID      string // of the mail
	Purpose string
	To      string // the address in its canonical form
	KeyID   string // of the ring key
}

// ErrSealed says that a sealed text was changed, or belongs to another record, or was sealed under another key.
var ErrSealed = errors.New("credential: the sealed text does not open")

// Seal encrypts text with AES-256-GCM (NIST SP 800-38D) under a key made of a ring key of 32 bytes:
//
//	key = HKDF-SHA-256(ikm = ring key, no salt, info = lp("securemail/seal/v1", use, id))
//	AAD = lp("securemail/seal/v1", use, id, purpose, to, key id)
//
// Every id has a key of its own, so the random nonces of 96 bits, which come first in what is returned, never meet often.
func Seal(key []byte, b Binding, text []byte) ([]byte, error) {
	aead, err := b.aead(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, text, b.aad()), nil
}

// Unseal is the mirror of [Seal]. Its errors hold nothing of the text.
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
