package securemail_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/testserver"
)

// documented says for each block of commands in README.md and docs/ which test runs it, by the block's
// first line. except are its lines that no test can run, with the reason.
var documented = []struct {
	file, first, test string
	except            map[string]string
}{
	{"README.md", "$ go run ./cmd/worker dev", "TestReadme_Transcript", nil},
	{"README.md", "enqueue key|code|totp ADDRESS", "TestCommands_AndFlagsOfTheDocumentsExist", nil},
	{"README.md", "make build && bin/worker keyring new -o keyring", "TestReadme_Provider", map[string]string{
		"(umask 077; cat >app-password)": "a person pastes it",
		"bin/worker check && bin/worker": "it takes a real Gmail login"}},
	{"docs/derivation.md", "python3 deploy/examples", "TestDerivation_PythonComputesTheVectors", nil},
	{"docs/derivation.md", "{\"kind\": \"key\"", "TestDerivation_ExcerptsAreVectors", nil},
	{"docs/derivation.md", "{\"v\": 2", "TestDerivation_ExcerptsAreVectors", nil},
	{"docs/derivation.md", "{\"idempotency_secret\": ", "TestDerivation_ExcerptsAreVectors", nil},
	{"docs/derivation.md", "{\"id\": \"0123456789abcdef\", \"reference\"", "TestDerivation_ExcerptsAreVectors", nil},
	{"docs/go.md", "go mod edit", "TestAModuleElsewhereRunsTheExample", nil},
	{"docs/operations.md", "make build", "TestOperations_Start", nil},
	{"docs/operations.md", "redis://user:password@host:6379/0", "TestOperations_RedisURLs", nil},
	{"docs/operations.md", "redis-server --dir /var/lib/redis", "TestOperations_Restore", nil},
	{"docs/operations.md", "worker keyring list", "TestOperations_RotateTheKeyRing", nil},
	{"docs/failover.md", "min-replicas-to-write 1", "TestFailover_RedisConf", nil},
	{"docs/redis-users.md", "umask 077", "TestACL_IsSetUpAsTheDocumentSays", nil},
	{"docs/decisions/asynq.md", "go get github.com/hibiken/asynq@latest", "", map[string]string{
		"go get github.com/hibiken/asynq@latest":             "it changes go.mod",
		"go test ./internal/queue ./tasks ./internal/worker": "make test runs these packages",
		"make chaos": "it takes 35 minutes; make test runs its short form"}},
}

func TestDocs_EveryCommandIsRunByATest(t *testing.T) {
	used, tests := map[string]bool{}, ""
	for _, file := range append(glob(t, "*_test.go"), glob(t, "deploy/*_test.go")...) {
		tests += read(t, file)
	}
	for _, file := range documents(t) {
		if file != "README.md" && !strings.HasPrefix(file, "docs/") {
			continue
		}
		_, blocks := split(t, file)
		for _, b := range blocks {
			if b.language == "go" {
				continue // TestDocs_GoIsThatOfTheExamples
			}
			i := slices.IndexFunc(documented, func(c struct {
				file, first, test string
				except            map[string]string
			}) bool {
				return c.file == file && strings.HasPrefix(b.text, c.first)
			})
			if i < 0 {
				t.Errorf("%s:%d: no test runs this: run it in one, and add it to documented", file, b.line)
				continue
			}
			used[documented[i].file+documented[i].first] = true
			for line, reason := range documented[i].except {
				if !strings.Contains(b.text, line) || reason == "" {
					t.Errorf("%s:%d: the exception %q is not in it, or has no reason", file, b.line, line)
				}
			}
			if test := documented[i].test; test != "" && !strings.Contains(tests, "func "+test+"(") ||
				test == "" && len(documented[i].except) < strings.Count(b.text, "\n") {
				t.Errorf("%s:%d: there is no test %q", file, b.line, test)
			}
		}
	}
	for _, c := range documented {
		if !used[c.file+c.first] {
			t.Errorf("%s has no block that begins with %s", c.file, c.first)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	return paths
}

// commandsOf returns the block of a document that begins with a text, without the lines that cannot
// be run.
func commandsOf(t *testing.T, file, first string) string {
	t.Helper()
	_, blocks := split(t, file)
	for _, b := range blocks {
		if !strings.HasPrefix(b.text, first) {
			continue
		}
		text := b.text
		for _, c := range documented {
			if c.file == file && strings.HasPrefix(b.text, c.first) {
				for line := range c.except {
					text = regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(line)+`.*\n`).ReplaceAllString(text, "")
				}
			}
		}
		return text
	}
	t.Fatalf("%s has no block that begins with %s", file, first)
	return ""
}

// programs builds both commands into a folder named bin, and returns the folder around it.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	output(t, "go", "build", "-o", filepath.Join(dir, "bin")+"/", "./cmd/worker", "./cmd/enqueue")
	return dir
}

// shell runs a script in a folder, with programs of the folder's bin before all others.
func shell(t *testing.T, dir, script string, environ ...string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH")), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return string(out)
}

var (
	mailID    = regexp.MustCompile(`[0-9a-z]{26}`)
	codeTyped = regexp.MustCompile(`\b\d{4} \d{4}\b`)
)

// newestMail returns the text of the newest mail in an inbox of worker dev.
func newestMail(t *testing.T, inbox string) string {
	t.Helper()
	response, err := http.Get(inbox + "/api/v1/message/latest")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var mail struct{ Text string }
	if err != nil || json.Unmarshal(body, &mail) != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return mail.Text
}

// The test types what README.md shows, and compares what is printed. Other ids, paths and ports are
// as good.
func TestReadme_Transcript(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dev := testserver.StartDev(t)
	rings := glob(t, filepath.Join(os.Getenv("TMPDIR"), "securemail-dev-*/keyring"))
	steps := strings.Split(commandsOf(t, "README.md", "$ go run ./cmd/worker dev"), "$ ")[1:]
	if len(steps) != 4 || !strings.HasPrefix(steps[0], "go run ./cmd/worker dev\n") {
		t.Fatalf("the transcript has %d commands, want worker dev and three more", len(steps))
	}
	id := ""
	for _, step := range steps[1:] {
		command, want, _ := strings.Cut(step, "\n")
		command = regexp.MustCompile(`/tmp/\S+`).ReplaceAllString(command, rings[0])
		if id != "" {
			command = mailID.ReplaceAllString(command, id)
			want = mailID.ReplaceAllString(want, id)
		}
		answer := ""
		if strings.Contains(command, " verify ") {
			answer = codeTyped.FindString(newestMail(t, dev.InboxURL))
			want = strings.Replace(want, "Answer:\n", "", 1) // the prompt is for a terminal
		}
		got := shell(t, ".", "echo "+answer+" | "+command, "SECUREMAIL_REDIS_URL=redis://"+dev.RedisAddr)
		if id == "" {
			id = mailID.FindString(got)
			want = mailID.ReplaceAllString(want, id)
		}
		// Where the mail is slow, its states before accepted are printed too.
		for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
			if !slices.Contains(strings.Split(got, "\n"), line) {
				t.Errorf("%s: got\n%swant the line %q", command, got, line)
			}
		}
	}
}

// The test has the two handlers of README.md sign somebody in.
func TestReadme_Go(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dev := testserver.StartDev(t)
	rdb := redis.NewClient(&redis.Options{Addr: dev.RedisAddr, ContextTimeoutEnabled: true})
	defer rdb.Close()
	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile(glob(t, filepath.Join(os.Getenv("TMPDIR"), "securemail-dev-*/keyring"))[0]))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	id, err := sendCode(ctx, client, "alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Wait(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := checkCode(ctx, client, id, "alice@example.com", codeTyped.FindString(newestMail(t, dev.InboxURL))); err != nil {
		t.Errorf("the code of the mail: %v", err)
	}
}

// The test runs the lines of README.md for Gmail, and loads the settings that they make.
func TestReadme_Provider(t *testing.T) {
	dir := programs(t)
	script := strings.Replace(commandsOf(t, "README.md", "make build && bin/worker keyring new"), "make build", "true", 1)
	out := shell(t, dir, "echo 'abcd efgh ijkl mnop' >app-password\n"+script+"env\n")
	t.Chdir(dir)
	c, err := config.Load(config.Worker, "", strings.Split(out, "\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.SMTP.Host != "smtp.gmail.com" || c.SMTP.Port != 465 || c.SMTP.Username != "you@gmail.com" {
		t.Errorf("got the relay %s:%d for %s", c.SMTP.Host, c.SMTP.Port, c.SMTP.Username)
	}
}

// The test runs the lines of operations.md with a settings file of its own: check says what is wrong,
// and run what it could not connect to.
func TestOperations_Start(t *testing.T) {
	dir := programs(t)
	shell(t, dir, "worker keyring new -o keyring")
	settings := "from: no-reply@example.com\nkeyring_file: keyring\nredis: {url: 'redis://127.0.0.1:1'}\nsmtp: {host: 127.0.0.1, port: 465}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(commandsOf(t, "docs/operations.md", "make build")), "\n")
	if lines[0] != "make build" || !strings.Contains(read(t, "Makefile"), "\nbuild:") || len(lines) != 3 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []string{"ok    key ring", "Redis at 127.0.0.1:1 cannot be used"} {
		line := strings.Replace(lines[i+1], "/etc/securemail/config.yaml", "config.yaml", 1)
		if out := shell(t, dir, line+" || true"); !strings.Contains(out, want) {
			t.Errorf("%s: got %s, want %s", line, out, want)
		}
	}
}

func TestOperations_RedisURLs(t *testing.T) {
	for _, url := range strings.Fields(commandsOf(t, "docs/operations.md", "redis://user")) {
		if _, err := config.Load(config.Producer, "", nil, map[string]string{"redis.url": url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// The test restores a dump.rdb with the commands of operations.md.
func TestOperations_Restore(t *testing.T) {
	program, cli := testserver.Need(t, "redis-server", "redis-server"), testserver.Need(t, "redis-cli", "redis-tools")
	dir, err := os.MkdirTemp("", "restore") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	for name, script := range map[string]string{
		"redis-server": "exec " + program + " \"$@\" --port 0 --unixsocket " + dir + "/s\n",
		"redis-cli":    "for i in 1 2 3 4 5 6 7 8 9; do [ -S " + dir + "/s ] || sleep 1; done\nexec " + cli + " -s " + dir + "/s \"$@\"\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer shell(t, dir, "redis-cli SHUTDOWN NOSAVE >/dev/null 2>&1 || true")
	shell(t, dir, "mkdir data; redis-server --dir "+data+" --daemonize yes; redis-cli SET kept yes; redis-cli SAVE; redis-cli SHUTDOWN NOSAVE; rm -f s")

	restore := strings.ReplaceAll(commandsOf(t, "docs/operations.md", "redis-server --dir"), "/var/lib/redis", data)
	shell(t, dir, restore+"rm -f s dump.rdb\n")
	usual := "redis-server --dir " + data + " --appendonly yes --daemonize yes; redis-cli GET kept; redis-cli SHUTDOWN NOSAVE; rm -f s"
	if out := shell(t, dir, usual); !strings.Contains(out, "yes\n") {
		t.Errorf("after the restore: got %s, want yes", out)
	}
	// The document says what happens without.
	if out := shell(t, dir, "rm -r "+data+"/appendonly*; "+usual); strings.Contains(out, "yes\n") {
		t.Errorf("this Redis reads dump.rdb with appendonly yes; the document says that it starts empty")
	}
}

func TestOperations_RotateTheKeyRing(t *testing.T) {
	dir := programs(t)
	shell(t, dir, "worker keyring new -o keyring")
	first := strings.Fields(shell(t, dir, "worker keyring list -o keyring"))[0]
	var added string
	for _, line := range strings.Split(strings.TrimSpace(commandsOf(t, "docs/operations.md", "worker keyring list")), "\n") {
		id := added
		if strings.Contains(line, " remove ") {
			id = first
		}
		out := shell(t, dir, strings.Replace(line, "KEY-ID", id, 1))
		if strings.Contains(line, " add ") {
			added = regexp.MustCompile(`activate (\S+) -o`).FindStringSubmatch(out)[1]
		}
	}
	if out := shell(t, dir, "worker keyring list -o keyring"); !strings.HasPrefix(out, added) || strings.Contains(out, first) {
		t.Errorf("the ring has %s, want %s alone", out, added)
	}
}

func TestFailover_RedisConf(t *testing.T) {
	var args []string
	for _, line := range strings.Split(strings.TrimSpace(commandsOf(t, "docs/failover.md", "min-replicas")), "\n") {
		name, value, _ := strings.Cut(line, " ")
		args = append(args, "--"+name, value)
	}
	r := testserver.StartRedis(t, args...)
	if err := r.Client.Set(t.Context(), "k", "v", 0).Err(); !redis.HasErrorPrefix(err, "NOREPLICAS") {
		t.Errorf("without replicas: got %v, want NOREPLICAS", err)
	}
}

// Commands in a sentence, and those that show a form, name commands and flags that there are.
func TestCommands_AndFlagsOfTheDocumentsExist(t *testing.T) {
	dir := programs(t)
	help := map[string]string{}
	helpOf := func(words ...string) string {
		key := strings.Join(words, " ")
		if _, known := help[key]; !known {
			out, err := exec.Command(filepath.Join(dir, "bin", words[0]), append(words[1:], "--help")...).CombinedOutput()
			if err != nil {
				out = nil
			}
			help[key] = string(out)
		}
		return help[key]
	}
	flag := regexp.MustCompile(`--[a-z-]+`)
	word := regexp.MustCompile(`^[a-z]+$`)
	makefile, checked := read(t, "Makefile"), 0
	check := func(where, span string) {
		words := strings.Fields(strings.NewReplacer("go run ./cmd/", "", "bin/", "", "[", " ", "]", " ").Replace(span))
		switch {
		case len(words) > 1 && words[0] == "make":
			checked++
			if !strings.Contains(makefile, "\n"+words[1]+":") {
				t.Errorf("%s: the Makefile has no %s", where, words[1])
			}
		case len(words) > 1 && (words[0] == "worker" || words[0] == "enqueue"):
			checked++
			for _, name := range strings.Split(words[1], "|") {
				path := []string{words[0]}
				if word.MatchString(name) {
					path = append(path, name)
				}
				if len(words) > 2 && name == "keyring" && word.MatchString(words[2]) {
					path = append(path, words[2])
				}
				text := helpOf(path...)
				if text == "" || !strings.Contains(text, "\n  "+strings.Join(path, " ")) {
					t.Errorf("%s: there is no %s", where, strings.Join(path, " "))
				}
				for _, f := range flag.FindAllString(span, -1) {
					if !strings.Contains(text, f+" ") && !strings.Contains(text, f+"\n") {
						t.Errorf("%s: %s has no %s", where, strings.Join(path, " "), f)
					}
				}
			}
		}
	}
	for _, file := range documents(t) {
		if file == "CHANGELOG.md" || file == "docs/providers.md" {
			continue
		}
		prose, blocks := split(t, file)
		for _, span := range code.FindAllString(strings.Join(prose, "\n"), -1) {
			if span != "`worker started`" { // a line of the log
				check(file, strings.Trim(span, "`"))
			}
		}
		for _, b := range blocks {
			if file == "ARCHITECTURE.md" { // its blocks are drawings
				continue
			}
			for _, line := range strings.Split(b.text, "\n") {
				line, _, _ = strings.Cut(line, "  #")
				check(b.file, strings.TrimPrefix(line, "$ "))
			}
		}
	}
	if checked < 30 {
		t.Errorf("checked %d commands", checked)
	}
}
