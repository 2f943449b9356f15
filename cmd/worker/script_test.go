package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/testserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"worker": main})
}

// TestWorker_RunsScripts runs each of testdata/*.txtar. Besides the commands of [harness.Scripts] a
// script has the functions below and those of relays_test.go.
func TestWorker_RunsScripts(t *testing.T) {
	harness.Scripts(t, "enqueue", func(env *testscript.Env) error {
		env.Setenv("SECUREMAIL_ADMIN_ADDR", "127.0.0.1:0")
		return nil
	}, map[string]func(*testscript.TestScript, bool, []string){
		"delivered": delivered,
		"dev-relay": startDevRelay,
		"get":       get,
		"received":  received,
		"old-relay": startOldRelay,
		"outcomes":  outcomes,
		"postfix":   startPostfix,
		"redis":     startRedis,
	})
}

// get STATUS URL requests a page until the response has that status, and prints the body.
func get(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: harness.ScriptTime}
	for deadline := time.Now().Add(harness.ScriptTime); ; time.Sleep(5 * time.Millisecond) {
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

// startRedis ARGUMENT... starts a real redis-server with these arguments, and puts it into the
// settings.
func startRedis(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("SECUREMAIL_REDIS_URL", testserver.StartRedis(ts.Value("t").(testing.TB), args...).URL)
}

// outcomes N FILE... reads logs. Every line must be a JSON object with a level, a time and a
// message. N lines must have the outcome of N different mails.
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
