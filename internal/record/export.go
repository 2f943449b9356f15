package record

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
)

var exportScript = script("export")

// Export hands an active TOTP over to the application, once: its credential is exported afterwards, its sealed secret is
// gone, and the record ends with the retention. It returns the last time step that was accepted, or false if the TOTP is
// not active.
func (s *Store) Export(ctx context.Context, id string) (lastStep int64, ok bool, err error) {
	args := named("token", rand.Text(), "retention", s.retention.Milliseconds())
	var text string
	err = repeat(ctx, func() (err error) {
		text, err = exportScript.Run(ctx, s.rdb, keysOf(id), args...).Text()
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("export the TOTP secret: %w", err)
	}
	number, ok := strings.CutPrefix(text, "exported:")
	lastStep, _ = strconv.ParseInt(number, 10, 64) // the script made the number
	return lastStep, ok, nil
}
