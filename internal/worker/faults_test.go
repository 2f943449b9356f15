package worker

import (
	"os"
	"strings"
	"testing"

	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// The test reads the table of package submission, whose test plays each fault on both ports and
// checks the error. This test checks what the worker does after that error.
func TestVerdict_MatchesTheTableOfFaults(t *testing.T) {
	table, err := os.ReadFile("../submission/testdata/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	faults := 0
	for line := range strings.Lines(string(table)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 11 {
			t.Fatalf("the line does not have eleven columns: %s", line)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		faults++
		e := &submission.Error{Relay: "r", Phase: submission.Phase(f[3]), Scope: submission.Scope(f[4]), Permanent: f[5] == "yes", Ambiguous: f[6] == "yes"}
		v := verdictOf(e)
		verdict, copies, counts := "again", "1", "no"
		if v.outcome == tasks.Refused {
			verdict, copies = "refused", "0"
		} else if v.outcome != "" {
			t.Errorf("%s: the outcome is %s", f[0], v.outcome)
		}
		if e.Ambiguous {
			copies = "2"
		}
		if v.counts || v.outcome != "" {
			counts = "yes"
		}
		if f[8] != verdict || f[9] != copies || f[10] != counts {
			t.Errorf("%s: got %s, %s copies, counts %s; the table has %s, %s, %s", f[0], verdict, copies, counts, f[8], f[9], f[10])
		}
	}
	if faults < 40 {
		t.Fatalf("only %d faults in the table", faults)
	}
}
