package securemail_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// dialect has words and phrases that this project once used in senses of its own. They may not come
// back where people read: in documents, exported comments, help, logs, metrics and errors.
var dialect = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\bthe house\b`, `\bleft alone\b`, `left_alone`, `\brelay back\b`, `\bmend(s|ed|ing)?\b`, `\btroubles?\b`, `\btime-outs?\b`,
	`\bmails? in hand\b`, `\bin hand\b`, `\bquits at once\b`, `\bcome to\b`, `\bcame to\b`, `cannot be looked for`,
	`\bdoes not show this try\b`, `\bstay in use that were\b`, `could not tell`, `could not be told`,
	`\ball six arrived\b`, `made\. back it up`, `\btells how that went\b`, `\bmakes what was mailed\b`, `\bnobody's\b`, `\bit is 0; leave\b`,
	`\brejected is who\b`, `IsRejected knows`, `\ball the same\b`, `\bevery complaint\b`, `\bis at it\b`, `\bbut for one\b`,
	`\bbegins anew\b`, `\bof one's own\b`, `\bwho already has\b`, `\bturns bad\b`, `\bon its disk it is\b`, `\bforgets every miss\b`,
	`\bneither check nor burn\b`, `\bof tomorrow\b`, `\bno mail pays\b`, `\bpays for it\b`, `\bholds? (a|its) place\b`,
	`\bwaits? in place\b`, `\bput into words\b`, `\btwo flights\b`, `\bin one flight\b`, `\bno third way\b`, `\bbehind the caller's back\b`,
	`\bnobody wants\b`, `\bour own words\b`, `\bkeeps knocking\b`, `\bis spared\b`, `\bspoke out of turn\b`, `\bworth of a goodbye\b`,
	`\bstands? in the URL\b`, `\bsays yes to\b`, `\bother users at it\b`, `\basks nobody\b`, `\bfor whoever operates\b`,
	`\bwhose trouble\b`, `\btake it for dead\b`, `\bwith a word that says\b`, `\bthen write in it\b`, `\bthe judge is awake\b`,
	`\blaws it\b`, `\bledgers?\b`, `\bthe sweeper\b`, `\bout of reach\b`, `\bgives? back\b`, `\btill\b`,
}, `|`))

// allowed are uses of these words in their ordinary or in the trade's sense.
var allowed = map[string]bool{}

func checkWords(t *testing.T, where, text string) {
	t.Helper()
	text = strings.Join(strings.Fields(text), " ") // phrases go on in the next line
	for _, at := range dialect.FindAllStringIndex(text, -1) {
		phrase := text[at[0]:at[1]]
		if !allowed[where+": "+phrase] {
			t.Errorf("%s says %q: ...%s...", where, phrase, text[max(0, at[0]-50):min(len(text), at[1]+50)])
		}
	}
}

func TestDocs_ArePlainEnglish(t *testing.T) {
	for _, file := range documents(t) {
		text := read(t, file)
		switch file {
		case "docs/providers.md": // quotes servers
			continue
		case "CHANGELOG.md": // names what is gone
			text, _, _ = strings.Cut(text, "### Changed")
		}
		checkWords(t, file, text)
	}
	for _, file := range []string{"deploy/config.example.yaml", "deploy/securemail.service", "docker-compose.yml", "Makefile"} {
		checkWords(t, file, read(t, file))
	}
}

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

func TestDocs_ExportedCommentsArePlainEnglish(t *testing.T) {
	for _, public := range []string{".", "./tasks"} {
		text := string(output(t, "go", "doc", "-all", public))
		if len(text) < 3000 {
			t.Fatalf("go doc -all %s prints %d bytes", public, len(text))
		}
		checkWords(t, "go doc "+public, text)
	}
}

// All texts of the programs are literals: help, logs, metrics, errors and what is printed.
func TestDocs_TextsOfTheProgramsArePlainEnglish(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "testserver" || e.Name() == "harness" || e.Name() == "chaos" || e.Name() == "bench" ||
			e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".") && path != "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, " ") {
					found++
					checkWords(t, path, text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 300 {
		t.Errorf("found %d texts: %v", found, err)
	}
}
