package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/secret"
)

func checkRedisURL(url secret.String) error {
	if _, err := redis.ParseURL(url.Reveal()); err != nil {
		return redisURLError(url)
	}
	return nil
}

// redisURLError says what a URL looks like; the library's own text quotes it, password and all.
func redisURLError(url secret.String) error {
	scheme, _, found := strings.Cut(url.Reveal(), "://")
	if found && (scheme == "redis" || scheme == "rediss" || scheme == "unix") {
		return fmt.Errorf("the %s URL cannot be parsed; write it like redis://user:password@host:6379/0, with reserved characters in the password percent-encoded", scheme)
	}
	return errors.New("write it like redis://host:6379, rediss://host:6379 (TLS) or unix:///path/to/socket")
}

// WorkerClient returns a client that outlasts a restart of Redis: a worker that gave up after a second would forget
// that a relay has just taken a mail. It tries for about half a minute, which stays below asynq's lease of 30 s.
func (r Redis) WorkerClient() (*redis.Client, error) {
	return r.client(func(o *redis.Options) {
		o.MaxRetries = 30
		o.MinRetryBackoff = 50 * time.Millisecond
		o.MaxRetryBackoff = time.Second
	})
}

// ProducerClient returns a client that fails fast, because somebody is waiting.
func (r Redis) ProducerClient() (*redis.Client, error) {
	return r.client(func(o *redis.Options) {
		o.MaxRetries = 2
		o.DialerRetries = 1
		o.DialTimeout = 3 * time.Second
	})
}

func (r Redis) client(tune func(*redis.Options)) (*redis.Client, error) {
	options, err := redis.ParseURL(r.URL.Reveal())
	if err != nil {
		return nil, redisURLError(r.URL)
	}
	options.ContextTimeoutEnabled = true
	tune(options)
	return redis.NewClient(options), nil
}
