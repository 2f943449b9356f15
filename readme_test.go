package securemail_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// example returns the body of the example in a file, and its imports.
func example(t *testing.T, file string) (imports, body string) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`(?s)(import \(.*?\n\))\n\nfunc Example\w*\(\) \{\n(.*)\n\}\n$`).FindStringSubmatch(string(source))
	if parts == nil {
		t.Fatalf("%s is not imports and an example", file)
	}
	return parts[1], parts[2]
}

func TestDocs_GoIsThatOfTheExamples(t *testing.T) {
	for _, file := range []string{"example_test.go", "example_verify_test.go"} {
		_, body := example(t, file)
		body = regexp.MustCompile(`(?m)^\t`).ReplaceAllString(body, "")
		if !strings.Contains(read(t, "docs/go.md"), "```go\n"+body+"\n```") {
			t.Errorf("docs/go.md does not hold the code of %s, which is:\n%s", file, body)
		}
	}
	_, blocks := split(t, "README.md")
	n := 0
	for _, b := range blocks {
		if b.language != "go" {
			continue
		}
		n++
		if !strings.Contains(read(t, "example_sign_in_test.go"), b.text) || strings.Count(b.text, "\n") > 8 {
			t.Errorf("README.md:%d: the code is not that of example_sign_in_test.go, or has more than eight lines", b.line)
		}
	}
	if n != 1 {
		t.Errorf("README.md has %d blocks of Go, want 1", n)
	}
}

// The test follows docs/go.md: a new module, a replace line, the example, worker dev.
func TestAModuleElsewhereRunsTheExample(t *testing.T) {
	dev := testserver.StartDev(t)
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	imports, body := example(t, "example_test.go")
	body = strings.Replace(body, "127.0.0.1:6379", dev.RedisAddr, 1)
	files := map[string]string{"main.go": "package main\n\n" + imports + "\n\nfunc main() {\n" + body + "\n}\n"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(context.Background(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	command("mod", "init", "example.org/app")
	for _, line := range strings.Split(strings.TrimSpace(commandsOf(t, "docs/go.md", "go mod edit")), "\n") {
		command(strings.Fields(strings.Replace(line, "/path/to/securemail", root, 1))[1:]...)
	}
	if got := command("run", "."); !strings.HasSuffix(got, "accepted\n") {
		t.Errorf("the example printed %q, want accepted", got)
	}
}

// An operator finds there each word that a log or a graph shows.
func TestDocs_ExplainEveryReasonAndMetric(t *testing.T) {
	page := read(t, "docs/operations.md")
	var words []string
	for _, reason := range tasks.Reasons() {
		words = append(words, string(reason))
	}
	for _, source := range []struct{ file, pattern string }{
		{"internal/worker/report.go", `Name: "(\w+)"`},
		{"internal/admin/queues.go", `NewDesc\("(\w+)"`},
		{"cmd/worker/relays.go", `Name: "(securemail_\w+)"`},
	} {
		content, err := os.ReadFile(source.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(source.pattern).FindAllStringSubmatch(string(content), -1)
		if len(found) == 0 {
			t.Errorf("%s holds none", source.file)
		}
		for _, name := range found {
			words = append(words, name[1])
		}
	}
	for _, word := range words {
		if !strings.Contains(page, "`"+word+"`") {
			t.Errorf("docs/operations.md does not explain %s", word)
		}
	}
}

func TestReasons_ListsEveryConstant(t *testing.T) {
	source, err := os.ReadFile("tasks/status.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\tReason\w+ +Reason = "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(found) != len(tasks.Reasons()) || len(found) == 0 {
		t.Errorf("%d constants, and Reasons lists %d", len(found), len(tasks.Reasons()))
	}
	for _, reason := range found {
		if !slices.Contains(tasks.Reasons(), tasks.Reason(reason[1])) {
			t.Errorf("Reasons does not list %s", reason[1])
		}
	}
}
