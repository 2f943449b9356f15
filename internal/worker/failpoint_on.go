//go:build failpoints

package worker

import (
	"os"
	"syscall"
)

// failpoint kills the process, as a power failure would, where the environment names the point.
func failpoint(name string) {
	if os.Getenv("FAILPOINT") == name {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
