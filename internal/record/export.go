package record

import (
	"context"
	"fmt"
	"time"
)

// ExportTime is how long an Export can be repeated: the sealed secret stays for a caller whose reply was lost.
const ExportTime = 10 * time.Minute

var (
	exportScript = script("export")
	unlockScript = script("unlock")
)

// exportKey has the sealed secret of a TOTP for [ExportTime] after its export. It is in the slot of the record.
func exportKey(id string) string { return recordKey(id) + ":export" }

// Export hands an active TOTP over to the application. Its credential is exported afterwards, its sealed secret goes after
// [ExportTime], and the record ends with the retention. Until then a further call returns the same: the sealed secret and the
// last time step that was accepted. ok is false if the TOTP is not active.
//
// It ends what it began even if ctx ends.
func (s *Store) Export(ctx context.Context, id string) (sealed []byte, lastStep int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	args := named("again", ExportTime.Milliseconds(), "retention", s.retention.Milliseconds())
	var reply []string
	err = repeat(ctx, func() (err error) {
		reply, err = exportScript.Run(ctx, s.rdb, []string{recordKey(id), exportKey(id)}, args...).StringSlice()
		return err
	})
	if err = readable(err); err != nil {
		return nil, 0, false, fmt.Errorf("export the TOTP secret: %w", err)
	}
	h := hashOfPairs(reply)
	return []byte(h["totp"]), h.number("step"), len(reply) > 0, nil
}

// Unlock makes a TOTP active again that was active when wrong answers locked it. It reports whether it was locked.
func (s *Store) Unlock(ctx context.Context, id string) (bool, error) {
	unlocked, err := unlockScript.Run(ctx, s.rdb, keysOf(id), named()...).Bool()
	if err != nil {
		return false, fmt.Errorf("unlock the TOTP: %w", readable(err))
	}
	return unlocked, nil
}
