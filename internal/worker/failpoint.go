//go:build !failpoints

package worker

// failpoint is where a test with the build tag failpoints kills the process. In a shipped binary it is nothing.
func failpoint(string) {}
