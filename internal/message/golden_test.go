package message_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"example.com/securemail/internal/message"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestRender_MatchesTheGoldenFiles(t *testing.T) {
	files := map[string]string{}
	for _, k := range kinds {
		full := sample(t, k)
		bare := full // without the optional fields
		bare.Purpose, bare.Name, bare.IP, bare.Agent = "default", "", "", ""
		for name, m := range map[string]message.Content{string(k): full, string(k) + "-bare": bare} {
			words, err := message.Render(m)
			if err != nil {
				t.Fatal(err)
			}
			files[name+".txt"] = "Subject: " + words.Subject + "\n\n" + words.Text
			files[name+".html"] = words.HTML
		}
	}
	if *update {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join("testdata/golden", name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(found) != len(files) {
		t.Fatalf("got %d files in testdata/golden, want %d (%v); -update writes them", len(found), len(files), err)
	}
	for _, path := range found {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := files[filepath.Base(path)]; got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}
