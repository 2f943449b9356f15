package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/securemail/internal/testserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"worker": main})
}

// TestScripts runs testdata/*.txtar: a scenario each, in which worker is the real main in a process of its own, and
// enqueue is built from the folder beside this one. The commands beyond testscript's own are the functions below and
// those of relays_test.go.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../enqueue").CombinedOutput(); err != nil {
		t.Fatalf("go build ../enqueue: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector's own 1000 are most of the time this test would take
			env.Setenv("SECUREMAIL_ADMIN_ADDR", "127.0.0.1:0")
			env.Values["t"], env.Values["env"] = env.T(), env
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":     await,
			"delivered": delivered,
			"dev-relay": startDevRelay,
			"exits":     exits,
			"get":       get,
			"heard":     heard,
			"old-relay": startOldRelay,
			"outcomes":  outcomes,
			"postfix":   startPostfix,
			"redis":     startRedis,
		},
	})
}

// patience is how long anything may take that is awaited.
const patience = 30 * time.Second

// exits CODE PROGRAM ARGUMENT... runs a program, which has to end with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
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

// await FILE PATTERN [VARIABLE] waits until a file matches, and puts the first group into a variable. FILE may be
// stdout or stderr, of the program that ran last.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ended := args[0] == "stdout" || args[0] == "stderr"
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
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

// get STATUS URL asks a server until it answers with that status, and prints the answer.
func get(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: patience}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		response, err := client.Get(args[1])
		ts.Check(err)
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		ts.Check(err)
		if strconv.Itoa(response.StatusCode) == args[0] {
			ts.Stdout().Write(body)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("GET %s: %s", args[1], response.Status)
		}
	}
}

// startRedis starts a real redis-server with further arguments, and makes it the one of the settings.
func startRedis(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("SECUREMAIL_REDIS_URL", testserver.StartRedis(ts.Value("t").(testing.TB), args...).URL)
}

// outcomes N FILE... reads logs, in which every line has to be a JSON object with a level, a time and a message, and
// N lines to tell the outcome of N different mails.
func outcomes(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	seen := map[string]bool{}
	for _, file := range args[1:] {
		for line := range strings.Lines(ts.ReadFile(file)) {
			var entry struct{ Level, Time, Msg, ID, State, To string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Time == "" || entry.Msg == "" {
				ts.Fatalf("%s: %v: %s", file, err, line)
			}
			switch entry.State {
			case "accepted", "refused", "expired", "unknown":
				if entry.ID == "" || seen[entry.ID] || !strings.Contains(entry.To, "***@") {
					ts.Fatalf("%s: no id, a second outcome, or an address that is not masked: %s", file, line)
				}
				seen[entry.ID] = true
			}
		}
	}
	if len(seen) != want {
		ts.Fatalf("got %d outcomes, want %d", len(seen), want)
	}
}
