package bench_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// BenchmarkIdle measures an idle worker: first its CPU time and its commands to Redis without any
// mail, and then how long one mail takes. That is the time from the call of Send to the worker's
// log line, and includes some 0.1 ms of the sink.
func BenchmarkIdle(b *testing.B) {
	const mails, idle = 200, 3 * time.Second
	s := startSink(b)
	server := startRedis(b, "everysec")
	count := newCounter(b, 1)
	_, stop := startWorker(b, server.URL, s.relay(submission.ImplicitTLS), harness.NewKeyRing(b), count.log())
	defer stop()
	producer, err := securemail.NewClient(server.Client)
	if err != nil {
		b.Fatal(err)
	}
	send := func() time.Duration {
		count.left.Store(1)
		count.done = make(chan struct{})
		begun := time.Now()
		m := sample(tasks.Key)
		m.To = "user" + begun.Format("150405.000000000") + "@example.com"
		if _, err := producer.Send(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		<-count.done
		return time.Since(begun)
	}
	send() // opens the session with the sink

	var took []time.Duration
	var cpu time.Duration
	var commands float64
	for b.Loop() {
		cpuBefore, commandsBefore := ownCPU(), commandsOf(b, server)
		time.Sleep(idle)
		cpu += ownCPU() - cpuBefore
		commands += commandsOf(b, server) - commandsBefore - 1
		for range mails {
			time.Sleep(rand.N(40 * time.Millisecond))
			took = append(took, send())
		}
	}
	slices.Sort(took)
	waited := idle.Seconds() * float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(cpu.Seconds()/waited*100, "cpu-%")
	b.ReportMetric(commands/waited, "commands/s")
}

// commandsOf returns how many commands Redis has run.
func commandsOf(t testing.TB, server *testserver.Redis) float64 {
	t.Helper()
	n := server.Client.InfoMap(t.Context(), "stats").Item("Stats", "total_commands_processed")
	commands, err := strconv.ParseFloat(n, 64)
	if err != nil {
		t.Fatalf("total_commands_processed is %q", n)
	}
	return commands
}

// BenchmarkMemory measures the peak of cmd/worker's resident memory while it sends 10,000 mails, 64
// at a time.
func BenchmarkMemory(b *testing.B) {
	const mails = 10_000
	s := startSink(b)
	dir := b.TempDir()
	program, ca := filepath.Join(dir, "worker"), filepath.Join(dir, "ca.pem")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "example.com/securemail/cmd/worker").CombinedOutput(); err != nil {
		b.Fatalf("go build: %s", out)
	}
	if err := os.WriteFile(ca, s.Certificate, 0o600); err != nil {
		b.Fatal(err)
	}
	relay := s.relay(submission.ImplicitTLS)
	var most float64
	for b.Loop() {
		server := startRedis(b, "everysec")
		fill(b, server.Client, tasks.Key, mails)
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "SECUREMAIL_REDIS_URL="+server.URL, "SECUREMAIL_KEYRING_FILE="+harness.NewKeyRing(b), "SECUREMAIL_FROM=no-reply@example.com",
			"SECUREMAIL_PRODUCT="+product, "SECUREMAIL_CONCURRENCY=64", "SECUREMAIL_ADMIN_ADDR=127.0.0.1:0", "SECUREMAIL_SMTP_HOST="+relay.Host,
			"SECUREMAIL_SMTP_PORT="+strconv.Itoa(relay.Port), "SECUREMAIL_SMTP_TLS=implicit", "SECUREMAIL_SMTP_CA_FILE="+ca,
			"SECUREMAIL_SMTP_USERNAME=user", "SECUREMAIL_SMTP_PASSWORD=password", "SECUREMAIL_SMTP_MAX_CONNECTIONS=64")
		log := newCounter(b, mails)
		cmd.Stderr = log.file
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for finished(b, server) < mails {
			if cpuOf(cmd.Process.Pid) == 0 && mostMemory(cmd.Process.Pid) == 0 {
				text, _ := os.ReadFile(log.file.Name())
				b.Fatalf("the worker has ended: %.2000s", text)
			}
			time.Sleep(100 * time.Millisecond)
		}
		most = max(most, mostMemory(cmd.Process.Pid))
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		server.Kill()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(most, "MiB")
}

// finished returns how many mails were accepted, and fails the test if any was archived or
// deferred.
func finished(t testing.TB, server *testserver.Redis) int {
	t.Helper()
	info, err := asynq.NewInspectorFromRedisClient(server.Client).GetQueueInfo(tasks.Queue)
	if err != nil {
		t.Fatal(err)
	}
	if info.Archived > 0 || info.Retry > 0 {
		t.Fatalf("%d mails were archived and %d deferred", info.Archived, info.Retry)
	}
	return info.Completed
}

// mostMemory returns the peak of a process's resident memory in MiB (proc_pid_status(5), VmHWM).
func mostMemory(pid int) (mib float64) {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			mib = kib / 1024
		}
	}
	return mib
}
