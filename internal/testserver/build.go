package testserver

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BuildWorker builds cmd/worker with these flags of go build, and returns the path of the program.
func BuildWorker(t testing.TB, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "worker")
	args := append([]string{"build", "-o", binary}, flags...)
	if out, err := exec.Command("go", append(args, "example.com/securemail/cmd/worker")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// Overlay returns a flag of go build that replaces one text in a source file by another. The file
// must hold the text exactly once. A test builds a changed program in this way, without a change of
// the source.
func Overlay(t testing.TB, file, old, replacement string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %q %d times, want once: adapt the text to the source", file, old, n)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, filepath.Base(file)), filepath.Join(dir, "overlay.json")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	err = errors.Join(err, os.WriteFile(changed, []byte(strings.Replace(string(source), old, replacement, 1)), 0o600), os.WriteFile(overlay, content, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return "-overlay=" + overlay
}
