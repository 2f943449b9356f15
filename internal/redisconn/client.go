// Package redisconn turns redis.url into a client, and checks whether a Redis keeps what it takes.
//
// A URL leads to one server, to the master that Sentinels name, or to a Cluster. A worker's client outlasts a restart or
// a failover of Redis; a producer's fails fast, because a person waits.
package redisconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/secret"
)

// Config is where Redis is. The URL may hold a password.
type Config struct {
	URL    secret.String
	CAFile string // PEM, for a server whose authority the system does not know
}

// tls is nil for a URL without TLS.
func (o options) tls() *tls.Config {
	switch {
	case o.sentinel != nil:
		return o.sentinel.TLSConfig
	case o.cluster != nil:
		return o.cluster.TLSConfig
	}
	return o.single.TLSConfig
}

// Validate reports what is wrong with c, by the setting's name.
func (c Config) Validate(wrong func(setting, format string, args ...any)) {
	o, err := c.parse()
	switch {
	case err != nil:
		wrong("redis.url", "%v", err)
	case c.CAFile == "":
	case o.tls() == nil:
		wrong("redis.ca_file", "it is for TLS, and the URL has none; begin redis.url with rediss, or leave this out")
	case o.tls().InsecureSkipVerify:
		wrong("redis.ca_file", "redis.url says skip_verify, which disables verification; leave out one of the two")
	}
}

// secure sets which certificates are accepted.
func (c Config) secure(config *tls.Config, several bool) error {
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if several {
		config.ServerName = "" // go-redis puts the first host there; each server is verified by the name it is dialled by
	}
	if c.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return fmt.Errorf("redis.ca_file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("redis.ca_file: %s holds no certificate in PEM form", c.CAFile)
	}
	return nil
}

// Describe says for messages where Redis is, without its password. c must be valid.
func (c Config) Describe() string {
	o, err := c.parse()
	switch {
	case err != nil:
		return "an address that cannot be parsed"
	case o.sentinel != nil:
		return fmt.Sprintf("%s (Sentinel, master %s)", strings.Join(o.sentinel.SentinelAddrs, ","), o.sentinel.MasterName)
	case o.cluster != nil:
		return strings.Join(o.cluster.Addrs, ",") + " (Cluster)"
	}
	return o.single.Addr
}

// WorkerClient returns a client that outlasts a restart of Redis and a failover: a worker that gave up after a second
// would forget that a relay has just taken a mail. It tries for 25 s, which is below asynq's lease of 30 s. Unless the
// URL says pool_size, it has a connection for each of the mails that are sent at a time.
func (c Config) WorkerClient(concurrency int) (redis.UniversalClient, error) {
	const besides = 12 // what asynq does besides the mails, and the rescue of orphaned tasks
	client, err := c.client(tuning{retries: -1, pool: concurrency + besides})
	if err != nil {
		return nil, err
	}
	client.AddHook(retryHook(25 * time.Second))
	return client, nil
}

// ProducerClient returns a client that fails fast, because a person waits.
func (c Config) ProducerClient() (redis.UniversalClient, error) {
	return c.client(tuning{retries: 2, dialTimeout: 3 * time.Second, dials: 1})
}

// tuning is where the two clients differ; 0 stands for what the URL says.
type tuning struct {
	retries     int // -1 for none
	dialTimeout time.Duration
	dials       int // for one connection, 100 ms apart
	pool        int // connections, where the URL does not say
}

func (c Config) client(t tuning) (redis.UniversalClient, error) {
	o, err := c.parse()
	if err != nil {
		return nil, err
	}
	if o.tls() != nil {
		if err := c.secure(o.tls(), o.single == nil); err != nil {
			return nil, err
		}
	}
	switch {
	case o.sentinel != nil:
		return sentinelClient(o.sentinel, t), nil
	case o.cluster != nil:
		return clusterClient(o.cluster, t), nil
	}
	single := o.single
	single.ContextTimeoutEnabled = true
	single.DisableIdentity = true // saves a command that deploy/redis.acl does not allow
	single.MaxRetries = t.retries
	single.PoolSize = cmp.Or(single.PoolSize, t.pool)
	single.DialTimeout, single.DialerRetries = cmp.Or(t.dialTimeout, single.DialTimeout), cmp.Or(t.dials, single.DialerRetries)
	return redis.NewClient(single), nil
}

// findMaster is how long go-redis may take to find out who the master is. Within it, it has to give up a Sentinel that
// does not answer, twice, and ask the others; when the time is over in between, it asks the same one again, forever.
const findMaster = 20 * time.Second

func sentinelClient(o *redis.FailoverOptions, t tuning) redis.UniversalClient {
	limit := cmp.Or(t.dialTimeout, o.DialTimeout, 3*time.Second)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if o.TLSConfig != nil {
			return (&tls.Dialer{Config: o.TLSConfig}).DialContext(ctx, network, addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	o.DialTimeout = findMaster
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaxRetries = t.retries
	o.PoolSize = cmp.Or(o.PoolSize, t.pool)
	o.DialerRetries = 1 // of Sentinels too
	return redis.NewFailoverClient(o)
}

func clusterClient(o *redis.ClusterOptions, t tuning) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	// MaxRetries would be tries at one node, which may be dead; MaxRedirects are tries at the node that has the slot by then.
	o.MaxRetries, o.DialerRetries = -1, 1
	o.DialTimeout = cmp.Or(t.dialTimeout, o.DialTimeout)
	o.PoolSize = cmp.Or(o.PoolSize, t.pool) // to each node
	// By default it notices a failover only after a minute, unless the former master is there to say so.
	o.ClusterStateReloadInterval = time.Second
	return redis.NewClusterClient(o)
}
