package redisconn_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
)

// TestConfig_ReadsEveryFormOfURL: what each leads to, as messages describe it and as the client has it.
func TestConfig_ReadsEveryFormOfURL(t *testing.T) {
	for _, test := range []struct{ url, address, user, password, rest string }{
		{"redis://", "localhost:6379", "", "", "db 0 pool 0"},
		{"redis://:p@host", "host:6379", "", "p", "db 0 pool 0"},
		{"redis://u:p%40%2F%2C@[::1]:7/2?pool_size=50", "[::1]:7", "u", "p@/,", "db 2 pool 50"},
		{"rediss://u:p@host:7", "host:7", "u", "p", "db 0 pool 0 TLS for host"},
		{"unix://u:p@/run/redis/s?db=3", "/run/redis/s", "u", "p", "db 3 pool 0"},
		{"redis-sentinel://h?master=m", "h:26379 (Sentinel, master m)", "", "", "db 0 pool 0"},
		{"redis-sentinel://u:p%2C@a:1,b,[::1]/2?master=m&pool_size=50", "a:1,b:26379,[::1]:26379 (Sentinel, master m)", "u", "p,", "db 2 pool 50"},
		{"redis-sentinel://:p@a:1,b:2?master_name=m", "a:1,b:2 (Sentinel, master m)", "", "p", "db 0 pool 0"},
		{"redis-sentinel://a:1?master=m&username=u&password=p&addr=b:2", "a:1,b:2 (Sentinel, master m)", "u", "p", "db 0 pool 0"},
		{"redis-sentinel://u:p@a/?master=m&sentinel_username=s&sentinel_password=q", "a:26379 (Sentinel, master m)", "u", "p", "db 0 pool 0"},
		{"rediss-sentinel://u:p@a,b/?master=m", "a:26379,b:26379 (Sentinel, master m)", "u", "p", "db 0 pool 0 TLS for "},
		{"redis-cluster://h", "h:6379 (Cluster)", "", "", "pool 0"},
		{"redis-cluster://u:p@a:1,b:2/0?pool_size=50", "a:1,b:2 (Cluster)", "u", "p", "pool 50"},
		{"rediss-cluster://u:p@[::1]:1,b", "[::1]:1,b:6379 (Cluster)", "u", "p", "pool 0 TLS for "},
	} {
		settings := redisconn.Config{URL: secret.New(test.url)}
		if got := settings.Describe(); got != test.address {
			t.Errorf("%s: described as %q, want %q", test.url, got, test.address)
		}
		for name, connect := range map[string]func() (redis.UniversalClient, error){"worker": func() (redis.UniversalClient, error) { return settings.WorkerClient(1000) }, "producer": settings.ProducerClient} {
			client, err := connect()
			if err != nil {
				t.Errorf("%s: %s: %v", test.url, name, err)
				continue
			}
			want := test.rest
			if name == "worker" { // a connection for each mail and some more
				want = strings.Replace(want, "pool 0", "pool 1012", 1)
			}
			if user, password, rest := inside(client); user != test.user || password != test.password || rest != want {
				t.Errorf("%s: %s: got %q, %q, %q; want %q, %q, %q", test.url, name, user, password, rest, test.user, test.password, want)
			}
			client.Close()
		}
	}
}

// inside returns what a client was made of, where it was not left to go-redis.
func inside(client redis.UniversalClient) (user, password, rest string) {
	encrypted := func(c *tls.Config) string {
		if c == nil {
			return ""
		}
		if c.MinVersion != tls.VersionTLS12 {
			return fmt.Sprintf(" TLS from %x", c.MinVersion)
		}
		return " TLS for " + c.ServerName
	}
	pool := func(size, standard int) int {
		if size == standard {
			return 0
		}
		return size
	}
	if c, ok := client.(*redis.ClusterClient); ok {
		o, standard := c.Options(), redis.NewClusterClient(&redis.ClusterOptions{}).Options()
		return o.Username, o.Password, fmt.Sprintf("pool %d%s", pool(o.PoolSize, standard.PoolSize), encrypted(o.TLSConfig))
	}
	o, standard := client.(*redis.Client).Options(), redis.NewClient(&redis.Options{}).Options()
	return o.Username, o.Password, fmt.Sprintf("db %d pool %d%s", o.DB, pool(o.PoolSize, standard.PoolSize), encrypted(o.TLSConfig))
}

// TestValidate_NamesWhatIsWrong without repeating the URL.
func TestValidate_NamesWhatIsWrong(t *testing.T) {
	const forms, replicas = "write it like redis://host:6379, ", "has an option to read from replicas"
	for _, test := range []struct{ url, caFile, want string }{
		{"canary", "", forms},
		{"redis:/canary", "", forms},
		{"http://canary", "", forms},
		{"unix-sentinel://canary", "", forms},
		{"redis-canary://host", "", forms},
		{"redis-sentinel-cluster://canary", "", forms},
		{"redis://:canary@host:x", "", "the redis URL cannot be parsed; write it like redis://user:password@host:6379/0, with reserved"},
		{"redis://:canary@a:1,b:2", "", "the redis URL names several hosts"},
		{"unix://", "", "the unix URL cannot be parsed"},
		{"redis-sentinel://:canary@/0?master=m", "", "the redis-sentinel URL lacks a host"},
		{"redis-sentinel://:canary@a,,b/0?master=m", "", "the redis-sentinel URL lacks a host, or has a comma too many"},
		{"redis-sentinel://:canary@a", "", "the redis-sentinel URL names no master; end it with ?master=NAME"},
		{"redis-sentinel://:canary@a?master=", "", "the redis-sentinel URL names no master"},
		{"redis-sentinel://:canary@a:x?master=m", "", "the redis-sentinel URL cannot be parsed; write it like redis-sentinel://"},
		{"redis-sentinel://:can%ary@a?master=m", "", "the redis-sentinel URL cannot be parsed"},
		{"redis-sentinel://:canary@a/x?master=m", "", "the redis-sentinel URL cannot be parsed"},
		{"redis-sentinel://:canary@a?master=m&canary=1", "", "the redis-sentinel URL cannot be parsed"},
		{"rediss-sentinel://:canary@a?master=m&route_randomly=true", "", "the rediss-sentinel URL " + replicas},
		{"redis-sentinel://:canary@a?master=m&replica_only=true", "", "the redis-sentinel URL " + replicas},
		{"redis-cluster://", "", "the redis-cluster URL lacks a host"},
		{"redis-cluster://:canary@a,b/1", "", "the redis-cluster URL names a database, and a Cluster has number 0 alone"},
		{"redis-cluster://:can/ary@a,b", "", "the redis-cluster URL cannot be parsed; write it like redis-cluster://"},
		{"redis-cluster://:canary@a,b?read_only=true", "", "the redis-cluster URL " + replicas},
		{"rediss-cluster://:canary@a,b?max_redirects=canary", "", "the rediss-cluster URL cannot be parsed"},
		{"redis://:canary@host", "ca.pem", "it is for TLS, and the URL has none; begin redis.url with rediss, or leave this out"},
		{"unix:///canary", "ca.pem", "it is for TLS"},
		{"redis-cluster://:canary@a", "ca.pem", "it is for TLS"},
		{"rediss://:canary@host?skip_verify=true", "ca.pem", "redis.url says skip_verify"},
	} {
		want := "redis.url: " + test.want
		if test.caFile != "" {
			want = "redis.ca_file: " + test.want
		}
		got := ""
		redisconn.Config{URL: secret.New(test.url), CAFile: test.caFile}.Validate(func(setting, format string, args ...any) {
			got += setting + ": " + fmt.Sprintf(format, args...)
		})
		if !strings.HasPrefix(got, want) || strings.Contains(got, "canary") {
			t.Errorf("%s, %q: got %q, want %q", test.url, test.caFile, got, want)
		}
	}
}

// TestConfig_CAFile: with the file the server is trusted, without it is not.
func TestConfig_CAFile(t *testing.T) {
	server, caFile := testserver.StartTLSRedis(t)
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ url, caFile, want string }{
		{server.URL, caFile, ""},
		{server.URL, "", "certificate signed by unknown authority"},
		{strings.Replace(server.URL, "127.0.0.1", "localhost", 1), caFile, ""},
		{server.URL, "/nonexistent", "redis.ca_file: open /nonexistent: no such file"},
		{server.URL, notPEM, "redis.ca_file: .*ca.pem holds no certificate in PEM form"},
	} {
		client, err := redisconn.Config{URL: secret.New(test.url), CAFile: test.caFile}.ProducerClient()
		if err == nil {
			err = client.Ping(t.Context()).Err()
			client.Close()
		}
		if got := fmt.Sprint(err); (err == nil) != (test.want == "") || err != nil && !regexp.MustCompile(test.want).MatchString(got) {
			t.Errorf("%s, %q: got %v, want %q", test.url, test.caFile, err, test.want)
		}
	}
}
