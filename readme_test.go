package securemail_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/securemail/internal/testserver"
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

func TestTheReadmesGoIsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tasks/example_test.go", "tasks/example_verify_test.go"} {
		_, body := example(t, file)
		body = regexp.MustCompile(`(?m)^\t`).ReplaceAllString(body, "")
		if !strings.Contains(string(readme), "```go\n"+body+"\n```") {
			t.Errorf("README.md does not hold the code of %s, which is:\n%s", file, body)
		}
	}
}

// TestAModuleElsewhereRunsTheExample follows the README: a new module, a replace line, the example, worker dev.
func TestAModuleElsewhereRunsTheExample(t *testing.T) {
	dev := testserver.StartDev(t)
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	imports, body := example(t, "tasks/example_test.go")
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
	command("mod", "edit", "-require", module+"@v0.0.0", "-replace", module+"="+root)
	command("mod", "tidy")
	if got := command("run", "."); !strings.HasSuffix(got, "accepted\n") {
		t.Errorf("the example printed %q, want accepted", got)
	}
}

// TestTheReadmeExplainsEveryReason and every metric, so that an operator at night finds the word that the log says.
func TestTheReadmeExplainsEveryReason(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("tasks/status.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []struct{ file, pattern string }{
		{"internal/worker/verdict.go", `(?m)^\treason\w+ += "([a-z-]+)"`},
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
		for _, word := range found {
			if !strings.Contains(string(readme), "`"+word[1]+"`") {
				t.Errorf("README.md does not explain %s of %s", word[1], source.file)
			}
			if strings.HasSuffix(source.file, "verdict.go") && !strings.Contains(string(status), word[1]) {
				t.Errorf("Status.Reason does not name %s", word[1])
			}
		}
	}
}
