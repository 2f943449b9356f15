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

// A setting in the example: its name and a value, or commented out as "# name: value". A section's name has no value.
var exampleLine = regexp.MustCompile(`^( *)(# )?([a-z0-9_]+):( .*)?$`)

// example reads the example file: its lines that are settings, by name, uncommented.
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
			t.Errorf("%s:%d: %s is there twice", exampleFile, n+1, section+key)
		}
		found[section+key] = indent + key + ": " + value
	}
	return found
}

// TestTheExampleHoldsEverySetting, and nothing that is none. A setting with a useful default is commented out there.
func TestTheExampleHoldsEverySetting(t *testing.T) {
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

// TestTheExampleLoads as it stands, and with every setting in it uncommented. What it reads secrets from is not here,
// so those stand in the file themselves.
func TestTheExampleLoads(t *testing.T) {
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
