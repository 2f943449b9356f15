//go:build failpoints

package worker

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// trace opens the file that the variable TRACE names. It is nil without one.
var trace = sync.OnceValue(func() *os.File {
	name := os.Getenv("TRACE")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return f
})

// failpoint logs that a run of the mail has passed the point name. If the variable FAILPOINT names
// the point, it then kills the process with SIGKILL, which is like a power failure. The line
// outlives the process, because it is one write without a buffer.
func failpoint(name, id string) {
	if f := trace(); f != nil {
		fmt.Fprintf(f, "%d %d %s %s\n", time.Now().UnixMilli(), os.Getpid(), name, id)
	}
	if os.Getenv("FAILPOINT") == name {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
