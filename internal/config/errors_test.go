package config_test

import (
	"maps"
	"regexp"
	"strings"
	"testing"

	"example.com/securemail/internal/config"
)

// relay has the settings that a worker requires.
var relay = map[string]string{
	"keyring_file":  "ring",
	"from":          "no-reply@example.com",
	"smtp.host":     "smtp.example.com",
	"smtp.port":     "465",
	"smtp.username": "user",
	"smtp.password": "password",
}

// with returns base with further settings. An empty value removes a setting.
func with(base map[string]string, pairs ...string) map[string]string {
	settings := maps.Clone(base)
	for i := 0; i < len(pairs); i += 2 {
		settings[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "" {
			delete(settings, pairs[i])
		}
	}
	return settings
}

// Each error names the setting and its environment variable, and says what to do.
func TestLoad_RefusesInvalidSettings(t *testing.T) {
	for _, test := range []struct {
		settings map[string]string
		want     string // a regular expression for the whole text
	}{
		{with(relay), ``},
		{with(relay, "smtp.username", "", "smtp.password", ""), ``},
		{with(relay, "smtp.port", "2525", "smtp.tls", "starttls"), ``},
		{with(relay, "smtp.port", "587", "smtp.tls", "starttls"), ``},
		{with(relay, "redis.url", "unix:///run/redis.sock"), ``},
		{with(relay, "keyring_file", ""), `keyring_file \(SECUREMAIL_KEYRING_FILE\): .*worker keyring new -o FILE creates one`},
		{with(relay, "from", ""), `from \(SECUREMAIL_FROM\): name the sender, like: Example <no-reply@example\.com>`},
		{with(relay, "from", "nobody"), `from \(SECUREMAIL_FROM\): it is not an address; .*`},
		{with(relay, "from", "a@example.com, b@example.com"), `from \(SECUREMAIL_FROM\): it is not an address; .*`},
		{with(relay, "reply_to", "Help <help@example.com>"), `reply_to \(SECUREMAIL_REPLY_TO\): write the bare address, .*`},
		{with(relay, "reply_to", "nobody"), `reply_to \(SECUREMAIL_REPLY_TO\): it needs exactly one @, .*`},
		{with(relay, "smtp.host", ""), `smtp\.host \(SECUREMAIL_SMTP_HOST\): .*`},
		{with(relay, "smtp.port", ""), `smtp\.port \(SECUREMAIL_SMTP_PORT\): set 465 \(implicit TLS\) or 587 \(STARTTLS\)`},
		{with(relay, "smtp.port", "70000"), `smtp\.port \(SECUREMAIL_SMTP_PORT\): 70000 is not a port`},
		{with(relay, "smtp.port", "-1"), `smtp\.port \(SECUREMAIL_SMTP_PORT\): -1 is not a port`},
		{with(relay, "smtp.port", "25"), `smtp\.tls \(SECUREMAIL_SMTP_TLS\): port 25 does not imply it; set implicit or starttls .*`},
		{with(relay, "smtp.tls", "starttls"), `smtp\.tls \(SECUREMAIL_SMTP_TLS\): port 465 speaks implicit, not starttls \(RFC 8314\)`},
		{with(relay, "smtp.port", "587", "smtp.tls", "implicit"), `smtp\.tls .*: port 587 speaks starttls, not implicit \(RFC 8314\)`},
		{with(relay, "smtp.tls", "none"), `smtp\.tls .*: "none" is neither implicit nor starttls; mail is never sent without TLS`},
		{with(relay, "smtp.tls", "STARTTLS"), `smtp\.tls .*: "STARTTLS" is neither implicit nor starttls; .*`},
		{with(relay, "smtp.username", ""), `smtp\.username \(SECUREMAIL_SMTP_USERNAME\): user name or password is missing; .*`},
		{with(relay, "smtp.password", ""), `smtp\.username \(SECUREMAIL_SMTP_USERNAME\): user name or password is missing; .*`},
		{with(relay, "smtp.provider", "postman"), `smtp\.provider \(SECUREMAIL_SMTP_PROVIDER\): "postman" is not known; .*`},
		{with(relay, "smtp.provider", "gmail"), `smtp\.username .*: for Gmail it must be the whole address of the account`},
		{with(relay, "smtp.provider", "gmail", "smtp.username", "a@gmail.com", "smtp.password", " "), `smtp\.password .*: Gmail needs an app password .*\n.*is missing.*`},
		{with(relay, "redis.url", "localhost:6379"), `redis\.url \(SECUREMAIL_REDIS_URL\): write it like redis://host:6379, .*`},
		{with(relay, "redis.url", "redis://localhost/zero"), `redis\.url \(SECUREMAIL_REDIS_URL\): the redis URL cannot be parsed; .*percent-encoded`},
		{with(relay, "max_life.key", "745h"), `max_life\.key \(SECUREMAIL_MAX_LIFE_KEY\): 745h0m0s is not between 1m and 744h \(31 days\)`},
		{with(relay, "max_life.totp", "-1h"), `max_life\.totp .*: -1h0m0s is not between .*`},
		{with(relay, "max_life.code", "10"), `max_life\.code: the value has the wrong type; .*|max_life\.code .*: 10ns is not between .*`},
		{with(relay, "max_life.code", "ten minutes"), `max_life\.code: the value has the wrong type; write a duration like 10m, .*`},
		{with(relay, "min_code_digits", "7"), `min_code_digits \(SECUREMAIL_MIN_CODE_DIGITS\): 7 is neither 6 nor 8`},
		{with(relay, "limits.recipient_interval", "-1s"), `limits\.recipient_interval \(SECUREMAIL_LIMITS_RECIPIENT_INTERVAL\): -1s is not between 0s \(none\) and 1h`},
		{with(relay, "limits.recipient_interval", "61m"), `limits\.recipient_interval .*: 1h1m0s is not between .*`},
		{with(relay, "limits.recipient_per_hour", "0", "limits.recipient_per_day", "0", "limits.per_origin", "0"), ``},
		{with(relay, "limits.recipient_per_hour", "31"), `limits\.recipient_per_hour .*: 31 is more than recipient_per_day \(30\); .*`},
		{with(relay, "limits.recipient_per_hour", "10001", "limits.recipient_per_day", "10001"), `limits\.recipient_per_hour .*: 10001 is not between 0 \(no limit\) and 10000`},
		{with(relay, "limits.recipient_per_day", "100001"), `limits\.recipient_per_day .*: 100001 is not between .*`},
		{with(relay, "limits.per_origin", "-1", "limits.total_per_minute", "-2", "limits.too_soon", "later"), `limits\.per_origin .*: -1 is not between 0 \(no limit\) and 10000\n` +
			`limits\.total_per_minute .*: -2 is not .*\nlimits\.too_soon \(SECUREMAIL_LIMITS_TOO_SOON\): "later" is neither wait nor refuse`},
		{with(relay, "record_retention", "59m"), `record_retention .*: 59m0s is not between 1h and .*`},
		{with(relay, "concurrency", "0"), `concurrency .*: 0 is not between 1 and 1000`},
		{with(relay, "concurrency", "1001"), `concurrency .*: 1001 is not between 1 and 1000`},
		{with(relay, "admin.password", "short"), `admin\.password \(SECUREMAIL_ADMIN_PASSWORD\): it is shorter than 12 characters`},
		{with(relay, "log.format", "xml"), `log\.format .*: "xml" is neither json nor console`},
		{with(relay, "log.level", "loud"), `log\.level .*: "loud" is not debug, info, warn or error`},
	} {
		for way, load := range map[string]func() (config.Config, error){
			"environment": func() (config.Config, error) { return config.Load(config.Worker, "", environ(test.settings), nil) },
			"file":        func() (config.Config, error) { return config.Load(config.Worker, yaml(t, test.settings), nil, nil) },
		} {
			_, err := load()
			got := ""
			if err != nil {
				got = err.Error()
			}
			if !regexp.MustCompile(`^(` + test.want + `)$`).MatchString(got) {
				t.Errorf("%s %v: got error\n%q, want\n%s", way, test.settings, got, test.want)
			}
		}
	}
}

// One error reports all invalid settings, always in the same order.
func TestLoad_ReportsAllInvalidSettings(t *testing.T) {
	path := write(t, "config.yaml", "smtp:\n  hots: smtp.example.com\n  port: many\nmax_life: {key: 1s, code: 1s, totp: 1s}\nlog: {level: loud, colour: red}\n")
	env := []string{"SECUREMAIL_CONCURRENCY=0", "SECUREMAIL_REDIS_URI=redis://localhost", "SECUREMAIL_ADMIN_PASSWORD_FILE=/nonexistent/file"}
	_, first := config.Load(config.Worker, path, env, map[string]string{"redis.url": "localhost"})
	if first == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{": smtp.hots: no setting", ": log.colour: no setting", "SECUREMAIL_REDIS_URI: no setting", "smtp.port: the value has the wrong type",
		"max_life.key ", "max_life.code ", "max_life.totp ", "log.level ", "concurrency ", "redis.url ", "admin.password_file (SECUREMAIL_ADMIN_PASSWORD_FILE): ",
		"keyring_file ", "from ", "smtp.host "} {
		if !strings.Contains("\n"+first.Error(), "\n"+want) && !strings.Contains(first.Error(), path+want) {
			t.Errorf("no line of the error has %q:\n%v", want, first)
		}
	}
	for range 20 {
		if _, again := config.Load(config.Worker, path, env, map[string]string{"redis.url": "localhost"}); again.Error() != first.Error() {
			t.Fatalf("got\n%v\nand then\n%v", first, again)
		}
	}
}

// A producer needs no setting but Redis, and accepts the settings of a worker.
func TestLoad_RequiresOnlyRedisOfAProducer(t *testing.T) {
	if _, err := config.Load(config.Producer, "", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := config.Load(config.Producer, yaml(t, values), nil, nil); err != nil {
		t.Error(err)
	}
}

// Both forms of a secret in one source are a contradiction.
func TestLoad_RefusesASecretInBothForms(t *testing.T) {
	for _, name := range secrets() {
		both := with(workerValues(name), name+"_file", write(t, "secret", "canary-in-the-file"))
		for way, load := range map[string]func() (config.Config, error){
			"environment": func() (config.Config, error) { return config.Load(config.Worker, "", environ(both), nil) },
			"file":        func() (config.Config, error) { return config.Load(config.Worker, yaml(t, both), nil, nil) },
		} {
			_, err := load()
			if want := name + " and " + name + "_file: set one of them, not both"; err == nil || err.Error() != want {
				t.Errorf("%s: got %v, want %q", way, err, want)
			}
		}
	}
}

// The secret is in every possible place, and invalid in every possible way.
func TestLoad_ErrorsHoldNoSecret(t *testing.T) {
	for _, file := range []string{
		"canary\n",
		"- canary\n",
		"smtp: canary\n",
		"smtp:\n  password: *canary\n",
		"smtp:\n  password: canary: x\n",
		"smtp:\n  password: \"canary\n",
		"smtp:\n  password: \"\\canary\"\n",
		"smtp:\n  password: !!int canary\n",
		"smtp:\n  password: !!binary \"canary@\"\n",
		"smtp:\n  password: &x {*x : canary}\n",
		"smtp:\n\tpassword: canary\n",
		"smtp:\n  password: canary\n  password: canary\n",
		"smtp:\n  password: [canary]\n",
		"smtp:\n  port: canary\n",
		"max_life:\n  key: canary\n",
		"min_code_digits: {x: canary}\n",
		"redis:\n  url: redis://:canary@localhost:6379:x\n",
		"redis:\n  url: http://:canary@localhost\n",
		"redis:\n  url: canary\n",
		"redis:\n  url: redis://user:canary%zz@localhost\n",
		"redis:\n  url: redis://user:canary@localhost/x?y=z\n",
		"redis:\n  url_file: " + write(t, "url", "redis://:canary@localhost:6379:x") + "\n",
		"admin:\n  password: canary\n",
		"smtp:\n  password: canary\n",
		"smtp:\n  provider: gmail\n  password: canary\n",
		"from: canary <x\nreply_to: canary\n",
	} {
		_, err := config.Load(config.Worker, write(t, "config.yaml", file), nil, nil)
		if err == nil {
			t.Errorf("%q: got no error", file)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%q is repeated by the error: %v", file, err)
		}
	}
}

// YAML does not read these values as texts. A login with a changed password could lock the account.
func TestLoad_RefusesTextsThatYAMLReadsAsOtherTypes(t *testing.T) {
	for _, value := range []string{"0123", "1e5", "0x10", "1_000", "true", "2026-01-01", "[a]", "3.50"} {
		_, err := config.Load(config.Producer, write(t, "config.yaml", "smtp:\n  password: "+value+"\n  username: "+value+"\n"), nil, nil)
		for _, want := range []string{"smtp.password: the value has the wrong type", "smtp.username: the value has the wrong type"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", value, err, want)
			}
		}
		c, err := config.Load(config.Producer, write(t, "config.yaml", `smtp: {password: "`+value+`"}`), nil, nil)
		if err != nil || c.SMTP.Password.Reveal() != value {
			t.Errorf("in quotes: got %q, %v; want %q", c.SMTP.Password.Reveal(), err, value)
		}
		c, err = config.Load(config.Producer, "", []string{"SECUREMAIL_SMTP_PASSWORD=" + value}, nil)
		if err != nil || c.SMTP.Password.Reveal() != value {
			t.Errorf("environment: got %q, %v; want %q", c.SMTP.Password.Reveal(), err, value)
		}
	}
}

// If all settings of a section are commented out, its name remains.
func TestLoad_AcceptsEmptySections(t *testing.T) {
	path := write(t, "config.yaml", "smtp:\n#  host: smtp.example.com\nlog:\nproduct:\n")
	if _, err := config.Load(config.Producer, path, nil, nil); err != nil {
		t.Error(err)
	}
	if c, err := config.Load(config.Worker, path, environ(relay), nil); err != nil || c.SMTP.Host != "smtp.example.com" || c.Log.Level != "info" {
		t.Errorf("got host %q, level %q, %v", c.SMTP.Host, c.Log.Level, err)
	}
}

func TestLoad_RefusesInvalidRelays(t *testing.T) {
	_, err := config.Load(config.Worker, write(t, "config.yaml", `
from: no-reply@shop.example
keyring_file: ring
on_unknown: guess
timeouts: {total: 10s, final_reply: 20s, data: 0s}
smtp: {host: smtp.example.com}
relays:
  a: {priority: 1, host: a.example.com, port: 465, max_connections: 2000, hots: x}
  b: {priority: 1, host: b.example.com, port: 466}
  c: {priority: 2, port: 587, per_day: -1, oauth2_client_id: x, oauth2_token_url: "http://login.example.com/", username: u, password: canary}
`), nil, nil)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"on_unknown ", "timeouts.total ", "timeouts.data ", "smtp (", "relays.a.hots: no setting has this name", "relays.a.max_connections ",
		"relays.b.priority ", "relays.b.tls ", "relays.c.host ", "relays.c.per_day ", "relays.c.password ", "relays.c.oauth2_refresh_token ", "relays.c.oauth2_token_url "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error repeats a secret: %v", err)
	}
}

// A producer may share a settings file with a worker, and not be allowed to read the worker's
// password files.
func TestLoad_ReadsNoSecretFileOfAProducerButRedis(t *testing.T) {
	path := write(t, "config.yaml", "redis: {url: redis://127.0.0.1:6379}\nsmtp: {password_file: /nonexistent}\nadmin: {password_file: /nonexistent}\n")
	if _, err := config.Load(config.Producer, path, nil, nil); err != nil {
		t.Errorf("got %v", err)
	}
}
