package config_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// values has a valid value for every setting, in the form of a file and of the environment. None is
// the default.
var values = map[string]string{
	"redis.url":                 "rediss://worker:canary@redis.example.com:6380/3",
	"redis.ca_file":             "/etc/securemail/redis-ca.pem",
	"redis.allow_volatile":      "true",
	"keyring_file":              "/etc/securemail/keyring",
	"from":                      "Shop <no-reply@shop.example>",
	"reply_to":                  "help@shop.example",
	"product":                   "The Shop",
	"smtp.provider":             "gmail",
	"smtp.host":                 "smtp.example.com",
	"smtp.port":                 "587",
	"smtp.tls":                  "starttls",
	"smtp.username":             "shop@example.com",
	"smtp.password":             "canary-password",
	"smtp.ca_file":              "/etc/securemail/ca.pem",
	"smtp.local_name":           "worker.example.com",
	"smtp.priority":             "3",
	"smtp.max_connections":      "9",
	"smtp.per_second":           "11",
	"smtp.per_day":              "1234",
	"smtp.oauth2_client_id":     "app-1",
	"smtp.oauth2_client_secret": "canary-client-secret",
	"smtp.oauth2_refresh_token": "canary-refresh-token",
	"smtp.oauth2_token_url":     "https://login.example.com/token",
	"timeouts.connect":          "2s",
	"timeouts.command":          "3s",
	"timeouts.data":             "4s",
	"timeouts.final_reply":      "5s",
	"timeouts.total":            "6s",
	"on_unknown":                "stop",
	"max_life.key":              "48h0m0s",
	"max_life.code":             "5m0s",
	"max_life.totp":             "1h30m0s",
	"min_code_digits":           "8",
	"limits.recipient_interval": "30s",
	"limits.recipient_per_hour": "20",
	"limits.recipient_per_day":  "40",
	"limits.per_origin":         "200",
	"limits.total_per_minute":   "300",
	"limits.too_soon":           "refuse",
	"record_retention":          "72h0m0s",
	"concurrency":               "7",
	"admin.addr":                "127.0.0.1:9999",
	"admin.password":            "canary-admin-password",
	"log.format":                "console",
	"log.level":                 "debug",
}

// walk calls visit with the name and the value of every setting.
func walk(v reflect.Value, prefix string, visit func(name string, v reflect.Value)) {
	for i := range v.NumField() {
		field, name := v.Field(i), prefix+v.Type().Field(i).Tag.Get("koanf")
		if lives, ok := field.Interface().(tasks.Lives); ok {
			for _, kind := range tasks.Kinds() {
				visit(name+"."+string(kind.Kind), reflect.ValueOf(lives[kind.Kind]))
			}
			continue
		}
		if field.Kind() == reflect.Map { // relays: SMTP, below names that the operator chooses
			continue
		}
		if field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[secret.String]() {
			walk(field, name+".", visit)
			continue
		}
		visit(name, field)
	}
}

// flat returns c as a map of names and texts, with secrets revealed.
func flat(c config.Config) map[string]string {
	all := map[string]string{}
	walk(reflect.ValueOf(c), "", func(name string, v reflect.Value) {
		if s, isSecret := v.Interface().(secret.String); isSecret {
			all[name] = s.Reveal()
			return
		}
		all[name] = fmt.Sprint(v.Interface())
	})
	return all
}

func secrets() []string {
	var names []string
	walk(reflect.ValueOf(config.Config{}), "", func(name string, v reflect.Value) {
		if v.Type() == reflect.TypeFor[secret.String]() {
			names = append(names, name)
		}
	})
	return names
}

func envName(name string) string {
	return "SECUREMAIL_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// write writes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// yaml writes settings as a file.
func yaml(t *testing.T, settings map[string]string) string {
	t.Helper()
	// JSON is YAML.
	root := map[string]any{}
	for name, value := range settings {
		section, parts := root, strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			inner, known := section[part].(map[string]any)
			if !known {
				inner = map[string]any{}
				section[part] = inner
			}
			section = inner
		}
		section[parts[len(parts)-1]] = value
		if value != "" && strings.Trim(value, "0123456789") == "" {
			section[parts[len(parts)-1]] = json.Number(value)
		}
	}
	content, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "config.yaml", string(content))
}

func environ(settings map[string]string) []string {
	var lines []string
	for name, value := range settings {
		lines = append(lines, envName(name)+"="+value)
	}
	return lines
}

// The test sets every setting by the file, by the environment and by a flag.
func TestLoad_ReadsEverySettingFromEverySource(t *testing.T) {
	for way, load := range map[string]func() (config.Config, error){
		// A producer's settings, because a worker's would contradict each other: a password and
		// oauth2.
		"file":        func() (config.Config, error) { return config.Load(config.Producer, yaml(t, values), nil, nil) },
		"environment": func() (config.Config, error) { return config.Load(config.Producer, "", environ(values), nil) },
		"flags":       func() (config.Config, error) { return config.Load(config.Producer, "", nil, values) },
	} {
		c, err := load()
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		for name, got := range flat(c) {
			want, known := values[name]
			if !known {
				t.Errorf("%s: the table of this test has no value for this setting", name)
			}
			if got != want {
				t.Errorf("%s: %s is %q, want %q", way, name, got, want)
			}
		}
	}
}

// With a default in the table, the test above would prove nothing.
func TestDefaults_DifferFromTheTable(t *testing.T) {
	c, err := config.Load(config.Producer, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, standard := range flat(c) {
		if values[name] == standard {
			t.Errorf("%s is %q by default too", name, standard)
		}
	}
}

func TestLoad_OverridesInOrder(t *testing.T) {
	file := yaml(t, map[string]string{"redis.url": "redis://file:6379", "log.level": "warn", "admin.addr": "127.0.0.1:1"})
	env := []string{"SECUREMAIL_REDIS_URL=redis://env:6379", "SECUREMAIL_LOG_LEVEL=error", "HOME=/root", "SECUREMAIL_ADMIN_ADDR="}
	flags := map[string]string{"redis.url": "redis://flag:6379"}
	c, err := config.Load(config.Producer, file, env, flags)
	if err != nil {
		t.Fatal(err)
	}
	got := flat(c)
	for name, want := range map[string]string{
		"redis.url":  "redis://flag:6379", // flag over environment and file
		"log.level":  "error",             // environment over file
		"admin.addr": "127.0.0.1:1",       // file over default; an empty variable counts as not set
		"log.format": "json",              // default
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// The test reads every secret from a file, which the settings file or the environment names. It
// drops one line end.
func TestLoad_ReadsSecretsFromFiles(t *testing.T) {
	if len(secrets()) < 3 {
		t.Fatalf("the settings have %d secrets", len(secrets()))
	}
	for _, name := range secrets() {
		for _, end := range []string{"", "\n", "\r\n"} {
			path := write(t, "secret", values[name]+end)
			settings := workerValues(name)
			delete(settings, name)
			settings[name+"_file"] = path
			for way, load := range map[string]func() (config.Config, error){
				"file":        func() (config.Config, error) { return config.Load(config.Worker, yaml(t, settings), nil, nil) },
				"environment": func() (config.Config, error) { return config.Load(config.Worker, "", environ(settings), nil) },
				"environment over the other form in the file": func() (config.Config, error) {
					return config.Load(config.Worker, yaml(t, workerValues(name)), []string{envName(name+"_file") + "=" + path}, nil)
				},
				"environment over the file's file": func() (config.Config, error) {
					gone := maps.Clone(settings)
					gone[name+"_file"] = "/nonexistent"
					return config.Load(config.Worker, yaml(t, gone), []string{envName(name) + "=" + values[name]}, nil)
				},
			} {
				c, err := load()
				if err != nil {
					t.Errorf("%s by %s: %v", name, way, err)
				} else if got := flat(c)[name]; got != values[name] {
					t.Errorf("%s by %s is %q, want %q", name, way, got, values[name])
				}
			}
		}
	}
}

// workerValues returns the table without the values that contradict the secret: a password and
// OAuth2 exclude each other.
func workerValues(secret string) map[string]string {
	settings := maps.Clone(values)
	for name := range values {
		if isOAuth2 := strings.Contains(name, "oauth2_"); isOAuth2 != strings.Contains(secret, "oauth2_") && (isOAuth2 || name == "smtp.password") {
			delete(settings, name)
		}
	}
	return settings
}

func TestLoad_CompletesGmail(t *testing.T) {
	c, err := config.Load(config.Worker, "", []string{"SECUREMAIL_SMTP_PROVIDER=gmail", "SECUREMAIL_SMTP_USERNAME=shop@gmail.com",
		"SECUREMAIL_SMTP_PASSWORD=abcd efgh ijkl mnop", "SECUREMAIL_FROM=shop@gmail.com", "SECUREMAIL_KEYRING_FILE=ring"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.SMTP.Host != "smtp.gmail.com" || c.SMTP.Port != 465 || c.SMTP.TLS != config.ImplicitTLS {
		t.Errorf("got %s:%d %s, want smtp.gmail.com:465 implicit", c.SMTP.Host, c.SMTP.Port, c.SMTP.TLS)
	}
	if got := c.SMTP.Password.Reveal(); got != "abcdefghijklmnop" {
		t.Errorf("the app password is %q, want it without spaces", got)
	}
	if c.Product != "gmail.com" {
		t.Errorf("got product %q, want the sender's domain where the sender has no name", c.Product)
	}
	c, err = config.Load(config.Worker, "", []string{"SECUREMAIL_SMTP_PROVIDER=gmail", "SECUREMAIL_SMTP_USERNAME=shop@gmail.com", "SECUREMAIL_SMTP_PORT=587",
		"SECUREMAIL_SMTP_PASSWORD=abcdefghijklmnop", "SECUREMAIL_FROM=Shop <shop@gmail.com>", "SECUREMAIL_KEYRING_FILE=ring"}, nil)
	if err != nil || c.SMTP.Port != 587 || c.SMTP.TLS != config.StartTLS || c.Product != "Shop" {
		t.Errorf("got port %d, %s, product %q, %v; want 587, starttls, the sender's name", c.SMTP.Port, c.SMTP.TLS, c.Product, err)
	}
}

// Only Google shows a password in groups.
func TestLoad_KeepsSpacesInOtherPasswords(t *testing.T) {
	c, err := config.Load(config.Worker, "", environ(with(relay, "smtp.password", "correct horse battery staple ")), nil)
	if err != nil || c.SMTP.Password.Reveal() != "correct horse battery staple " {
		t.Errorf("got %q, %v", c.SMTP.Password.Reveal(), err)
	}
}

// gmail has the settings for a personal account at Gmail.
var gmail = []string{"SECUREMAIL_SMTP_PROVIDER=gmail", "SECUREMAIL_FROM=shop@gmail.com", "SECUREMAIL_KEYRING_FILE=ring", "SECUREMAIL_SMTP_PASSWORD=abcdefghijklmnop"}

func TestLoad_SetsGmailsDailyLimit(t *testing.T) {
	for username, want := range map[string]int{"shop@gmail.com": 500, "shop@Googlemail.com": 500, "shop@shop.example": 2000} {
		c, err := config.Load(config.Worker, "", append(slices.Clone(gmail), "SECUREMAIL_SMTP_USERNAME="+username), nil)
		if err != nil || c.SMTP.PerDay != want {
			t.Errorf("%s: got %d a day, %v; want %d", username, c.SMTP.PerDay, err, want)
		}
	}
}

func TestLoad_AcceptsOAuth2(t *testing.T) {
	for provider, want := range map[string]string{"gmail": "https://oauth2.googleapis.com/token", "microsoft365": "https://login.microsoftonline.com/common/oauth2/v2.0/token"} {
		c, err := config.Load(config.Worker, "", []string{"SECUREMAIL_SMTP_PROVIDER=" + provider, "SECUREMAIL_FROM=shop@shop.example", "SECUREMAIL_KEYRING_FILE=ring",
			"SECUREMAIL_SMTP_USERNAME=shop@shop.example", "SECUREMAIL_SMTP_OAUTH2_CLIENT_ID=app", "SECUREMAIL_SMTP_OAUTH2_REFRESH_TOKEN=token"}, nil)
		if err != nil || c.SMTP.OAuth2TokenURL != want || c.SMTP.OAuth2RefreshToken.Reveal() != "token" {
			t.Errorf("%s: got %q, %v", provider, c.SMTP.OAuth2TokenURL, err)
		}
	}
}

func TestLoad_SortsSeveralRelays(t *testing.T) {
	password := write(t, "password", "canary-backup\n")
	file := write(t, "config.yaml", `
from: no-reply@shop.example
keyring_file: ring
relays:
  backup:
    priority: 2
    host: backup.example.com
    port: 465
    username: shop
    password_file: `+password+`
  first:
    priority: 1
    host: first.example.com
    port: 587
    per_second: 2.5
`)
	c, err := config.Load(config.Worker, file, []string{"SECUREMAIL_RELAYS_FIRST_USERNAME=u", "SECUREMAIL_RELAYS_FIRST_PASSWORD=canary-first"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := c.RelayList()
	if len(list) != 2 || list[0].Name != "first" || list[1].Name != "backup" || list[0].TLS != config.StartTLS || list[0].PerSecond != 2.5 ||
		list[0].Password.Reveal() != "canary-first" || list[1].Password.Reveal() != "canary-backup" || list[1].MaxConnections != 20 {
		t.Errorf("got %+v", list)
	}
}

// TestProvider_FillsInWhatIsKnown: a login and the provider's name are all that an operator needs.
func TestProvider_FillsInWhatIsKnown(t *testing.T) {
	all := config.Providers()
	if len(all) < 15 {
		t.Fatalf("got %d providers", len(all))
	}
	for provider, known := range all {
		env := []string{"SECUREMAIL_SMTP_PROVIDER=" + provider, "SECUREMAIL_FROM=shop@shop.example", "SECUREMAIL_KEYRING_FILE=ring",
			"SECUREMAIL_SMTP_PASSWORD=secret"}
		if known.Username == "" {
			env = append(env, "SECUREMAIL_SMTP_USERNAME=shop@shop.example")
		}
		if known.Host == "" {
			if _, err := config.Load(config.Worker, "", env, nil); err == nil || !strings.Contains(err.Error(), known.HostHint) {
				t.Errorf("%s: got %v, want a hint at the host", provider, err)
			}
			env = append(env, "SECUREMAIL_SMTP_HOST=smtp.shop.example")
		}
		c, err := config.Load(config.Worker, "", env, nil)
		if err != nil {
			t.Errorf("%s: %v", provider, err)
			continue
		}
		if c.SMTP.Host == "" || c.SMTP.Port != known.Port || c.SMTP.TLS == "" || c.SMTP.Username == "" {
			t.Errorf("%s: got %s:%d %s as %s", provider, c.SMTP.Host, c.SMTP.Port, c.SMTP.TLS, c.SMTP.Username)
		}
		if c.SMTP.Advice() == "" || known.Login == "" {
			t.Errorf("%s: nothing is said of what it does with a message, or of its login", provider)
		}
		for _, line := range c.SMTP.Headers() {
			if name, value, found := strings.Cut(line, ": "); !found || !strings.HasPrefix(name, "X-") || value == "" || len(line) > 998 {
				t.Errorf("%s: %q is no header line", provider, line)
			}
		}
		if _, err := config.Load(config.Worker, "", slices.DeleteFunc(env, func(s string) bool { return strings.Contains(s, "PASSWORD") }), nil); err == nil ||
			!strings.Contains(err.Error(), known.Login) {
			t.Errorf("%s: without a password: got %v, want where it comes from", provider, err)
		}
	}
}
