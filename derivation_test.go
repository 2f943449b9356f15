package securemail_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/securemail/internal/testserver"
)

const vectorsFile = "docs/derivation.json"

// vectors returns the entries of docs/derivation.json by section, and fails if some are missing.
func vectors(t *testing.T) map[string][]map[string]any {
	t.Helper()
	sections := map[string][]map[string]any{}
	if err := json.Unmarshal([]byte(read(t, vectorsFile)), &sections); err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]int{"secret": 11, "mac": 3, "address_tag": 2, "idempotent_id": 2, "fingerprint": 3, "reference": 2} {
		if len(sections[name]) < least {
			t.Fatalf("%s: %s has %d entries, want %d or more", vectorsFile, name, len(sections[name]), least)
		}
	}
	return sections
}

// recompute runs the command of docs/derivation.md, with another file where one is given.
func recompute(t *testing.T, file string) (string, error) {
	t.Helper()
	python := testserver.Need(t, "python3", "python3")
	command := strings.Fields(commandsOf(t, "docs/derivation.md", "python3 deploy/examples"))
	if len(command) != 3 || command[2] != vectorsFile {
		t.Fatalf("docs/derivation.md runs %q", command)
	}
	out, err := exec.Command(python, command[1], file).CombinedOutput()
	return string(out), err
}

func TestDerivation_PythonComputesTheVectors(t *testing.T) {
	entries := 0
	for _, section := range vectors(t) {
		entries += len(section)
	}
	out, err := recompute(t, vectorsFile)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := strconv.Itoa(entries) + " vectors are right\n"; out != want {
		t.Errorf("got %q, want %q: the script leaves entries out", out, want)
	}
}

// The script is worth something only if it finds what is wrong.
func TestDerivation_PythonFindsAChangedVector(t *testing.T) {
	for name, section := range vectors(t) {
		last := section[len(section)-1]
		right, isText := last[name].(string)
		if !isText {
			t.Fatalf("%s: the last entry is %v", name, last)
		}
		changed := "2" + right[1:]
		if right[0] == '2' {
			changed = "3" + right[1:]
		}
		file := filepath.Join(t.TempDir(), "vectors.json")
		text := strings.Replace(read(t, vectorsFile), `"`+name+`": "`+right+`"`, `"`+name+`": "`+changed+`"`, 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := recompute(t, file); err == nil || !strings.Contains(out, changed) || !strings.Contains(out, right) {
			t.Errorf("%s: with %s in place of %s, the script says %v: %s", name, changed, right, err, out)
		}
	}
}

// Each line of an excerpt is a part of an entry.
func TestDerivation_ExcerptsAreVectors(t *testing.T) {
	sections := vectors(t)
	seen := map[string]int{}
	_, blocks := split(t, "docs/derivation.md")
	for _, b := range blocks {
		if b.language != "json" {
			continue
		}
		for lines := bufio.NewScanner(strings.NewReader(b.text)); lines.Scan(); {
			var excerpt map[string]any
			if err := json.Unmarshal(lines.Bytes(), &excerpt); err != nil {
				t.Fatalf("%s:%d: %v", b.file, b.line, err)
			}
			found := ""
			for name, section := range sections {
				for _, entry := range section {
					if excerpt[name] != nil && isPart(excerpt, entry) {
						found = name
					}
				}
			}
			if found == "" {
				t.Errorf("%s:%d: no entry of %s has %s", b.file, b.line, vectorsFile, lines.Text())
			}
			seen[found]++
		}
	}
	if len(seen) != len(sections) {
		t.Errorf("excerpts of %v, want one of each of %d sections", seen, len(sections))
	}
}

func isPart(excerpt, entry map[string]any) bool {
	for name, want := range excerpt {
		got, err := json.Marshal(entry[name])
		text, err2 := json.Marshal(want)
		if err != nil || err2 != nil || !bytes.Equal(got, text) {
			return false
		}
	}
	return true
}

// The document is enough to write a task: it has every field and every label.
func TestDerivation_TheDocumentHasEveryFieldAndLabel(t *testing.T) {
	document := read(t, "docs/derivation.md")
	_, table, _ := strings.Cut(document, "## The task")
	found := 0
	for _, source := range []struct{ file, from, to string }{{"tasks/wire.go", "type payload struct", "\n}"}, {"tasks/mail.go", "type Origin struct", "\n}"}} {
		_, text, _ := strings.Cut(read(t, source.file), source.from)
		text, _, _ = strings.Cut(text, source.to)
		for _, field := range regexp.MustCompile("`json:\"(\\w+)").FindAllStringSubmatch(text, -1) {
			found++
			if !strings.Contains(table, "`"+field[1]+"`") {
				t.Errorf("docs/derivation.md does not have the field %s of a task", field[1])
			}
		}
	}
	for _, file := range []string{"tasks/id.go", "internal/credential/credential.go", "internal/credential/seal.go", "internal/record/entry.go", "internal/record/record.go"} {
		for _, label := range regexp.MustCompile(`"(securemail/[a-z]+/v\d)"`).FindAllStringSubmatch(read(t, file), -1) {
			found++
			if !strings.Contains(document, `"`+label[1]+`"`) {
				t.Errorf("docs/derivation.md does not have the label %s of %s", label[1], file)
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d fields and labels", found)
	}
}
