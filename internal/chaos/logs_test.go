package chaos_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// sendCall is a line of the producers' log: one call of Send and its result.
type sendCall struct {
	ID    string     `json:"id"`
	To    string     `json:"to"` // unique to the mail
	Kind  tasks.Kind `json:"kind"`
	At    time.Time  `json:"at"`              // when Send returned
	Error string     `json:"error,omitempty"` // "" if the mail was acknowledged
}

// tracePoint is a line of the workers' trace: a point that a run passed.
type tracePoint struct {
	at    time.Time
	pid   int
	point string
	id    string
}

// runEnd is a line of a worker's own log about the end of a run.
type runEnd struct{ ID, State, Reason string }

// received is a line of the receiver's log: one mail, logged before it is answered.
type received struct {
	To        string    `json:"to"`
	MessageID string    `json:"message_id"`
	Secret    string    `json:"secret"` // SHA-256
	At        time.Time `json:"at"`
	Worker    string    `json:"worker"` // the user name of the login
}

// logs holds the lines of all logs.
type logs struct {
	Sends    []sendCall
	Trace    []tracePoint
	Runs     []runEnd
	Received []received
}

// logFile is a file of JSON lines. It is only appended to, with one write for each line.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	sync bool // each line is on the disk when add returns
}

func openLogFile(t *testing.T, path string, sync bool) *logFile {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &logFile{file: file, sync: sync}
}

func (b *logFile) add(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.file.Write(append(text, '\n')); err != nil || !b.sync {
		return err
	}
	return b.file.Sync()
}

// readLogFile reads a file of JSON lines.
func readLogFile[T any](t *testing.T, path string) (lines []T) {
	t.Helper()
	for _, line := range linesOf(t, path) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		lines = append(lines, one)
	}
	return lines
}

func linesOf(t *testing.T, path string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(text, []byte("\n"))
	return lines[:len(lines)-1] // after the last line end
}

// readLog reads the runs in a worker's own log. A line that is not JSON is a panic or a data race,
// and fails the test.
func readLog(t *testing.T, path string) (runs []runEnd) {
	t.Helper()
	for i, line := range linesOf(t, path) {
		var one runEnd
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s:%d: not a log line: %s", path, i+1, line)
		}
		if one.ID != "" && one.State != "" {
			runs = append(runs, one)
		}
	}
	return runs
}

// trace reads the workers' trace while they write it.
type trace struct {
	mu    sync.Mutex
	in    *bufio.Reader
	part  []byte // the beginning of a line that is not complete
	lines []tracePoint
	seen  map[string]bool         // by point and id
	going map[int]map[string]bool // runs that have not returned, by process and id
}

func followTrace(t *testing.T, path string) *trace {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &trace{in: bufio.NewReader(file), seen: map[string]bool{}, going: map[int]map[string]bool{}}
}

// read reads the lines that were added. The caller holds w.mu.
func (w *trace) read() {
	for {
		text, err := w.in.ReadBytes('\n')
		w.part = append(w.part, text...)
		if err != nil {
			return // the end of the file so far
		}
		var ms int64
		var p tracePoint
		if _, err := fmt.Sscanf(string(w.part), "%d %d %s %s\n", &ms, &p.pid, &p.point, &p.id); err != nil {
			panic(fmt.Sprintf("the trace has a line %q: %v", w.part, err))
		}
		w.part = w.part[:0]
		p.at = time.UnixMilli(ms)
		w.lines = append(w.lines, p)
		w.seen[p.point+" "+p.id] = true
		if w.going[p.pid] == nil {
			w.going[p.pid] = map[string]bool{}
		}
		if p.point == "returned" {
			delete(w.going[p.pid], p.id)
		} else {
			w.going[p.pid][p.id] = true
		}
	}
}

// has reports whether a run of the mail has passed the point.
func (w *trace) has(point, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return w.seen[point+" "+id]
}

// inFlight returns how many runs of a process have begun and not returned.
func (w *trace) inFlight(pid int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return len(w.going[pid])
}

// all returns every line.
func (w *trace) all() []tracePoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return w.lines[:len(w.lines):len(w.lines)]
}

// run is one run of a task, according to the trace.
type run struct {
	pid   int
	id    string
	begun time.Time
	past  map[string]bool // the points that it passed
}

// runsOf groups the lines by run, in the order in which the runs began.
func runsOf(lines []tracePoint) (runs []*run) {
	type who struct {
		pid int
		id  string
	}
	last := map[who]*run{}
	for _, p := range lines {
		w := who{p.pid, p.id}
		if p.point == "dequeued" || last[w] == nil {
			last[w] = &run{pid: p.pid, id: p.id, begun: p.at, past: map[string]bool{}}
			runs = append(runs, last[w])
		}
		last[w].past[p.point] = true
	}
	return runs
}
