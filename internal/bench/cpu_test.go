package bench_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/testserver"
)

// usage is CPU time.
type usage struct{ worker, redis, sink time.Duration }

func (u usage) minus(v usage) usage {
	return usage{u.worker - v.worker, u.redis - v.redis, u.sink - v.sink}
}

func (u usage) plus(v usage) usage {
	return usage{u.worker + v.worker, u.redis + v.redis, u.sink + v.sink}
}

// each returns the sum divided by n mails, in microseconds.
func (u usage) each(n float64) float64 { return (u.worker + u.redis + u.sink).Seconds() * 1e6 / n }

func used(t testing.TB, s *sink, server *testserver.Redis) usage {
	t.Helper()
	info, err := server.Client.Info(t.Context(), "cpu").Result()
	if err != nil {
		t.Fatal(err)
	}
	u := usage{worker: ownCPU()}
	for line := range strings.Lines(info) {
		var seconds float64
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if value, ok := strings.CutPrefix(line, name); ok {
				fmt.Sscan(value, &seconds)
				u.redis += time.Duration(seconds * 1e9)
			}
		}
	}
	u.sink = cpuOf(s.pid)
	return u
}

func ownCPU() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// cpuOf returns the CPU time of another process, in steps of 10 ms (proc_pid_stat(5), fields 14 and
// 15), or 0 without /proc.
func cpuOf(pid int) time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
