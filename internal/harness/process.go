package harness

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Process is cmd/worker as a process of its own, which can be killed. It is not safe for use by several goroutines.
type Process struct {
	T       *testing.T
	Name    string // for messages
	Binary  string // built by testserver.BuildWorker
	Environ []string
	Log     string // the file

	before  int // bytes in the log from before it was started last
	running *exec.Cmd
}

// processTime is how long a process may take to die or to drain.
const processTime = time.Minute

// Start starts the process. It kills itself at the failpoint, if one is named.
func (p *Process) Start(failpoint string) {
	p.T.Helper()
	log, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.T.Fatal(err)
	}
	defer log.Close()
	p.before = len(p.read())
	p.running = exec.Command(p.Binary)
	p.running.Env = append(p.Environ, "FAILPOINT="+failpoint)
	p.running.Stdout, p.running.Stderr = log, log
	if err := p.running.Start(); err != nil {
		p.T.Fatal(err)
	}
}

// Running reports whether it was started and neither killed nor stopped.
func (p *Process) Running() bool { return p.running != nil }

// Started reports whether its log says that it takes tasks.
func (p *Process) Started() bool {
	return bytes.Contains(p.read()[p.before:], []byte("worker started"))
}

// Pid is its process id.
func (p *Process) Pid() int { return p.running.Process.Pid }

// Kill ends it with SIGKILL, as a power failure would.
func (p *Process) Kill() {
	p.T.Helper()
	p.running.Process.Kill()
	p.killed()
}

// Died waits until it has killed itself.
func (p *Process) Died() {
	p.T.Helper()
	giveUp := time.AfterFunc(processTime, func() { p.running.Process.Signal(syscall.SIGTERM) })
	defer giveUp.Stop()
	p.killed()
}

func (p *Process) killed() {
	p.T.Helper()
	err := p.running.Wait()
	if status, ok := p.running.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		p.T.Errorf("%s: got %v, want killed; its log is\n%s", p.Name, err, p.endOfLog())
	}
	p.running = nil
}

// Stop ends it with SIGTERM, and waits until it has drained.
func (p *Process) Stop() {
	p.T.Helper()
	limit := time.Now().Add(processTime)
	for !p.Started() && time.Now().Before(limit) { // a signal that comes earlier just kills it
		time.Sleep(10 * time.Millisecond)
	}
	p.running.Process.Signal(syscall.SIGTERM)
	giveUp := time.AfterFunc(time.Until(limit), func() { p.running.Process.Kill() })
	defer giveUp.Stop()
	if err := p.running.Wait(); err != nil {
		p.T.Errorf("%s: after SIGTERM: %v; its log is\n%s", p.Name, err, p.endOfLog())
	}
	p.running = nil
}

func (p *Process) read() []byte {
	text, _ := os.ReadFile(p.Log) // without one, it has logged nothing
	return text
}

func (p *Process) endOfLog() []byte {
	text := p.read()[p.before:]
	return text[max(0, len(text)-2000):]
}
