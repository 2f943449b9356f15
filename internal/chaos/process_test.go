package chaos_test

import (
	"testing"

	"example.com/securemail/internal/testserver"
)

// buildWorker builds cmd/worker with failpoints.
func (l *lab) buildWorker(t *testing.T, flags ...string) string {
	t.Helper()
	if !l.full {
		flags = append(flags, "-race")
	}
	return testserver.BuildWorker(t, append(flags, "-tags=failpoints")...)
}
