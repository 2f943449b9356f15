package credential_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"example.com/securemail/internal/credential"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestUnseal_ReturnsWhatSealEncrypted(t *testing.T) {
	key := randomBytes(32)
	b := credential.Binding{Use: "totp", ID: "id1", Purpose: "sign-in", To: "alice@example.com", KeyID: "k1"}
	for _, size := range []int{0, 1, 20, 16 << 10} {
		text := randomBytes(size)
		sealed, err := credential.Seal(key, b, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := credential.Unseal(key, b, sealed); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: got %x, %v", size, got, err)
		}
		if again, _ := credential.Seal(key, b, text); bytes.Equal(again, sealed) {
			t.Errorf("%d bytes: sealing twice gave the same text", size)
		}
	}
	if _, err := credential.Seal(key[1:], b, nil); err == nil {
		t.Error("a key of 31 bytes was accepted")
	}
}

// The test flips bits, and tries every other binding and another key.
func TestUnseal_RefusesAnyOtherBinding(t *testing.T) {
	key, text := randomBytes(32), randomBytes(20)
	b := credential.Binding{Use: "totp", ID: "id1", Purpose: "sign-in", To: "alice@example.com", KeyID: "k1"}
	sealed, err := credential.Seal(key, b, text)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, key []byte, b credential.Binding, sealed []byte) {
		t.Helper()
		if got, err := credential.Unseal(key, b, sealed); !errors.Is(err, credential.ErrSealed) || got != nil {
			t.Errorf("%s: got %x, %v; want ErrSealed", name, got, err)
		}
	}
	for range 10_000 {
		flipped := bytes.Clone(sealed)
		flipped[mrand.IntN(len(flipped))] ^= 1 << mrand.IntN(8)
		refused("a flipped bit", key, b, flipped)
	}
	for bit := range 8 * len(sealed) {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("a flipped bit", key, b, flipped)
	}
	for n := range sealed {
		refused("cut off", key, b, sealed[:n])
	}
	refused("a byte more", key, b, append(bytes.Clone(sealed), 0))
	refused("another key", randomBytes(32), b, sealed)
	for name, change := range map[string]func(*credential.Binding){
		"another use":     func(b *credential.Binding) { b.Use = "mail" },
		"another id":      func(b *credential.Binding) { b.ID = "id2" },
		"another purpose": func(b *credential.Binding) { b.Purpose = "recovery" },
		"another address": func(b *credential.Binding) { b.To = "bob@example.com" },
		"another key id":  func(b *credential.Binding) { b.KeyID = "k2" },
		"a shifted part":  func(b *credential.Binding) { b.ID, b.Purpose = "id1s", "ign-in" },
	} {
		other := b
		change(&other)
		refused(name, key, other, sealed)
	}
}

// A sealed text in Redis outlives a deployment.
func TestUnseal_OpensATextOfAnEarlierVersion(t *testing.T) {
	sealed, err := hex.DecodeString("d7d3dde9a61d23ae711dca844da58e03983f29ccdaad79860ebfa4289f9df377e7b6bdbe55a31b9e1714a198b42f3aaf")
	if err != nil {
		t.Fatal(err)
	}
	b := credential.Binding{Use: credential.UseTOTP, ID: "0123456789abcdefghjkmnpqrs", Purpose: "sign-in", To: "alice@example.com", KeyID: "k1"}
	got, err := credential.Unseal(bytes.Repeat([]byte{1}, 32), b, sealed)
	if err != nil || string(got) != "12345678901234567890" {
		t.Errorf("got %q, %v", got, err)
	}
}
