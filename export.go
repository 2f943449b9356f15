package securemail

import (
	"context"
	"encoding/base32"

	"example.com/securemail/tasks"
)

// Export hands the secret of an active TOTP over to the application, once. Afterwards [Client.Verify] rejects the codes of
// this TOTP, because with two checkers one code could be accepted twice. Export needs [WithKeyRingFile].
//
// Errors: [tasks.ErrRejected] where the TOTP is not active, or ref is not that of its mail; [tasks.ErrInvalid];
// [tasks.ErrKeyRing]. After any other error (Redis unavailable) the TOTP may be exported already, and its secret lost:
// where calling again returns [tasks.ErrRejected], send a new TOTP.
func (c *Client) Export(ctx context.Context, ref tasks.Ref) (tasks.Exported, error) {
	ring, err := c.keyRing()
	if err != nil {
		return tasks.Exported{}, err
	}
	if ref, err = ref.Canonical(); err != nil {
		return tasks.Exported{}, err
	}
	a, err := c.records.Read(ctx, ref.ID, c.now())
	if err != nil {
		return tasks.Exported{}, err
	}
	if !isOf(ring, a, ref) || a.Kind != tasks.TOTP {
		return tasks.Exported{}, tasks.ErrRejected
	}
	key, err := c.keyOf(a)
	if err != nil {
		return tasks.Exported{}, err
	}
	shared, err := unsealTOTP(key, a, ref)
	if err != nil {
		return tasks.Exported{}, err
	}
	step, ok, err := c.records.Export(ctx, ref.ID)
	if err != nil {
		return tasks.Exported{}, err
	}
	if !ok {
		return tasks.Exported{}, tasks.ErrRejected
	}
	return tasks.Exported{Secret: base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(shared), LastStep: step}, nil
}
