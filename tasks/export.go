package tasks

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/record"
)

// Exported is what an application needs to check the codes of a TOTP by itself.
type Exported struct {
	// Secret is the shared secret in base32 (RFC 4648 section 6) without padding, for SHA-1, 6 digits and 30 seconds.
	Secret string
	// LastStep is the time step of the last code that was accepted here (T of RFC 6238 section 4.2). Accept only codes of
	// later steps.
	LastStep int64
}

// String leaves out the secret.
func (e Exported) String() string { return "exported TOTP secret" }

// GoString is String, so that %#v shows no more.
func (e Exported) GoString() string { return e.String() }

// Export hands the secret of an active TOTP over to the application, once. After it [Client.Verify] rejects its codes:
// two places that check would let a code pass twice. purpose and to are those of the [Mail]. The errors are those of
// [Client.Verify] but for [*WrongError]; rejected is also a TOTP that is not active. Like Verify it needs
// [WithKeyRingFile].
func (c *Client) Export(ctx context.Context, id, purpose, to string) (Exported, error) {
	if c.ring == nil {
		return Exported{}, errNoRing
	}
	a, err := Answer{ID: id, Purpose: purpose, To: to}.canonical()
	if err != nil {
		return Exported{}, err
	}
	check, err := c.records.Look(ctx, a.ID)
	if err != nil {
		return Exported{}, err
	}
	ring, _ := c.ring.Ring() // as in Verify
	if !isOf(ring, check, a) || Kind(check.Kind) != TOTP {
		return Exported{}, errRejected
	}
	key, err := c.keyOf(check)
	if err != nil {
		return Exported{}, err
	}
	shared, err := unsealTOTP(key, check, a)
	if err != nil {
		return Exported{}, err
	}
	step, ok, err := c.records.Export(ctx, a.ID)
	if err != nil {
		return Exported{}, err
	}
	if !ok {
		return Exported{}, errRejected
	}
	return Exported{base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(shared), step}, nil
}

// unsealTOTP opens the shared secret that the record keeps.
func unsealTOTP(key []byte, check *record.Check, a Answer) ([]byte, error) {
	shared, err := credential.Unseal(key, credential.Binding{Use: credential.UseTOTP, ID: a.ID, Purpose: a.Purpose, To: a.To, KeyID: check.KeyID}, check.TOTP)
	if errors.Is(err, credential.ErrSealed) {
		return nil, fmt.Errorf("the TOTP secret in Redis was changed, or is another record's: %w", err)
	}
	return shared, err
}
