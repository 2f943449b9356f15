package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const (
	// lag is how long the replicas get no data before every second kill of their master.
	lag = 300 * time.Millisecond
	// mostGap bounds the time before a kill, or before that lag, in which an acknowledged mail may
	// be lost.
	mostGap = time.Second
)

// replicated is a Redis whose masters can be killed.
type replicated struct {
	name   string
	n      int // replicas of each master; each can take over
	url    string
	rdb    redis.UniversalClient
	master func() *redis.Client
	kill   func() (revive func()) // returns when a replica has taken over
}

// mastersDie kills masters under load, behind Sentinel and in a Cluster. The producers wait for the
// replicas, or do not. Only producers that do not wait lose mails, and only mails of the last
// moment. Whatever workers wrote in that moment is lost in both cases. A mail is then sent again,
// or its record is gone.
func mastersDie(t *testing.T, cfg *scenarioConfig, report *table) {
	*report = table{title: fmt.Sprintf("SIGKILL of a master under load, and failover to a replica (fsync off); at every second kill the replicas had got no data for %v", lag),
		head: "| Redis | producers wait for all replicas | failovers | longest time without an acknowledgement | mails acknowledged | lost where replicas were up to date | lost where they were not | time from acknowledgement to kill, at most | records lost | second secrets | copies | copies allowed |"}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, waits := range []bool{false, true} {
		for name, start := range map[string]func(t *testing.T) replicated{"Sentinel": startSentinels, "Cluster": startCluster} {
			all.Go(func() {
				t.Run(fmt.Sprintf("%s, waits %v", name, waits), func(t *testing.T) {
					row := mastersOfDie(t, cfg, start(t), waits)
					mu.Lock()
					defer mu.Unlock()
					report.rows = append(report.rows, row)
				})
			})
			if cfg.full {
				all.Wait()
			}
		}
	}
	all.Wait()
	slices.Sort(report.rows)
}

func startSentinels(t *testing.T) replicated {
	s := testserver.StartSentinels(t)
	return replicated{"Sentinel, two replicas", 2, s.URL, s.Client, func() *redis.Client { return s.Client }, s.KillMaster}
}

func startCluster(t *testing.T) replicated {
	c := testserver.StartReplicatedCluster(t)
	const key = "asynq:{" + tasks.Queue + "}:pending"
	return replicated{"Cluster, one replica each", 1, c.URL, c.Client, func() *redis.Client {
		master, err := c.Client.MasterForKey(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		return master
	}, func() func() { return c.KillMaster(key) }}
}

func mastersOfDie(t *testing.T, cfg *scenarioConfig, r replicated, waits bool) (row string) {
	failovers := pick(cfg, 2, 10)
	f := newFixtureOver(t, cfg.limit(), r.url, r.rdb)
	for range 2 {
		f.addWorker(cfg.binary, f.url, 2)
	}
	// The receiver is slow, so that mails are waiting when the master dies.
	busy := pick(cfg, 500*time.Millisecond, 50*time.Millisecond)
	f.receiver.hook(hooks{reply: func(received) { time.Sleep(busy) }})
	f.start()
	var options []securemail.Option
	if waits {
		options = append(options, securemail.WithReplicas(r.n, time.Second))
	}
	var over atomic.Bool
	produced := background(func() {
		f.produce(8, pick(cfg, 100*time.Millisecond, 10*time.Millisecond), named("failover"), func(int) bool { return over.Load() }, options...)
	})
	var deaths []*death
	probe := f.newProducer() // does not wait for replicas, because one may be missing
	for n := range failovers {
		d := &death{called: time.Now(), lagging: n%2 == 1}
		died := f.watch(f.masterOf(r), d)
		revive := r.kill()
		died()
		probe.send(f.ctx, fmt.Sprintf("after-%d", n), tasks.Key)
		d.over = time.Now()
		deaths = append(deaths, d)
		revive()
	}
	over.Store(true)
	produced()
	f.receiver.hook(hooks{})
	f.drain()
	c := f.examine()
	var without, gap time.Duration
	for _, d := range deaths {
		without = max(without, d.pause(c))
		t.Logf("a master died at %s, its replicas got no data since %s, and the first mail after that was acknowledged at %s",
			d.at.Format(clock), d.began().Format(clock), d.over.Format(clock))
	}
	lost, records := map[bool]int{}, map[string]bool{} // by whether the replicas lagged; by id
	for _, v := range c.found {
		d, before := c.nearDeath(v.id, deaths)
		switch {
		case d == nil:
			t.Errorf("%v\n%s", v, c.timeline(v.id))
		case v.invariant == 1 && !waits:
			lost[d.lagging]++
			gap = max(gap, before)
		case v.invariant == 3 && c.failed(v.id):
			// Redis lost the mail, and the next call of Send sent it anew.
			t.Logf("%v\n%s", v, c.timeline(v.id))
		case v.invariant == 4:
		// A mail that every replica had keeps its secret.
		case v.invariant != 5 && v.invariant != 6, waits && r.n > 1 && !c.failed(v.id):
			t.Errorf("%v\n%s", v, c.timeline(v.id))
		default:
			records[v.id] = true
		}
	}
	n := c.count("failover")
	return fmt.Sprintf("| %s | %v | %d | %.1f s | %d | %d | %d | %d ms | %d | %d | %d | %d |", r.name, waits, failovers, without.Seconds(), n.acked,
		lost[false], lost[true], gap.Milliseconds(), len(records), n.secrets, n.copies, n.allowed)
}

// masterOf returns a client of the master. After a failover clients do not know the master at once.
func (f *fixture) masterOf(r replicated) (master *redis.Client) {
	f.t.Helper()
	f.until("the master is known", func() bool {
		master = r.master()
		role, err := master.Do(f.ctx, "ROLE").Slice()
		return err == nil && role[0] == "master"
	})
	return master
}

// watch sets d.at when the master dies; died waits for that. If d.lagging is set, watch first cuts
// the replicas from the master, and returns when they have lagged for a while. They stay cut until
// the master has died.
func (f *fixture) watch(master *redis.Client, d *death) (died func()) {
	f.t.Helper()
	process := f.processOf(master)
	resume := func() {}
	if d.lagging {
		resume = f.cutReplicas(master)
	}
	return background(func() {
		for syscall.Kill(process, 0) == nil && f.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		d.at = time.Now()
		resume()
	})
}

// cutReplicas disconnects the replicas of a master, and makes their login fail until resume is
// called.
func (f *fixture) cutReplicas(master *redis.Client) (resume func()) {
	f.t.Helper()
	role, err := master.Do(f.ctx, "ROLE").Slice()
	if err != nil || len(role) < 3 {
		f.t.Fatalf("ROLE: %v, %v", role, err)
	}
	var replicas []*redis.Client
	login := func(password string) {
		for _, replica := range replicas {
			if err := replica.ConfigSet(f.ctx, "masterauth", password).Err(); err != nil {
				f.t.Errorf("CONFIG SET masterauth: %v", err)
			}
		}
	}
	for _, one := range role[2].([]any) {
		at := one.([]any) // host, port, offset
		replica := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("%v:%v", at[0], at[1]), Username: master.Options().Username, Password: testserver.RedisPassword})
		f.t.Cleanup(func() { replica.Close() })
		replicas = append(replicas, replica)
	}
	login("wrong")
	if err := master.ClientKillByFilter(f.ctx, "TYPE", "replica").Err(); err != nil {
		f.t.Errorf("CLIENT KILL: %v", err)
	}
	time.Sleep(lag)
	return func() { login(testserver.RedisPassword) }
}

// processOf returns the process id of a Redis server.
func (f *fixture) processOf(rdb *redis.Client) (pid int) {
	f.t.Helper()
	info, err := rdb.Info(f.ctx, "server").Result()
	_, after, _ := strings.Cut(info, "process_id:")
	if fmt.Sscan(after, &pid); pid == 0 {
		f.t.Fatalf("INFO has no process id: %v", err)
	}
	return pid
}

// death is the kill of a master.
type death struct {
	lagging      bool      // the replicas got no data since called
	called, over time.Time // before and after at
	at           time.Time
}

// began returns when the replicas began to miss data of the master.
func (d *death) began() time.Time {
	if d.lagging {
		return d.called
	}
	return d.at
}

// pause returns the longest time around the kill without an acknowledgement.
func (d *death) pause(c *checker) (longest time.Duration) {
	var acks []time.Time
	for _, p := range c.Sends {
		// Codes are in another queue, which may be on another master.
		if p.Error == "" && p.Kind != tasks.Code && p.At.After(d.called.Add(-mostGap)) && p.At.Before(d.over) {
			acks = append(acks, p.At)
		}
	}
	slices.SortFunc(acks, time.Time.Compare)
	for i := range len(acks) - 1 {
		longest = max(longest, acks[i+1].Sub(acks[i]))
	}
	return longest
}

// nearDeath returns the kill near which a mail was acknowledged or worked on, or nil, and how long
// before the kill the mail was acknowledged.
func (c *checker) nearDeath(id string, deaths []*death) (*death, time.Duration) {
	for _, d := range deaths {
		around := func(at time.Time) bool { return at.After(d.began().Add(-mostGap)) && at.Before(d.over) }
		for _, p := range c.Sends {
			if p.ID == id && p.Error == "" && around(p.At) {
				return d, d.at.Sub(p.At)
			}
		}
		if slices.ContainsFunc(c.Trace, func(p tracePoint) bool { return p.id == id && around(p.at) }) {
			return d, 0
		}
	}
	return nil, 0
}

// failed reports whether any call of Send for the mail failed.
func (c *checker) failed(id string) bool {
	return slices.ContainsFunc(c.Sends, func(p sendCall) bool { return p.ID == id && p.Error != "" })
}
