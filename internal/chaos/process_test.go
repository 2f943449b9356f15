package chaos_test

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/testserver"
)

// buildWorker builds cmd/worker with failpoints.
func (l *lab) buildWorker(t *testing.T, flags ...string) string {
	t.Helper()
	if !l.full {
		flags = append(flags, "-race")
	}
	return testserver.BuildWorker(t, append(flags, "-tags=failpoints")...)
}

// process is a worker as a process of its own, which can be killed. One goroutine at a time uses it.
type process struct {
	t       *testing.T
	name    string
	binary  string
	environ []string
	log     string
	before  int // bytes in the log from before it was started last
	running *exec.Cmd
}

// start starts it. It kills itself at the failpoint, if one is named.
func (p *process) start(failpoint string) {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.before = len(p.read())
	p.running = exec.Command(p.binary)
	p.running.Env = append(p.environ, "FAILPOINT="+failpoint)
	p.running.Stdout, p.running.Stderr = log, log
	if err := p.running.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// started reports whether it has said in its log that it takes tasks.
func (p *process) started() bool {
	return bytes.Contains(p.read()[p.before:], []byte("worker started"))
}

func (p *process) pid() int { return p.running.Process.Pid }

// kill ends it with SIGKILL, as a power failure would.
func (p *process) kill() {
	p.t.Helper()
	p.running.Process.Kill()
	p.killed()
}

// died waits until it has killed itself.
func (p *process) died() {
	p.t.Helper()
	giveUp := time.AfterFunc(time.Minute, func() { p.running.Process.Signal(syscall.SIGTERM) })
	defer giveUp.Stop()
	p.killed()
}

func (p *process) killed() {
	p.t.Helper()
	err := p.running.Wait()
	if status, ok := p.running.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		p.t.Errorf("%s: got %v, want killed; its log is\n%s", p.name, err, p.lastOfLog())
	}
	p.running = nil
}

// stop ends it with SIGTERM, and waits until it has drained.
func (p *process) stop() {
	p.t.Helper()
	limit := time.Now().Add(time.Minute)
	for !p.started() && time.Now().Before(limit) { // a signal that comes earlier just kills it
		time.Sleep(10 * time.Millisecond)
	}
	p.running.Process.Signal(syscall.SIGTERM)
	giveUp := time.AfterFunc(time.Until(limit), func() { p.running.Process.Kill() })
	defer giveUp.Stop()
	if err := p.running.Wait(); err != nil {
		p.t.Errorf("%s: after SIGTERM: %v; its log is\n%s", p.name, err, p.lastOfLog())
	}
	p.running = nil
}

func (p *process) read() []byte {
	text, _ := os.ReadFile(p.log) // without one, it has said nothing
	return text
}

func (p *process) lastOfLog() []byte {
	text := p.read()[p.before:]
	return text[max(0, len(text)-2000):]
}
