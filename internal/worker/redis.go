package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ErrVolatile says that Redis can lose mails that it has taken.
var ErrVolatile = errors.New("this Redis can lose mails that it has taken")

// CheckRedis asks every server of rdb whether it keeps what it takes: a master of version 6.2 or newer, with an append-only
// file, that evicts nothing. An error that is [ErrVolatile] says what would be lost otherwise, and which lines of redis.conf
// mend it; any other one, why it cannot be used at all. The warnings are about what can be lived with.
//
// It reads INFO, which a user of least privilege may; CONFIG, which also shows passwords, is asked for appendfsync alone,
// and only as the default user, who may do everything. INFO does not show it.
func CheckRedis(ctx context.Context, rdb redis.UniversalClient) (warnings []string, err error) {
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
		return nil // the other masters are looked at all the same
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
	text, err := server.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("read INFO: %w", err)
	}
	info := parseInfo(text)
	switch {
	case olderThan(info["redis_version"], 6, 2):
		return nil, fmt.Errorf("it is version %.20q; asynq's scripts need 6.2 or newer", info["redis_version"])
	case info["role"] == "slave":
		return nil, errors.New("it is a replica, which takes no writes; name its master, or its Sentinels with redis-sentinel://")
	}
	var losses, lines []string
	if info["aof_enabled"] != "1" {
		losses = append(losses, "without an append-only file, a crash or a restart loses every mail since the last snapshot, and the record of what was sent")
		lines = append(lines, "appendonly yes", "appendfsync always")
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" {
		losses = append(losses, fmt.Sprintf("with maxmemory-policy %s, any mail and any record can be dropped when memory runs short", orUnknown(policy)))
		lines = append(lines, "maxmemory-policy noeviction")
	}
	if len(losses) > 0 {
		return nil, fmt.Errorf("%w:\n  %s\nadd to its redis.conf, or set where you rent it:\n  %s", ErrVolatile, strings.Join(losses, "\n  "), strings.Join(lines, "\n  "))
	}
	if info["aof_last_write_status"] == "err" {
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

// parseInfo reads the lines key:value of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); found {
			info[key] = value
		}
	}
	return info
}

// olderThan compares a version such as 7.0.15. One that is not understood is not older.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	gotMajor, err := strconv.Atoi(parts[0])
	gotMinor, err2 := strconv.Atoi(parts[1])
	if err != nil || err2 != nil {
		return false
	}
	return gotMajor < major || gotMajor == major && gotMinor < minor
}
