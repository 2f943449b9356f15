package securemail_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/securemail"

// goPackage holds the fields of go list that the tests use.
type goPackage struct {
	ImportPath, Dir, Doc               string
	Imports, Deps                      []string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

func list(t *testing.T, patterns ...string) []goPackage {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 && len(patterns) == 1 && patterns[0] == "./..." {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// ours returns the path of one of our packages in the module, and "" for the root.
func ours(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// The test holds the arrows of ARCHITECTURE.md: which of our packages may import which.
func TestImports_RunDown(t *testing.T) {
	const (
		secret, lp, mailaddr, visible = "internal/secret", "internal/lp", "internal/mailaddr", "internal/visible"
		nouns                         = "tasks"
	)
	may := map[string][]string{
		// the lowest level
		secret:   {},
		lp:       {},
		mailaddr: {},
		visible:  {},
		nouns:    {lp, mailaddr, visible},
		// leaves, which do not import each other, except that message draws QR codes with otpauth and resend seals
		"internal/keyring":    {secret},
		"internal/credential": {nouns, lp, secret},
		"internal/otpauth":    {secret, visible},
		"internal/message":    {nouns, mailaddr, secret, visible, "internal/otpauth"},
		"internal/submission": {secret},
		"internal/record":     {nouns, lp},
		"internal/limits":     {nouns, lp, mailaddr},
		"internal/queue":      {nouns},
		"internal/resend":     {nouns, "internal/credential"}, // what worker and securemail both need of a leaf
		"internal/redisconn":  {secret},
		"internal/dev":        {secret},
		// packages that join them
		"internal/worker": {nouns, mailaddr, "internal/keyring", "internal/credential", "internal/message", "internal/submission",
			"internal/record", "internal/resend", "internal/limits", "internal/queue"},
		"internal/admin":  {nouns, secret, "internal/queue"},
		"internal/config": {nouns, mailaddr, secret, "internal/redisconn"},
		"internal/cli":    {"internal/config"},
		"": {nouns, mailaddr, "internal/keyring", "internal/credential", "internal/record", "internal/resend", "internal/limits",
			"internal/queue"}, // package securemail
		"cmd/worker":  nil, // the commands may import everything
		"cmd/enqueue": nil,
		// only for tests
		"internal/testserver": {secret},
		"internal/harness": {nouns, mailaddr, "internal/dev", "internal/keyring", "internal/limits", "internal/message",
			"internal/submission", "internal/worker"},
		"internal/chaos":       {},
		"internal/bench":       {},
		"internal/bench/table": {},
		"deploy":               {},
	}
	for _, p := range list(t, "./...") {
		name, _ := ours(p.ImportPath)
		allowed, known := may[name]
		if !known {
			t.Errorf("%s is not in the package list yet: add it here and to ARCHITECTURE.md", name)
			continue
		}
		for _, path := range p.Imports {
			imported, isOurs := ours(path)
			if isOurs && allowed != nil && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", name, imported)
			}
			if isOurs && (imported == "internal/testserver" || imported == "internal/harness") {
				t.Errorf("%s imports %s, which is for tests", name, imported)
			}
		}
	}
}

// Few packages may depend on the details of a library.
func TestImports_KeepLibrariesInTheirPackages(t *testing.T) {
	for library, users := range map[string][]string{
		"github.com/hibiken/asynq":    {"tasks", "internal/queue"},
		"github.com/hibiken/asynqmon": {"internal/admin"},
		"github.com/redis/go-redis/v9": {"", "internal/record", "internal/limits", "internal/queue", "internal/redisconn", "internal/admin", "internal/dev",
			"internal/worker", "internal/testserver", "internal/harness", "cmd/worker", "cmd/enqueue"},
		"github.com/go-mail/mail/v2":       {"internal/message"},
		"github.com/pquerna/otp":           {"internal/otpauth"},
		"github.com/skip2/go-qrcode":       {"internal/otpauth"},
		"github.com/spf13/cobra":           {"internal/cli", "cmd/worker", "cmd/enqueue"},
		"github.com/alicebob/miniredis/v2": {"internal/dev"},
	} {
		used := false
		for _, p := range list(t, "./...") {
			name, _ := ours(p.ImportPath)
			if slices.ContainsFunc(p.Imports, func(path string) bool { return path == library || strings.HasPrefix(path, library+"/") }) {
				used = true
				if !slices.Contains(users, name) {
					t.Errorf("%s imports %s", name, library)
				}
			}
		}
		if !used {
			t.Errorf("no package imports %s", library)
		}
	}
}

// Applications and enqueue must not link heavy or delicate packages.
func TestImports_KeepPackagesOutOfPrograms(t *testing.T) {
	for program, banned := range map[string][]string{
		".": {"go.uber.org/zap", "github.com/spf13/cobra", "github.com/knadh/koanf", "github.com/prometheus", "go.opentelemetry.io",
			"github.com/go-mail", "github.com/skip2/go-qrcode", "github.com/alicebob/miniredis"},
		"./tasks": {"go.uber.org/zap", "github.com/prometheus", "github.com/spf13/cobra", "github.com/go-mail", module + "/internal/record",
			module + "/internal/queue"},
		"./cmd/enqueue": {module + "/internal/submission", module + "/internal/worker", "github.com/sony/gobreaker", "github.com/alicebob/miniredis",
			"github.com/prometheus"},
	} {
		for _, dep := range list(t, program)[0].Deps {
			for _, library := range banned {
				if dep == library || strings.HasPrefix(dep, library+"/") {
					t.Errorf("%s reaches %s", program, dep)
				}
			}
		}
	}
}

// The folders at the top are those of ARCHITECTURE.md.
func TestLayout_HasTheKnownFoldersAtTheTop(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains([]string{"cmd", "tasks", "internal", "deploy", "docs", "bin"}, e.Name()) {
			t.Errorf("%s is not in the package list", e.Name())
		}
	}
}

// An exported type that several packages need is in tasks.
func TestLayout_DeclaresEachNounOnce(t *testing.T) {
	// Names that every package may declare.
	common := []string{"Config", "Server", "Options", "Option", "Client", "Store"}
	declared := map[string][]string{}
	for _, p := range list(t, "./...") {
		name, _ := ours(p.ImportPath)
		if name == "internal/testserver" || name == "internal/harness" {
			continue
		}
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range parsed.Decls {
				d, ok := decl.(*ast.GenDecl)
				if !ok || d.Tok != token.TYPE {
					continue
				}
				for _, spec := range d.Specs {
					if typ := spec.(*ast.TypeSpec); typ.Name.IsExported() && !slices.Contains(common, typ.Name.Name) {
						declared[typ.Name.Name] = append(declared[typ.Name.Name], name)
					}
				}
			}
		}
	}
	if len(declared) < 20 {
		t.Fatalf("found %d exported types", len(declared))
	}
	for noun, packages := range declared {
		if len(packages) > 1 && !slices.Contains(twice[noun], strings.Join(packages, " ")) {
			t.Errorf("%s is declared in %s", noun, strings.Join(packages, " and "))
		}
	}
}

// twice has the names that mean different things in different packages.
var twice = map[string][]string{}

// A process that sends real mail must not use a Redis that keeps nothing.
func TestImports_KeepMiniredisForDevelopment(t *testing.T) {
	for _, p := range list(t, "./...") {
		name, _ := ours(p.ImportPath)
		if slices.Contains(p.Deps, "github.com/alicebob/miniredis/v2") && !slices.Contains([]string{"internal/dev", "internal/harness", "cmd/worker"}, name) {
			t.Errorf("%s reaches miniredis", name)
		}
	}
}

// An application could not name such a type.
func TestAPI_NamesNoInternalType(t *testing.T) {
	var paths []string
	for _, public := range []string{".", "./tasks"} {
		p := list(t, public)[0]
		if len(p.GoFiles) == 0 {
			t.Fatalf("%s has no files", public)
		}
		for _, file := range p.GoFiles {
			paths = append(paths, filepath.Join(p.Dir, file))
		}
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		internal := map[string]bool{}
		for _, spec := range file.Imports {
			if path := strings.Trim(spec.Path.Value, `"`); strings.Contains(path, "/internal/") {
				internal[filepath.Base(path)] = true
			}
		}
		check := func(name string, node ast.Node) {
			ast.Inspect(node, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if id, ok := s.X.(*ast.Ident); ok && internal[id.Name] {
						t.Errorf("%s: %s names %s.%s", path, name, id.Name, s.Sel.Name)
					}
				}
				return true
			})
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() {
					check(d.Name.Name, d.Type)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					typ, ok := spec.(*ast.TypeSpec)
					if !ok || !typ.Name.IsExported() {
						continue
					}
					fields, isStruct := typ.Type.(*ast.StructType)
					if !isStruct {
						check(typ.Name.Name, typ.Type)
						continue
					}
					for _, field := range fields.Fields.List {
						if len(field.Names) == 0 || field.Names[0].IsExported() {
							check(typ.Name.Name, field.Type)
						}
					}
				}
			}
		}
	}
}

// A newcomer reads the package comments first.
func TestPackages_HaveAComment(t *testing.T) {
	for _, p := range list(t, "./...") {
		if name, _ := ours(p.ImportPath); len(p.Doc) < 30 && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment, or a very short one: %q", name, p.Doc)
		}
	}
}
