// Command table reads the output of go test -bench on standard input and prints the table of
// BENCHMARKS.md: the median of each figure over all rounds, and the lowest and the highest ratio.
// It exits with 1 if a figure is missing or a benchmark failed. `make bench` runs it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// row is one line of the table. Benchmarks and units have the names of the output of go test.
type row struct {
	what, benchmark string
	unit            string // of the worker's figure
	limit           string // unit of the baseline's figure; empty without a baseline
	ratio           string // unit of the ratio to the baseline, or of the figure that has a target
	target          float64
	bound           bound // what the target is
}

type bound int

const (
	atLeast bound = iota
	atMost
	near // the ratio is to be 1, and may be off by as much
)

var rows = []row{
	{"key mails, port 465, fsync everysec, to asynq's empty handler", "Mails/key-465-everysec", "mails/s", "asynq/s", "of-asynq", 0.55, atLeast},
	{"the same as CPU a mail in µs: worker, Redis and receiving server, to asynq and Redis", "Mails/key-465-everysec", "all-µs/mail", "asynq-µs/mail", "of-asynq-cpu", 0, atLeast},
	{"the same, to a bare TLS loop", "Mails/key-465-everysec", "mails/s", "tls/s", "of-tls", 0, atLeast},
	{"key mails, port 465, fsync always, to asynq's empty handler", "Mails/key-465-always", "mails/s", "asynq/s", "of-asynq", 0.55, atLeast},
	{"key mails, port 587, fsync everysec", "Mails/key-587-everysec", "mails/s", "asynq/s", "of-asynq", 0.55, atLeast},
	{"code mails, port 465, fsync everysec", "Mails/code-465-everysec", "mails/s", "asynq/s", "of-asynq", 0.55, atLeast},
	{"totp mails, port 465, fsync everysec, to cores / time of a matrix", "Mails/totp-465-everysec", "mails/s", "matrix/s", "of-matrix", 0.65, atLeast},
	{"the same as CPU a mail in µs", "Mails/totp-465-everysec", "all-µs/mail", "asynq-µs/mail", "of-asynq-cpu", 0, atLeast},
	{"checks, one after the other, Redis on a Unix socket, to an empty script", "Verify/unix-1", "verify/s", "evalsha/s", "of-evalsha", 0.35, atLeast},
	{"checks, one after the other, Redis over TCP", "Verify/tcp-1", "verify/s", "evalsha/s", "of-evalsha", 0.35, atLeast},
	{"checks, one after the other, Redis 1 ms away", "Verify/1ms-1", "verify/s", "evalsha/s", "of-evalsha", 0.35, atLeast},
	{"checks, 32 at a time, Redis on a Unix socket", "Verify/unix-32", "verify/s", "evalsha/s", "of-evalsha", 0, atLeast},
	{"checks, 32 at a time, Redis over TCP", "Verify/tcp-32", "verify/s", "evalsha/s", "of-evalsha", 0, atLeast},
	{"answers, median (µs): an id that is no mail's, to a wrong one", "VerifyClasses", "unknown-µs", "wrong-µs", "unknown-of-wrong", 0.05, near},
	{"answers, median (µs): an expired secret, to a wrong one", "VerifyClasses", "expired-µs", "wrong-µs", "expired-of-wrong", 0.05, near},
	{"answers, median (µs): a secret that was used, to a wrong one", "VerifyClasses", "used-µs", "wrong-µs", "used-of-wrong", 0.05, near},
	{"answers, median (µs): a locked secret, to a wrong one", "VerifyClasses", "locked-µs", "wrong-µs", "locked-of-wrong", 0.05, near},
	{"answers, median (µs): seven digits of eight right, to a wrong one", "VerifyClasses", "wrong-7-µs", "wrong-µs", "wrong-7-of-wrong", 0.05, near},
	{"answers, median (µs): another address, to a wrong one", "VerifyClasses", "address-µs", "wrong-µs", "address-of-wrong", 0.05, near},
	{"answers, median (µs): another purpose, to a wrong one", "VerifyClasses", "purpose-µs", "wrong-µs", "purpose-of-wrong", 0.05, near},
	{"answers, median (µs): without the session, to a wrong one", "VerifyClasses", "session-µs", "wrong-µs", "session-of-wrong", 0.05, near},
	{"answers, median (µs): a record that was changed in Redis, to a wrong one", "VerifyClasses", "forged-µs", "wrong-µs", "forged-of-wrong", 0.05, near},
	{"idle, Send to accepted, median (ms)", "Idle", "p50-ms", "", "p50-ms", 2.5, atMost},
	{"idle, Send to accepted, 99th percentile (ms)", "Idle", "p99-ms", "", "p99-ms", 6, atMost},
	{"idle, CPU (% of a core)", "Idle", "cpu-%", "", "cpu-%", 0.3, atMost},
	{"idle, Redis commands a second, those inside scripts included", "Idle", "commands/s", "", "commands/s", 15, atMost},
	{"round trips a mail, relay 50 ms away, with PIPELINING", "RelayFarAway/with_PIPELINING", "round-trips/mail", "", "round-trips/mail", 2.3, atMost},
	{"round trips a mail, without", "RelayFarAway/without", "round-trips/mail", "", "round-trips/mail", 4.3, atMost},
	{"most memory, 64 at a time, backlog 10,000 (MiB)", "Memory", "MiB", "", "MiB", 80, atMost},
	{"key mails, backlog 1,000", "Growth/backlog-1000-workers-1", "mails/s", "asynq/s", "of-asynq", 0, atLeast},
	{"backlog 10,000", "Growth/backlog-10000-workers-1", "mails/s", "asynq/s", "of-asynq", 0, atLeast},
	{"backlog 100,000", "Growth/backlog-100000-workers-1", "mails/s", "asynq/s", "of-asynq", 0, atLeast},
	{"2 workers on this machine", "Growth/backlog-10000-workers-2", "mails/s", "asynq/s", "of-asynq", 0, atLeast},
	{"4 workers on this machine", "Growth/backlog-10000-workers-4", "mails/s", "asynq/s", "of-asynq", 0, atLeast},
}

func main() {
	figures, failed := read(os.Stdin)
	fmt.Println("| what | measured | its limit | ratio | lowest to highest | to reach | |\n|---|---|---|---|---|---|---|")
	for _, r := range rows {
		line, ok := r.markdown(figures)
		fmt.Println(line)
		failed = failed || !ok
	}
	if failed {
		os.Exit(1)
	}
}

// read returns the figures by benchmark and unit. failed reports whether a benchmark failed.
func read(in io.Reader) (figures map[string][]float64, failed bool) {
	figures = map[string][]float64{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		failed = failed || len(fields) > 0 && fields[0] == "FAIL"
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				figures[name+" "+fields[i+1]] = append(figures[name+" "+fields[i+1]], value)
			}
		}
	}
	return figures, failed
}

// markdown returns the line of the table. ok is false if the row was not measured.
func (r row) markdown(figures map[string][]float64) (line string, ok bool) {
	ours, ratios := figures[r.benchmark+" "+r.unit], figures[r.benchmark+" "+r.ratio]
	if len(ours) == 0 || len(ratios) == 0 {
		return "| " + r.what + " | not measured | | | | | |", false
	}
	limit, ratio := "", ""
	if r.limit != "" {
		limit, ratio = short(median(figures[r.benchmark+" "+r.limit])), short(median(ratios))
	}
	target, reached := "", ""
	if r.target != 0 {
		target, reached = "at least "+short(r.target), "yes"
		missed := median(ratios) < r.target
		switch r.bound {
		case atMost:
			target, missed = "at most "+short(r.target), median(ratios) > r.target
		case near:
			target, missed = "1 ± "+short(r.target), math.Abs(median(ratios)-1) > r.target
		}
		if missed {
			reached = "**no**"
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s to %s | %s | %s |", r.what, short(median(ours)), limit, ratio,
		short(slices.Min(ratios)), short(slices.Max(ratios)), target, reached), true
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// short returns v with three significant digits.
func short(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
