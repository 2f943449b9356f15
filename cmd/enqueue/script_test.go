package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"example.com/securemail/internal/harness"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"enqueue": main})
}

// TestEnqueue_RunsScripts runs each of testdata/*.txtar. Besides the commands of [harness.Scripts]
// a script has the functions below.
func TestEnqueue_RunsScripts(t *testing.T) {
	harness.Scripts(t, "worker", func(env *testscript.Env) error {
		env.Setenv("NEWLINE", "\n") // a script cannot write one in a line
		return nil
	}, map[string]func(*testscript.TestScript, bool, []string){
		"dev":       dev,
		"exits":     exits,
		"get":       get,
		"hset":      hset,
		"jsonlines": jsonLines,
		"misuse":    misuse,
		"redis":     startRedis,
	})
}

// exits is [harness.Exits] for a program that must end within ten seconds, because a person waits
// at the terminal.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	begun := time.Now()
	harness.Exits(ts, neg, args)
	if took := time.Since(begun); took > 10*time.Second {
		ts.Fatalf("the program took %v", took)
	}
}

// misuse ARGUMENT... runs enqueue and expects wrong use: exit code 2, nothing on standard output,
// an error that does not hold "canary", which is in every address of the scripts, and no key in
// Redis.
func misuse(ts *testscript.TestScript, _ bool, args []string) {
	exits(ts, false, append([]string{"2", "enqueue"}, args...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output: %q", out)
	}
	if text := ts.ReadFile("stderr"); text == "" || strings.Contains(text, "canary") {
		ts.Fatalf("standard error is empty or repeats the address: %q", text)
	}
	if server, ok := ts.Value("redis").(*miniredis.Miniredis); !ok || len(server.Keys()) > 0 {
		ts.Fatalf("there is no Redis, or it has keys")
	}
}

// startRedis [PASSWORD] starts a Redis without a worker, and puts it into the settings. It requires
// the password if one is given.
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

// hset KEY FIELD VALUE... writes a record into the Redis of the script.
func hset(ts *testscript.TestScript, _ bool, args []string) {
	ts.Value("redis").(*miniredis.Miniredis).HSet(args[0], args[1:]...)
}

// dev runs `worker dev` until the script ends, and puts its Redis into the settings. $INBOX is its
// inbox.
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
		hung := time.AfterFunc(harness.ScriptTime, func() { process.Process.Kill() })
		defer hung.Stop()
		if err := process.Wait(); err != nil {
			t.Errorf("worker dev after SIGINT: %v", err)
		}
	})
	harness.Await(ts, false, []string{"dev.out", `^Redis +(redis://\S+)`, "SECUREMAIL_REDIS_URL"})
	harness.Await(ts, false, []string{"dev.out", `^Inbox +(http://\S+)`, "INBOX"})
}

// get URL requests a page, which must exist, and prints it.
func get(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: harness.ScriptTime}
	response, err := client.Get(args[0])
	ts.Check(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("GET %s: %s", args[0], response.Status)
	}
	_, err = io.Copy(ts.Stdout(), response.Body)
	ts.Check(err)
}

// jsonLines requires standard output to be one JSON object a line, and prints each member on a
// line, such as state=accepted.
func jsonLines(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range bytes.Lines([]byte(ts.ReadFile("stdout"))) {
		var object map[string]any
		ts.Check(json.Unmarshal(line, &object))
		for name, value := range object {
			fmt.Fprintf(ts.Stdout(), "%s=%v\n", name, value)
		}
	}
}
