package redisconn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The forms of redis.url. The list of hosts is ours: go-redis takes one host, and the others as addr= in the query.
const (
	singleForm   = "redis://user:password@host:6379/0"
	sentinelForm = "redis-sentinel://user:password@host:26379,host:26379/0?master=NAME"
	clusterForm  = "redis-cluster://user:password@host:6379,host:6379"
)

// options are those of one server, of the master that Sentinel names, or of a Cluster. Exactly one is set.
type options struct {
	single   *redis.Options
	sentinel *redis.FailoverOptions
	cluster  *redis.ClusterOptions
}

// parse takes the URL apart. No error quotes it, as the libraries' own do: it holds a password.
func (c Config) parse() (o options, err error) {
	scheme, rest, found := strings.Cut(c.URL.Reveal(), "://")
	base, kind, _ := strings.Cut(scheme, "-")
	form := ""
	switch {
	case !found, base != "redis" && base != "rediss" && scheme != "unix":
	case kind == "sentinel":
		form = sentinelForm
		o.sentinel, err = sentinelOptions(base, rest)
	case kind == "cluster":
		form = clusterForm
		o.cluster, err = clusterOptions(base, rest)
	case scheme == base:
		form = singleForm
		o.single, err = singleOptions(c.URL.Reveal())
	}
	switch {
	case form == "":
		return o, fmt.Errorf("write it like redis://host:6379, rediss://host:6379 (TLS) or unix:///path/to/socket, "+
			"with Sentinel like %s, for a Cluster like %s", sentinelForm, clusterForm)
	case errors.Is(err, errNotParsed):
		return o, fmt.Errorf("the %s URL cannot be parsed; write it like %s, with reserved characters in the password percent-encoded", scheme, form)
	case err != nil:
		return o, fmt.Errorf("the %s URL %w", scheme, err)
	}
	return o, nil
}

var (
	errNotParsed = errors.New("cannot be parsed")
	errReplicas  = errors.New("has an option to read from replicas, which may not know yet what was just written; leave it out")
)

func singleOptions(rawURL string) (*redis.Options, error) {
	o, err := redis.ParseURL(rawURL)
	switch {
	case err != nil:
		return nil, errNotParsed
	case o.Network == "tcp" && strings.Contains(o.Addr, ","):
		return nil, errors.New("names several hosts; it is for one, and for more it begins with redis-sentinel or redis-cluster")
	}
	return o, nil
}

func sentinelOptions(scheme, rest string) (*redis.FailoverOptions, error) {
	u, err := splitHosts(scheme, rest, "26379")
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if q.Has("master") { // as asynq and others write it
		q.Set("master_name", q.Get("master"))
		q.Del("master")
	}
	// In front of the host go-redis expects the login of Sentinel. In every form of ours that is the login of Redis.
	if u.User != nil {
		password, _ := u.User.Password()
		q.Set("username", u.User.Username())
		q.Set("password", password)
		u.User = nil
	}
	if q.Has("sentinel_password") {
		u.User = url.UserPassword(q.Get("sentinel_username"), q.Get("sentinel_password"))
	}
	q.Del("sentinel_username")
	q.Del("sentinel_password")
	u.RawQuery = q.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	switch {
	case err != nil:
		return nil, errNotParsed
	case o.MasterName == "":
		return nil, errors.New("names no master; end it with ?master=NAME, by the name that Sentinel has for it")
	case o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly || o.UseDisconnectedReplicas:
		return nil, errReplicas
	}
	return o, nil
}

func clusterOptions(scheme, rest string) (*redis.ClusterOptions, error) {
	u, err := splitHosts(scheme, rest, "6379")
	if err != nil {
		return nil, err
	}
	if database := strings.Trim(u.Path, "/"); database != "" && database != "0" {
		return nil, errors.New("names a database, and a Cluster has number 0 alone; leave it out")
	}
	o, err := redis.ParseClusterURL(u.String())
	switch {
	case err != nil:
		return nil, errNotParsed
	case o.ReadOnly || o.RouteByLatency || o.RouteRandomly:
		return nil, errReplicas
	}
	return o, nil
}

// splitHosts parses what follows the scheme, in which several hosts may stand, as net/url does not. It returns the URL
// with the first host, and the others as addr= in its query.
func splitHosts(scheme, rest, defaultPort string) (*url.URL, error) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	begin := strings.LastIndex(rest[:end], "@") + 1
	u, err := url.Parse(scheme + "://" + rest[:begin] + rest[end:])
	if err != nil {
		return nil, errNotParsed
	}
	q := u.Query()
	for i, part := range strings.Split(rest[begin:end], ",") {
		host, err := url.Parse("//" + part)
		switch {
		case err != nil:
			return nil, errNotParsed
		case host.Hostname() == "":
			return nil, errors.New("lacks a host, or has a comma too many")
		case host.Port() == "":
			host.Host = net.JoinHostPort(host.Hostname(), defaultPort)
		}
		if i == 0 {
			u.Host = host.Host
		} else {
			q.Add("addr", host.Host)
		}
	}
	u.RawQuery = q.Encode()
	return u, nil
}
