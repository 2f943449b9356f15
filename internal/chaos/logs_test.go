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

// offered is a line of P: one call of Send, and what came of it.
type offered struct {
	ID    string     `json:"id"`
	To    string     `json:"to"` // no other mail's
	Kind  tasks.Kind `json:"kind"`
	At    time.Time  `json:"at"`              // when Send returned
	Error string     `json:"error,omitempty"` // "" where it was acknowledged
}

// passed is a line of the workers' trace.
type passed struct {
	at    time.Time
	pid   int
	point string
	id    string
}

// logged is what a worker's log says of the end of a run.
type logged struct{ ID, State, Reason string }

// taken is a line of S: one mail, written before it is answered.
type taken struct {
	To        string    `json:"to"`
	MessageID string    `json:"message_id"`
	Secret    string    `json:"secret"` // SHA-256
	At        time.Time `json:"at"`
	Worker    string    `json:"worker"` // who logged in
}

// ledgers are the three files, read.
type ledgers struct {
	P   []offered
	W   []passed
	Log []logged
	S   []taken
}

// book is a file of JSON lines that is only appended to: one write for each line.
type book struct {
	mu   sync.Mutex
	file *os.File
	sync bool // every line is on the disk before add returns
}

func openBook(t *testing.T, path string, sync bool) *book {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &book{file: file, sync: sync}
}

func (b *book) add(line any) error {
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

// readBook reads a file of JSON lines.
func readBook[T any](t *testing.T, path string) (lines []T) {
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
	return lines[:len(lines)-1] // every line ends with one
}

// readLog reads what a worker's log says of its runs. Anything else than JSON in it is a panic, or a data race.
func readLog(t *testing.T, path string) (runs []logged) {
	t.Helper()
	for i, line := range linesOf(t, path) {
		var one logged
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s:%d: this is no log line: %s", path, i+1, line)
		}
		if one.ID != "" && one.State != "" {
			runs = append(runs, one)
		}
	}
	return runs
}

// trace follows the workers' trace while they write it.
type trace struct {
	mu    sync.Mutex
	in    *bufio.Reader
	part  []byte // of a line that is not whole yet
	lines []passed
	seen  map[string]bool         // point and id
	going map[int]map[string]bool // the runs that have not returned, by process and id
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

// read takes in what has been written since; w.mu is held.
func (w *trace) read() {
	for {
		text, err := w.in.ReadBytes('\n')
		w.part = append(w.part, text...)
		if err != nil {
			return // the end, for now
		}
		var ms int64
		var p passed
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

// has reports whether some run of a mail has passed a point.
func (w *trace) has(point, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return w.seen[point+" "+id]
}

// inFlight returns how many runs a process has begun and not ended.
func (w *trace) inFlight(pid int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return len(w.going[pid])
}

// all returns every line.
func (w *trace) all() []passed {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	return w.lines[:len(w.lines):len(w.lines)]
}

// run is what the trace tells of one run of a task.
type run struct {
	pid   int
	id    string
	begun time.Time
	past  map[string]bool // the points it passed
}

// runsOf sorts the lines into runs, in the order in which they began.
func runsOf(lines []passed) (runs []*run) {
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
