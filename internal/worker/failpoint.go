//go:build !failpoints

package worker

// failpoint does nothing. With the build tag failpoints it logs that a run passed a point, and can
// kill the process.
func failpoint(_, _ string) {}
