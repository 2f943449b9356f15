package chaos_test

import (
	"testing"

	"example.com/securemail/internal/testserver"
)

// buildWorker builds cmd/worker with failpoints.
func (cfg *scenarioConfig) buildWorker(t *testing.T, flags ...string) string {
	t.Helper()
	if !cfg.full {
		flags = append(flags, "-race")
	}
	return testserver.BuildWorker(t, append(flags, "-tags=failpoints")...)
}
