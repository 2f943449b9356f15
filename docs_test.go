package securemail_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const maxColumns = 100

// documents returns the paths of all documents, and fails if there are few.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) < 10 {
		t.Fatalf("found %d documents: %v", len(paths), err)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// block is a fenced or indented block of code in a document.
type block struct {
	file, language, text string
	line                 int
}

// split takes a document apart: its lines without blocks of code, which are "" instead, and the
// blocks.
func split(t *testing.T, file string) (prose []string, blocks []block) {
	t.Helper()
	open, list := false, false
	var b *block
	for i, line := range strings.Split(read(t, file), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		indented := strings.HasPrefix(line, "    ") && !list
		switch {
		case isFence && !open:
			open, b = true, &block{file: file, language: fence, line: i + 1}
		case isFence:
			blocks, open, b = append(blocks, *b), false, nil
		case open:
			b.text += line + "\n"
		case indented && b == nil:
			b = &block{file: file, language: "sh", line: i + 1, text: line[4:] + "\n"}
		case indented:
			b.text += line[4:] + "\n"
		case b != nil:
			blocks, b = append(blocks, *b), nil
		}
		if open || isFence || indented {
			line = ""
		}
		if line != "" && !strings.HasPrefix(line, " ") {
			list = regexp.MustCompile(`^([-*]|\d+\.) `).MatchString(line)
		}
		prose = append(prose, line)
	}
	if b != nil {
		t.Fatalf("%s:%d: the block does not end", file, b.line)
	}
	return prose, blocks
}

func TestDocs_TheReadmeIsShort(t *testing.T) {
	if n := strings.Count(read(t, "README.md"), "\n"); n > 250 {
		t.Errorf("README.md has %d lines, want at most 250", n)
	}
}

// Tables, headings and lines with a link or HTML may be longer.
func TestDocs_ProseIsWrapped(t *testing.T) {
	for _, file := range documents(t) {
		if file == "docs/providers.md" { // internal/submission/providers_test.go generates it
			continue
		}
		prose, _ := split(t, file)
		for i, line := range prose {
			long := len([]rune(line)) > maxColumns
			if long && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "#") && !strings.Contains(line, "](") && !strings.Contains(line, "<") {
				t.Errorf("%s:%d: %d columns, want at most %d", file, i+1, len([]rune(line)), maxColumns)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	code    = regexp.MustCompile("`[^`]*`")
)

// anchors returns the anchors of a document, as GitHub makes them of its headings.
func anchors(t *testing.T, file string) (all []string) {
	t.Helper()
	prose, _ := split(t, file)
	for _, m := range heading.FindAllStringSubmatch(strings.Join(prose, "\n"), -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(anchor, " ", "-"))
	}
	return all
}

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	found := 0
	for _, file := range documents(t) {
		prose, _ := split(t, file)
		for i, line := range prose {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				target := m[1] + m[2]
				if strings.HasPrefix(target, "https://") {
					continue
				}
				found++
				path, anchor, hasAnchor := strings.Cut(target, "#")
				goal := filepath.Join(filepath.Dir(file), path)
				if path == "" {
					goal = file
				}
				if _, err := os.Stat(goal); err != nil {
					t.Errorf("%s:%d: %s leads nowhere: %v", file, i+1, target, err)
				} else if hasAnchor && !slices.Contains(anchors(t, goal), anchor) {
					t.Errorf("%s:%d: %s has no heading #%s", file, i+1, goal, anchor)
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d relative links", found)
	}
}

// A reader greps for what stands in backticks: files, tests and Go names must exist.
func TestDocs_NamesExist(t *testing.T) {
	words, files := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && strings.HasPrefix(e.Name(), ".") && path != "." && path != ".ci" {
				return filepath.SkipDir
			}
			return err
		}
		files[path], files[filepath.Base(path)] = true, true
		if strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml") {
			content, err := os.ReadFile(path)
			for _, word := range regexp.MustCompile(`\w+`).FindAllString(string(content), -1) {
				words[word] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(?:[a-z]+\.)?(?:[A-Z]\w+\.)?((?:Test|Fuzz)[A-Z]\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)$`)
	file := regexp.MustCompile(`^[\w./-]+\.(go|txt|lua|tsv|yaml|yml|acl|service|html)$`)
	known := strings.Join([]string{"TimeoutStopSec terminationGracePeriodSeconds enableServiceLinks", // of other systems
		"DisableIdentity GetTaskInfo IsFailure SkipRetry RevokeTask MaxRetry Deadline"}, " ") // of libraries
	elsewhere := map[string]bool{"bench.txt": true, "users.acl": true, // what commands make
		"internal/rdb/rdb.go": true} // of asynq
	checked := 0
	for _, path := range documents(t) {
		if path == "docs/providers.md" || path == "CHANGELOG.md" { // replies of servers; names that are gone
			continue
		}
		prose, _ := split(t, path)
		for i, line := range prose {
			for _, span := range code.FindAllString(line, -1) {
				word := strings.Trim(span, "`")
				switch m := name.FindStringSubmatch(word); {
				case m != nil && !strings.Contains(known, m[1]):
					checked++
					if !words[m[1]] {
						t.Errorf("%s:%d: there is no %s", path, i+1, word)
					}
				case file.MatchString(word):
					checked++
					if !files[word] && !elsewhere[word] {
						t.Errorf("%s:%d: there is no file %s", path, i+1, word)
					}
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("checked %d names", checked)
	}
}

// The test reads go list, so that a new package gets into make quick, or has a reason here.
func TestMakeQuick_NamesEveryPackageWithoutServers(t *testing.T) {
	slow := map[string]string{
		"cmd/enqueue":         "runs the real commands against worker dev",
		"internal/dev":        "starts the servers of worker dev",
		"internal/bench":      "has benchmarks only",
		"internal/submission": "starts Postfix",
	}
	quick := read(t, "Makefile")
	_, quick, _ = strings.Cut(quick, "\nQUICK = ")
	quick, _, _ = strings.Cut(quick, "\n\n")
	named := strings.Fields(strings.ReplaceAll(quick, "\\\n", " "))
	found := 0
	for d := json.NewDecoder(bytes.NewReader(output(t, "go", "list", "-json=ImportPath,TestImports,XTestImports", "./..."))); d.More(); {
		var p struct {
			ImportPath                string
			TestImports, XTestImports []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		imports := append(p.TestImports, p.XTestImports...)
		path, _ := ours(p.ImportPath)
		if len(imports) == 0 || path == "" || slow[path] != "" {
			continue
		}
		found++
		needsServer := slices.Contains(imports, module+"/internal/testserver") || slices.Contains(imports, module+"/internal/harness")
		if inQuick := slices.Contains(named, "./"+path); inQuick == needsServer {
			t.Errorf("%s: its tests need a server: %v; it is in QUICK of the Makefile: %v", path, needsServer, inQuick)
		}
	}
	if found < 10 {
		t.Errorf("found %d packages with tests", found)
	}
}
