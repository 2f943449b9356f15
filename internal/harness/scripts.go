package harness

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// ScriptTime bounds every wait of a script.
const ScriptTime = 30 * time.Second

// Scripts runs testdata/*.txtar of a command's folder. Each file is a scenario. In it the command
// is a separate process with its real main function; TestMain must call testscript.Main for that.
// Scripts builds the other command from the folder beside it. setenv prepares the environment of a
// script. Besides testscript's own commands a script has cmds, and [Await] and [Exits] under the
// names await and exits, unless cmds replaces them. A command finds the test in the value "t" and
// the script's environment in the value "env".
func Scripts(t *testing.T, otherCommand string, setenv func(*testscript.Env) error,
	cmds map[string]func(*testscript.TestScript, bool, []string)) {
	bin, source := t.TempDir(), "../"+otherCommand
	if out, err := exec.Command("go", "build", "-o", bin, source).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", source, err, out)
	}
	all := map[string]func(*testscript.TestScript, bool, []string){"await": Await, "exits": Exits}
	maps.Copy(all, cmds)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			// By default the race detector waits a second at every exit, which would be most of the
			// test's time.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			env.Values["t"], env.Values["env"] = env.T(), env
			return setenv(env)
		},
		Cmds: all,
	})
}

// Exits runs a program, and fails unless it ends with the exit code. In a script: exits CODE
// PROGRAM ARGUMENT...
func Exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

// Await waits until a file matches a pattern, and puts the first group into a variable. FILE may be
// stdout or stderr of the program that ran last, which must match at once. In a script: await FILE
// PATTERN [VARIABLE]
func Await(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ended := args[0] == "stdout" || args[0] == "stderr"
	for deadline := time.Now().Add(ScriptTime); ; time.Sleep(5 * time.Millisecond) {
		text := []byte(nil)
		if ended {
			text = []byte(ts.ReadFile(args[0]))
		} else if text, err = os.ReadFile(ts.MkAbs(args[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Check(err)
		}
		if found := pattern.FindSubmatch(text); found != nil {
			if len(args) > 2 {
				ts.Setenv(args[2], string(found[1]))
			}
			return
		}
		if ended || time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s:\n%s", args[0], args[1], text)
		}
	}
}
