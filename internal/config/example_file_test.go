package config_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/securemail/internal/config"
)

const exampleFile = "../../deploy/config.example.yaml"

// exampleLine matches a setting of the example, "name: value", also commented out, and the name of
// a section, "name:".
var exampleLine = regexp.MustCompile(`^( *)(# )?([a-z0-9_]+):( .*)?$`)

// example returns the settings of the example file, also those that are commented out: the line of
// each, by name.
func example(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	section := ""
	for n, line := range strings.Split(string(content), "\n") {
		parts := exampleLine.FindStringSubmatch(line)
		if parts == nil {
			continue
		}
		indent, key, value := parts[1], parts[3], strings.TrimSpace(parts[4])
		switch {
		case indent == "" && value == "":
			section = key + "."
			continue
		case indent == "":
			section = ""
		}
		if _, twice := found[section+key]; twice {
			t.Errorf("%s:%d: %s is repeated", exampleFile, n+1, section+key)
		}
		found[section+key] = indent + key + ": " + value
	}
	return found
}

// The example has every setting and nothing else. A setting with a useful default is commented out.
func TestExampleFile_HasEverySetting(t *testing.T) {
	found := example(t)
	known := map[string]bool{}
	for name := range flat(config.Config{}) {
		known[name] = true
	}
	for _, name := range secrets() {
		known[name+"_file"] = true
	}
	for name := range found {
		if !known[name] {
			t.Errorf("%s: no setting has the name %s; a comment must not look like one", exampleFile, name)
		}
	}
	for name := range flat(config.Config{}) {
		_, here := found[name]
		_, asFile := found[name+"_file"]
		if !here && !asFile {
			t.Errorf("%s: %s is missing; write it in its section, or commented out as: # name: value", exampleFile, name)
		}
	}
}

// The example loads as it is, and with every setting uncommented. The files of its secrets do not
// exist here, so the test replaces their names by secrets.
func TestExampleFile_Loads(t *testing.T) {
	found := example(t)
	var top, rest strings.Builder
	section := ""
	for _, name := range slices.Sorted(maps.Keys(found)) {
		line := found[name]
		if strings.Contains(name, ".oauth2_") { // instead of the password
			continue
		}
		if secret, isFile := strings.CutSuffix(name, "_file"); isFile && slices.Contains(secrets(), secret) {
			if _, both := found[secret]; both {
				continue
			}
			line = strings.Replace(line, line[strings.LastIndex(line, "_file:"):], ": "+values[secret], 1)
		}
		in, _, inSection := strings.Cut(name, ".")
		if !inSection {
			top.WriteString(line + "\n")
			continue
		}
		if in != section {
			rest.WriteString(in + ":\n")
			section = in
		}
		rest.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	uncommented := top.String() + rest.String()
	if _, err := config.Load(config.Worker, write(t, "config.yaml", uncommented), nil, nil); err != nil {
		t.Errorf("%s, uncommented: %v\n%s", exampleFile, err, uncommented)
	}

	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	asIs := string(content)
	for _, name := range secrets() {
		key := name[strings.LastIndex(name, ".")+1:]
		asIs = regexp.MustCompile(`(?m)^( *)`+key+`_file: .*$`).ReplaceAllString(asIs, "${1}"+key+": "+values[name])
	}
	if _, err := config.Load(config.Worker, write(t, "config.yaml", asIs), nil, nil); err != nil {
		t.Errorf("%s, as it is: %v", exampleFile, err)
	}
}
