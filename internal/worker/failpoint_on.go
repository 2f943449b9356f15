//go:build failpoints

package worker

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// trace is the file that the environment names for what passes; nil without one.
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

// failpoint notes that the mail has come this far, and kills the process, as a power failure would, where the environment
// names the point. What is noted outlives the process: it is one write to a file, without a buffer.
func failpoint(name, id string) {
	if f := trace(); f != nil {
		fmt.Fprintf(f, "%d %d %s %s\n", time.Now().UnixMilli(), os.Getpid(), name, id)
	}
	if os.Getenv("FAILPOINT") == name {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
