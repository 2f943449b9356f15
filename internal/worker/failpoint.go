//go:build !failpoints

package worker

// failpoint is where a test with the build tag failpoints sees a mail pass, and kills the process. In a shipped binary it
// is nothing.
func failpoint(_, _ string) {}
