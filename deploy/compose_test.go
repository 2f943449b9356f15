// Package deploy_test runs docker-compose.yml as an operator does, and sends mails to a submission
// server on the host. That needs Docker, some minutes and TEST_COMPOSE=1:
//
//	TEST_COMPOSE=1 go test -count=1 -v ./deploy
package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

func TestCompose_SendsMails(t *testing.T) {
	if os.Getenv("TEST_COMPOSE") != "1" {
		t.Skip("TEST_COMPOSE=1 runs docker-compose.yml; it needs Docker and docker-compose")
	}
	// This is the address of host-gateway in the override file.
	gateway, err := exec.Command("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").CombinedOutput()
	if err != nil {
		t.Fatalf("docker: %v: %s", err, gateway)
	}
	relay := startRelay(t, strings.TrimSpace(string(gateway)))
	s := newStack(t, relay.certificate)
	t.Log(s.run(s.composeArgs("version", "--short")...), strings.Join(s.compose, " "))
	enqueue := filepath.Join(s.dir, "enqueue")
	s.run("go", "build", "-o", enqueue, "./cmd/enqueue")

	s.build()
	s.useRelay(relay.implicitPort, "implicit")
	s.up()
	redisPassword, adminPassword := s.secret("redis-password"), s.secret("admin-password")
	redisURL := "redis://:" + redisPassword + "@127.0.0.1:" + s.redisPort
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()

	s.checkHardening()
	s.checkRedis(rdb)
	s.checkAccepted(s.run(s.composeArgs("exec", "-T", "worker", "enqueue", "code", "carol@example.com", "--wait")...))
	id := s.checkAccepted(s.run(enqueue, "--redis", redisURL, "key", "alice@example.com", "--wait"))
	s.checkMonitor(rdb, id, adminPassword)
	if out := s.run(s.composeArgs("run", "--rm", "-T", "worker", "check")...); strings.Contains(out, "FAIL") {
		t.Errorf("worker check: %s", out)
	}
	ring := s.keyRing()

	begun := time.Now()
	s.run(s.composeArgs("stop")...)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("stop took %v without a mail in flight, want a few seconds", took)
	}
	s.run(s.composeArgs("down")...)
	s.useRelay(relay.startTLSPort, "starttls")
	s.up()
	if s.secret("redis-password") != redisPassword || s.secret("admin-password") != adminPassword || s.keyRing() != ring {
		t.Error("a password or the key ring has changed after down and up")
	}
	if status := s.run(enqueue, "--redis", redisURL, "status", id); !strings.Contains(status, "accepted") {
		t.Errorf("the mail from before down and up: got %s, want accepted", status)
	}
	s.checkAccepted(s.run(enqueue, "--redis", redisURL, "totp", "bob@example.com", "--wait"))
	for _, recipient := range []string{"alice@example.com", "bob@example.com", "carol@example.com"} {
		if n := relay.took(recipient); n != 1 {
			t.Errorf("the relay accepted %d mails to %s, want 1", n, recipient)
		}
	}
}

// checkAccepted checks what enqueue --wait printed, and returns the mail's id.
func (s *stack) checkAccepted(printed string) (id string) {
	s.t.Helper()
	lines := strings.Fields(printed)
	if len(lines) < 2 || lines[len(lines)-1] != string(tasks.Accepted) {
		s.t.Fatalf("enqueue --wait printed %q, want first an id and last accepted", printed)
	}
	return lines[0]
}

// checkHardening checks the rights that Docker gives the two services.
func (s *stack) checkHardening() {
	s.t.Helper()
	ids := strings.Fields(s.run(s.composeArgs("ps", "-q", "redis", "worker")...))
	var containers []struct {
		Name       string
		Config     struct{ User string }
		HostConfig struct {
			ReadonlyRootfs bool
			CapDrop        []string
			SecurityOpt    []string
			PortBindings   map[string][]struct{ HostIp string }
		}
	}
	inspected := s.run(append([]string{"docker", "inspect"}, ids...)...)
	if err := json.Unmarshal([]byte(inspected), &containers); err != nil {
		s.t.Fatal(err)
	}
	if len(containers) != 2 {
		s.t.Fatalf("got %d containers, want redis and worker", len(containers))
	}
	if encoded, _ := json.Marshal(relayPassword); strings.Contains(inspected, string(encoded[1:len(encoded)-1])) {
		s.t.Error("docker inspect shows the relay's password")
	}
	for _, c := range containers {
		host := c.HostConfig
		if c.Config.User == "" || strings.HasPrefix(c.Config.User, "0") || !host.ReadonlyRootfs ||
			!reflect.DeepEqual(host.CapDrop, []string{"ALL"}) || !reflect.DeepEqual(host.SecurityOpt, []string{"no-new-privileges:true"}) {
			s.t.Errorf("%s is not confined: %+v", c.Name, c)
		}
		if len(host.PortBindings) != 1 {
			s.t.Errorf("%s publishes %d ports, want 1", c.Name, len(host.PortBindings))
		}
		for port, bindings := range host.PortBindings {
			for _, binding := range bindings {
				if binding.HostIp != "127.0.0.1" {
					s.t.Errorf("%s publishes %s on %q, want 127.0.0.1", c.Name, port, binding.HostIp)
				}
			}
		}
	}
}

// checkRedis checks that Redis keeps what it acknowledged, and refuses a client without the
// password.
func (s *stack) checkRedis(rdb *redis.Client) {
	s.t.Helper()
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"} {
		if got, err := rdb.ConfigGet(s.t.Context(), name).Result(); err != nil || got[name] != want {
			s.t.Errorf("%s: got %q, %v, want %q", name, got[name], err, want)
		}
	}
	stranger := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr})
	defer stranger.Close()
	if err := stranger.Ping(s.t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		s.t.Errorf("PING without a password: got %v, want NOAUTH", err)
	}
}

// checkMonitor checks that /monitor requires the password, and shows the task of the mail without
// address and seed.
func (s *stack) checkMonitor(rdb *redis.Client, id, password string) {
	s.t.Helper()
	task, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(tasks.Queue, id)
	if err != nil {
		s.t.Fatal(err)
	}
	var payload struct{ To, Seed string }
	if err := json.Unmarshal(task.Payload, &payload); err != nil || payload.To != "alice@example.com" || len(payload.Seed) < 32 {
		s.t.Fatalf("the task lacks the address or the seed that this test searches for: %v", err)
	}
	for _, path := range []string{"/api/queues/" + tasks.Queue + "/completed_tasks", "/api/queues/" + tasks.Queue + "/tasks/" + id} {
		for _, wrong := range []string{"", "wrong"} {
			if status, _ := s.monitor(path, wrong); status != 401 {
				s.t.Errorf("%s with the password %q: got %d, want 401", path, wrong, status)
			}
		}
		status, body := s.monitor(path, password)
		if status != 200 || !strings.Contains(body, id) {
			s.t.Errorf("%s: got %d %s, want the task %s", path, status, body, id)
		}
		if strings.Contains(body, "alice") || strings.Contains(body, payload.Seed) {
			s.t.Errorf("%s shows the address or the seed: %s", path, body)
		}
	}
}

func (s *stack) keyRing() string {
	s.t.Helper()
	return s.run(s.composeArgs("exec", "-T", "worker", "worker", "keyring", "list", "-o", "/var/lib/securemail/keyring")...)
}

// The worker's service has a variable for every setting, so that an operator can set it in .env.
func TestCompose_PassesEverySetting(t *testing.T) {
	compose, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variables(reflect.TypeFor[config.Config](), "SECUREMAIL") {
		if !strings.Contains(string(compose), "\n      "+name+":") && !strings.Contains(string(compose), "\n      "+name+"_FILE:") {
			t.Errorf("docker-compose.yml: the worker's environment lacks %s", name)
		}
	}
}

// variables returns the environment variables of the settings below a struct.
func variables(settings reflect.Type, prefix string) (names []string) {
	for field := range settings.Fields() {
		if field.Type.Kind() == reflect.Map || field.Name == "Priority" {
			continue // of several relays, which need a settings file
		}
		name := prefix + "_" + strings.ToUpper(field.Tag.Get("koanf"))
		if field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[secret.String]() {
			names = append(names, variables(field.Type, name)...)
		} else {
			names = append(names, name)
		}
	}
	return names
}
