package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"enqueue": main})
}

// TestScripts runs testdata/*.txtar: a scenario each, in which enqueue is the real main in a process of its own, and
// worker is built from the folder beside this one. The commands beyond testscript's own are the functions below.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../worker").CombinedOutput(); err != nil {
		t.Fatalf("go build ../worker: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector's own 1000 are most of the time this test would take
			env.Setenv("NEWLINE", "\n")                // which a script cannot write in a line
			env.Values["t"], env.Values["env"] = env.T(), env
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":     await,
			"dev":       dev,
			"exits":     exits,
			"get":       get,
			"jsonlines": jsonLines,
			"misuse":    misuse,
			"redis":     startRedis,
		},
	})
}

// patience is how long anything may take that is awaited.
const patience = 30 * time.Second

// exits CODE PROGRAM ARGUMENT... runs a program, which has to end with this exit code, and within ten seconds: somebody
// sits at the terminal.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	begun := time.Now()
	err = ts.Exec(args[1], args[2:]...)
	if took := time.Since(begun); took > 10*time.Second {
		ts.Fatalf("it took %v", took)
	}
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

// misuse ARGUMENT... runs enqueue, which has to call this wrong use: exit code 2, nothing on standard output, an error
// without the address (those in the scripts contain "canary"), and nothing at all written to Redis.
func misuse(ts *testscript.TestScript, _ bool, args []string) {
	exits(ts, false, append([]string{"2", "enqueue"}, args...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output: %q", out)
	}
	if text := ts.ReadFile("stderr"); text == "" || strings.Contains(text, "canary") {
		ts.Fatalf("standard error is empty or repeats the address: %q", text)
	}
	if server, ok := ts.Value("redis").(*miniredis.Miniredis); !ok || len(server.Keys()) > 0 {
		ts.Fatalf("Redis is not there, or something was written to it")
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

// startRedis starts a Redis that no worker serves, and makes it the one of the settings. With an argument it wants that password.
func startRedis(ts *testscript.TestScript, _ bool, args []string) {
	server := miniredis.NewMiniRedis()
	ts.Check(server.Start())
	ts.Defer(server.Close)
	for _, password := range args {
		server.RequireAuth(password)
	}
	ts.Value("env").(*testscript.Env).Values["redis"] = server
	ts.Setenv("SECUREMAIL_REDIS_URL", "redis://"+server.Addr())
}

// dev runs worker dev until the script ends, and makes its Redis the one of the settings. $INBOX is its inbox.
func dev(ts *testscript.TestScript, _ bool, _ []string) {
	t := ts.Value("t").(testing.TB)
	out, err := os.Create(ts.MkAbs("dev.out"))
	ts.Check(err)
	defer out.Close()
	free := "127.0.0.1:0"
	process := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "worker"), "dev", "--redis-addr", free, "--smtps-addr", free,
		"--submission-addr", free, "--inbox-addr", free, "--admin-addr", free)
	process.Env = []string{"TMPDIR=" + ts.Getenv("TMPDIR")}
	process.Stdout, process.Stderr = out, out
	ts.Check(process.Start())
	ts.Defer(func() {
		process.Process.Signal(syscall.SIGINT)
		hung := time.AfterFunc(patience, func() { process.Process.Kill() })
		defer hung.Stop()
		if err := process.Wait(); err != nil {
			t.Errorf("worker dev after SIGINT: %v", err)
		}
	})
	await(ts, false, []string{"dev.out", `^Redis +(redis://\S+)`, "SECUREMAIL_REDIS_URL"})
	await(ts, false, []string{"dev.out", `^Inbox +(http://\S+)`, "INBOX"})
}

// get URL prints what a server answers.
func get(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: patience}
	response, err := client.Get(args[0])
	ts.Check(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("GET %s: %s", args[0], response.Status)
	}
	_, err = io.Copy(ts.Stdout(), response.Body)
	ts.Check(err)
}

// jsonLines wants standard output to be one JSON object a line, and prints their members one a line, as state=accepted.
func jsonLines(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range bytes.Lines([]byte(ts.ReadFile("stdout"))) {
		var object map[string]any
		ts.Check(json.Unmarshal(line, &object))
		for name, value := range object {
			fmt.Fprintf(ts.Stdout(), "%s=%v\n", name, value)
		}
	}
}
