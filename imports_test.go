package securemail_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/securemail"

// goPackage is what go list says of a package.
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

func ours(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// TestImportsRunDown holds the arrows of ARCHITECTURE.md: who may import whom, among our own packages.
func TestImportsRunDown(t *testing.T) {
	leaf := []string{"internal/secret"}
	may := map[string][]string{
		"internal/secret":     {},
		"internal/keyring":    leaf,
		"internal/credential": leaf,
		"internal/otpauth":    leaf,
		"internal/record":     leaf,
		"internal/message":    leaf,
		"internal/submission": leaf,
		"internal/config":     leaf,
		"internal/dev":        leaf,
		"internal/testserver": leaf,
		"tasks":               {"internal/record", "internal/credential", "internal/keyring", "internal/secret"},
		"internal/worker": {"tasks", "internal/record", "internal/credential", "internal/keyring", "internal/otpauth", "internal/message",
			"internal/submission", "internal/secret"},
		"internal/admin":       {"tasks", "internal/secret"},
		"internal/chaos":       {}, // tests alone, which may import everything
		"internal/bench":       {}, // so is this
		"internal/bench/table": {},
		"deploy":               {},
		"cmd/worker":           nil, // the commands may import everything
		"cmd/enqueue":          nil,
	}
	for _, p := range list(t, "./...") {
		name, isOurs := ours(p.ImportPath)
		if !isOurs {
			continue // this folder
		}
		allowed, known := may[name]
		if !known {
			t.Errorf("%s has no place in the house yet: add it here and to ARCHITECTURE.md", name)
			continue
		}
		for _, path := range p.Imports {
			imported, isOurs := ours(path)
			if isOurs && allowed != nil && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", name, imported)
			}
			if isOurs && imported == "internal/testserver" {
				t.Errorf("%s imports the servers that are for tests", name)
			}
		}
	}
}

// TestWhatAnApplicationLinks keeps heavy and delicate libraries out of the package that applications import.
func TestWhatAnApplicationLinks(t *testing.T) {
	for _, dep := range list(t, "./tasks")[0].Deps {
		for _, library := range []string{"go.uber.org/zap", "github.com/spf13/cobra", "github.com/knadh/koanf", "github.com/prometheus",
			"go.opentelemetry.io", "github.com/go-mail", "github.com/skip2/go-qrcode", "github.com/alicebob/miniredis"} {
			if strings.HasPrefix(dep, library) {
				t.Errorf("tasks reaches %s", dep)
			}
		}
	}
}

// TestMiniredisIsForDevelopment keeps a Redis that forgets everything away from whatever sends mail.
func TestMiniredisIsForDevelopment(t *testing.T) {
	for _, p := range list(t, "./...") {
		name, _ := ours(p.ImportPath)
		if slices.Contains(p.Deps, "github.com/alicebob/miniredis/v2") && name != "internal/dev" && name != "cmd/worker" {
			t.Errorf("%s reaches miniredis", name)
		}
	}
}

// TestNoExportedSignatureOfTasksNamesAnInternalType: an application could not write such a type's name.
func TestNoExportedSignatureOfTasksNamesAnInternalType(t *testing.T) {
	paths := list(t, "./tasks")[0].GoFiles
	if len(paths) == 0 {
		t.Fatal("tasks has no files")
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("tasks", path), nil, 0)
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
						t.Errorf("tasks.%s names %s.%s", name, id.Name, s.Sel.Name)
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

// TestEveryPackageSaysWhatItIsFor: a newcomer reads these first.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t, "./...") {
		if name, isOurs := ours(p.ImportPath); isOurs && len(p.Doc) < 40 && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment, or a very short one: %q", name, p.Doc)
		}
	}
}
