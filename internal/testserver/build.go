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

// BuildWorker builds cmd/worker with further flags of go build, and returns the program's path.
func BuildWorker(t testing.TB, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "worker")
	args := append([]string{"build", "-o", binary}, flags...)
	if out, err := exec.Command("go", append(args, "example.com/securemail/cmd/worker")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// Overlay returns a flag of go build by which a source file has one text in it replaced by another. The text must stand there
// once. So a test has a program that is changed on purpose, and no such change stands in the source.
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
		t.Fatalf("%s has %q %d times, want once: this change has to be made in another way", file, old, n)
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
