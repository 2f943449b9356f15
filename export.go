package securemail

import (
	"context"
	"encoding/base32"
	"errors"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// Export hands the secret of an active TOTP over to the application. Afterwards [Client.Verify] rejects the codes of this
// TOTP, because with two checkers one code could be accepted twice. Export can be repeated for 10 minutes, so that a lost
// reply loses no secret. Then the sealed secret is deleted here. Export needs [WithKeyRingFile].
//
// Errors: [tasks.ErrRejected] where the TOTP is not active, was exported more than 10 minutes ago, or ref is not that of its
// mail; [tasks.ErrInvalid]; [tasks.ErrKeyRing]. After any other error (Redis unavailable) call again.
func (c *Client) Export(ctx context.Context, ref tasks.Ref) (tasks.Exported, error) {
	ring, err := c.keyRing()
	if err != nil {
		return tasks.Exported{}, err
	}
	if ref, err = ref.Canonical(); err != nil {
		return tasks.Exported{}, err
	}
	a, key, err := c.authentic(ctx, ring, ref)
	if err != nil {
		return tasks.Exported{}, err
	}
	if a.Kind != tasks.TOTP || a.Purpose != ref.Purpose {
		return tasks.Exported{}, tasks.ErrRejected
	}
	if len(a.TOTP) > 0 { // before the state changes
		if _, err := unsealTOTP(key, a.TOTP, a.KeyID, ref); err != nil {
			return tasks.Exported{}, err
		}
	}
	sealed, step, ok, err := c.records.Export(ctx, ref.ID)
	if errors.Is(err, record.ErrBroken) {
		return tasks.Exported{}, errForged
	}
	if err != nil {
		return tasks.Exported{}, err
	}
	if !ok {
		return tasks.Exported{}, tasks.ErrRejected
	}
	shared, err := unsealTOTP(key, sealed, a.KeyID, ref)
	if err != nil {
		return tasks.Exported{}, err
	}
	return tasks.Exported{Secret: base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(shared), LastStep: step}, nil
}

// authentic reads the record of a mail to ref.To, and returns it with the ring key of its secret. The error can be ErrRejected
// or ErrKeyRing.
func (c *Client) authentic(ctx context.Context, ring *keyring.Ring, ref tasks.Ref) (*record.Answer, []byte, error) {
	a, err := c.records.Read(ctx, ref.ID, c.now())
	if errors.Is(err, record.ErrBroken) {
		return nil, nil, errForged
	}
	if err != nil {
		return nil, nil, err
	}
	if !isTo(ring, a, ref) {
		return nil, nil, tasks.ErrRejected
	}
	key, err := c.keyOf(a)
	if err != nil {
		return nil, nil, err
	}
	if !a.Authentic(key) {
		return nil, nil, errForged
	}
	return a, key, nil
}
