package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrVolatile is returned for a Redis that can lose mails that it has taken.
var ErrVolatile = errors.New("this Redis can lose mails that it has taken")

// checkTimeout bounds [Check]. It is far below what a worker's client waits for Redis.
const checkTimeout = 5 * time.Second

// Check asks every server of rdb whether it keeps what it takes: a master of version 6.2 or newer, with an append-only
// file, that evicts nothing. An error that is [ErrVolatile] says what would be lost otherwise, and which lines of
// redis.conf fix it. Any other error says why the server cannot be used at all. The warnings name smaller risks.
//
// Check reads INFO, which a user of least privilege may. CONFIG, which also shows passwords, is asked for appendfsync
// alone, because INFO does not show it, and only as the default user, which may do everything.
func Check(ctx context.Context, rdb redis.UniversalClient) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var mu sync.Mutex
	var errs []error
	look := func(ctx context.Context, server *redis.Client) error {
		said, err := checkServer(ctx, server)
		mu.Lock()
		defer mu.Unlock()
		for _, w := range said {
			warnings = append(warnings, server.Options().Addr+": "+w)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", server.Options().Addr, err))
		}
		return nil // the other masters are checked nevertheless
	}
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, look)
	case *redis.Client:
		err = look(ctx, c)
	default:
		err = fmt.Errorf("a client of type %T is neither one server's nor a cluster's", rdb)
	}
	return warnings, errors.Join(append(errs, err)...)
}

func checkServer(ctx context.Context, server *redis.Client) (warnings []string, err error) {
	info := server.InfoMap(ctx)
	if info.Err() != nil {
		return nil, fmt.Errorf("read INFO: %w", info.Err())
	}
	version := info.Item("Server", "redis_version")
	switch {
	case tooOld(version):
		return nil, fmt.Errorf("it is version %.20q; asynq's scripts need 6.2 or newer", version)
	case info.Item("Replication", "role") == "slave":
		return nil, errors.New("it is a replica, which takes no writes; name its master, or its Sentinels with redis-sentinel://")
	}
	var losses, lines []string
	if info.Item("Persistence", "aof_enabled") != "1" {
		losses = append(losses, "without an append-only file, a crash or a restart loses every mail since the last snapshot, and the record of what was sent")
		lines = append(lines, "appendonly yes", "appendfsync always")
	}
	if policy := info.Item("Memory", "maxmemory_policy"); policy != "noeviction" {
		losses = append(losses, fmt.Sprintf("with maxmemory-policy %s, any mail and any record can be dropped when memory runs short", orUnknown(policy)))
		lines = append(lines, "maxmemory-policy noeviction")
	}
	if len(losses) > 0 {
		return nil, fmt.Errorf("%w:\n  %s\nadd to its redis.conf, or set where you rent it:\n  %s", ErrVolatile, strings.Join(losses, "\n  "), strings.Join(lines, "\n  "))
	}
	if info.Item("Persistence", "aof_last_write_status") == "err" {
		warnings = append(warnings, "its append-only file cannot be written at present; is the disk full?")
	}
	if fsync := appendfsync(ctx, server); fsync != "always" {
		warnings = append(warnings, fmt.Sprintf("appendfsync is %s: with anything but always, a crash of its machine loses the mails that it took in the last "+
			"second or two; add appendfsync always to its redis.conf", orUnknown(fsync)))
	}
	return warnings, nil
}

// appendfsync is that setting, or "" where this user may not see it.
func appendfsync(ctx context.Context, server *redis.Client) string {
	if who, err := server.Do(ctx, "ACL", "WHOAMI").Text(); err != nil || who != "default" {
		return ""
	}
	return server.ConfigGet(ctx, "appendfsync").Val()["appendfsync"]
}

func orUnknown(value string) string {
	if value == "" {
		return "unknown (this user may not see it)"
	}
	return value
}

// tooOld reports whether a version such as 7.0.15 is below 6.2. One that is not understood is not.
func tooOld(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && (major < 6 || major == 6 && minor < 2)
}
