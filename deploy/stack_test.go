package deploy_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const root = ".." // of the repository

// stack is one run of docker-compose.yml, in a copy of an operator's folder.
type stack struct {
	t                    *testing.T
	dir                  string
	compose              []string // the command
	environ              []string
	redisPort, adminPort string
}

// override has what only the test needs: a build that fetches Go modules as the host does, and the
// relay on the host, whose certificate is self-signed.
const override = `
services:
  keyring: {build: {network: host}}
  worker:
    build: {network: host}
    extra_hosts: ["` + relayName + `:host-gateway"]
    volumes: ["./ca.pem:/etc/securemail/ca.pem:ro"]
`

func newStack(t *testing.T, ca []byte) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), compose: []string{"docker-compose"}}
	if exec.Command("docker", "compose", "version").Run() == nil {
		s.compose = []string{"docker", "compose"}
	}
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "SECUREMAIL_") && !strings.HasPrefix(line, "COMPOSE_") {
			s.environ = append(s.environ, line)
		}
	}
	project := "COMPOSE_PROJECT_NAME=securemail-test-" + strconv.Itoa(os.Getpid())
	s.environ = append(s.environ, project, "GOPROXY="+s.run("go", "env", "GOPROXY"))

	for _, folder := range []string{"cmd", "deploy", "internal", "tasks"} {
		if err := os.CopyFS(filepath.Join(s.dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the root has no Go files: %v", err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	for _, file := range append(files, "go.mod", "go.sum", ".dockerignore", "docker-compose.yml") {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		s.write(file, string(content))
	}
	s.write("ca.pem", string(ca))
	// The container runs as another user.
	if err := os.Chmod(filepath.Join(s.dir, "ca.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.write("docker-compose.override.yml", override)
	s.write("relay-password", relayPassword+"\n")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			logs, _ := s.command(ctx, s.composeArgs("logs", "worker", "redis")...).CombinedOutput()
			t.Logf("%s", logs)
		}
		if out, err := s.command(ctx, s.composeArgs("down", "-v")...).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return s
}

// build builds the image, because `up` alone would use an old one. It then chooses the ports, as
// late as possible, because other programs may use them.
func (s *stack) build() {
	s.t.Helper()
	s.run(s.composeArgs("build")...)
	s.redisPort, s.adminPort = freePort(s.t), freePort(s.t)
	s.environ = append(s.environ, "REDIS_PORT="+s.redisPort, "ADMIN_PORT="+s.adminPort)
}

// useRelay writes the .env file.
func (s *stack) useRelay(port, tls string) {
	s.t.Helper()
	s.write(".env", "SECUREMAIL_FROM=Example <"+relayUser+">\n"+
		"SECUREMAIL_SMTP_HOST="+relayName+"\n"+
		"SECUREMAIL_SMTP_PORT="+port+"\n"+
		"SECUREMAIL_SMTP_TLS="+tls+"\n"+
		"SECUREMAIL_SMTP_USERNAME="+relayUser+"\n"+
		"SECUREMAIL_SMTP_CA_FILE=/etc/securemail/ca.pem\n")
}

func (s *stack) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) composeArgs(args ...string) []string {
	return append(append([]string{}, s.compose...), args...)
}

func (s *stack) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.environ
	return cmd
}

// run returns what a command printed on its standard output. The command must succeed.
func (s *stack) run(args ...string) string {
	s.t.Helper()
	cmd := s.command(s.t.Context(), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// up starts everything, and returns when the worker is ready.
func (s *stack) up() {
	s.t.Helper()
	s.run(s.composeArgs("up", "-d")...)
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := http.Get(s.adminURL("/readyz"))
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the worker is not ready 30 s after its start; /readyz: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *stack) adminURL(path string) string { return "http://127.0.0.1:" + s.adminPort + path }

// secret returns a secret that the init service created.
func (s *stack) secret(name string) string {
	s.t.Helper()
	return s.run(s.composeArgs("run", "--rm", "-T", "init", "cat", "/secrets/"+name)...)
}

// monitor requests a page of /monitor.
func (s *stack) monitor(path, password string) (status int, body string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.adminURL("/monitor"+path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if password != "" {
		request.SetBasicAuth("operator", password)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}
