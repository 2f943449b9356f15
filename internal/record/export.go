package record

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/export.lua
	exportSource string
	exportScript = redis.NewScript(exportSource)
)

// Look reads what StartCheck reads, and charges nothing.
func (s *Store) Look(ctx context.Context, id string) (*Check, error) {
	c := &Check{ID: id}
	return c, c.scan(s.rdb.HMGet(ctx, key(id), checkFields...), time.Now().UnixMilli())
}

// Export gives an active TOTP out of our hands, once: it is used afterwards, its sealed secret is gone, and the record
// ends with the retention. It returns the last time step that was accepted, or false if it is not active.
func (s *Store) Export(ctx context.Context, id string) (lastStep int64, ok bool, err error) {
	token := rand.Text()
	var text string
	err = repeat(ctx, func() (err error) {
		text, err = exportScript.Run(ctx, s.rdb, []string{key(id)}, token, s.retention.Milliseconds()).Text()
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("export the TOTP secret: %w", err)
	}
	number, ok := strings.CutPrefix(text, "exported:")
	lastStep, _ = strconv.ParseInt(number, 10, 64) // the script made the number
	return lastStep, ok, nil
}
