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
	// lag is for how long the replicas get nothing before every second death of their master.
	lag = 300 * time.Millisecond
	// mostGap is how long before a master's death, or before that lag, what it acknowledged may be lost with it.
	mostGap = time.Second
)

// replicated is a Redis whose masters can die.
type replicated struct {
	name   string
	n      int // replicas of each master, which could all take over
	url    string
	rdb    redis.UniversalClient
	master func() *redis.Client
	kill   func() (revive func()) // returns when a replica has taken over
}

// mastersDie has masters die under load, behind Sentinel and in a Cluster, with producers that wait for a replica and with
// producers that do not. Only the latter lose mails, and only of the last moment. What workers wrote in that moment is lost in
// either case: then a mail is sent again, or its record is gone.
func mastersDie(t *testing.T, l *lab, report *table) {
	*report = table{title: fmt.Sprintf("SIGKILL of a master under load, and failover to a replica (fsync off); at every second one, the replicas got nothing for the last %v", lag),
		head: "| Redis | producers wait for all replicas | failovers | longest time without an acknowledgement | mails acknowledged | lost where replicas were up to date | lost where they were not | acknowledged before the kill by at most | records lost | second secrets | copies | copies allowed |"}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, waits := range []bool{false, true} {
		for name, start := range map[string]func(t *testing.T) replicated{"Sentinel": startSentinels, "Cluster": startCluster} {
			all.Go(func() {
				t.Run(fmt.Sprintf("%s, waits %v", name, waits), func(t *testing.T) {
					row := mastersOfDie(t, l, start(t), waits)
					mu.Lock()
					defer mu.Unlock()
					report.rows = append(report.rows, row)
				})
			})
			if l.full {
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

func mastersOfDie(t *testing.T, l *lab, r replicated, waits bool) (row string) {
	failovers := pick(l, 2, 10)
	s := newSiteOver(t, l.limit(), r.url, r.rdb)
	for range 2 {
		s.addWorker(l.binary, s.url, 2)
	}
	busy := pick(l, 500*time.Millisecond, 50*time.Millisecond) // so that mails are waiting when the master dies
	s.receiver.hook(hooks{reply: func(taken) { time.Sleep(busy) }})
	s.start()
	var options []securemail.Option
	if waits {
		options = append(options, securemail.WithReplicas(r.n, time.Second))
	}
	var over atomic.Bool
	produced := background(func() {
		s.produce(8, pick(l, 100*time.Millisecond, 10*time.Millisecond), named("failover"), func(int) bool { return over.Load() }, options...)
	})
	var deaths []*death
	probe := s.newProducer() // which waits for no replica, since one may be missing
	for n := range failovers {
		d := &death{called: time.Now(), lagging: n%2 == 1}
		died := s.watch(s.masterOf(r), d)
		revive := r.kill()
		died()
		probe.send(s.ctx, fmt.Sprintf("after-%d", n), tasks.Key)
		d.over = time.Now()
		deaths = append(deaths, d)
		revive()
	}
	over.Store(true)
	produced()
	s.receiver.hook(hooks{})
	s.drain()
	c := s.examine()
	var without, gap time.Duration
	for _, d := range deaths {
		without = max(without, d.pause(c))
		t.Logf("a master died at %s, its replicas got nothing since %s, and the first mail after it was acknowledged at %s",
			d.at.Format(clock), d.began().Format(clock), d.over.Format(clock))
	}
	lost, records := map[bool]int{}, map[string]bool{} // by whether the replicas were lagging; by id
	for _, v := range c.found {
		d, before := c.nearDeath(v.id, deaths)
		switch {
		case d == nil:
			t.Errorf("%v\n%s", v, c.story(v.id))
		case v.law == 1 && !waits:
			lost[d.lagging]++
			gap = max(gap, before)
		case v.law == 3 && c.failed(v.id): // Redis forgot it, and the next call of Send began it anew
			t.Logf("%v\n%s", v, c.story(v.id))
		case v.law == 4:
		case v.law != 5 && v.law != 6, waits && r.n > 1 && !c.failed(v.id): // a mail that every replica had keeps its secret
			t.Errorf("%v\n%s", v, c.story(v.id))
		default:
			records[v.id] = true
		}
	}
	n := c.count("failover")
	return fmt.Sprintf("| %s | %v | %d | %.1f s | %d | %d | %d | %d ms | %d | %d | %d | %d |", r.name, waits, failovers, without.Seconds(), n.acked,
		lost[false], lost[true], gap.Milliseconds(), len(records), n.secrets, n.copies, n.allowed)
}

// masterOf returns a client of the master, which after a failover not every client knows at once.
func (s *site) masterOf(r replicated) (master *redis.Client) {
	s.t.Helper()
	s.until("the master is known", func() bool {
		master = r.master()
		role, err := master.Do(s.ctx, "ROLE").Slice()
		return err == nil && role[0] == "master"
	})
	return master
}

// watch notes when a master dies, which died waits for. If its replicas are to be lagging, they get nothing from now on, for a
// while before it returns and until the master has died.
func (s *site) watch(master *redis.Client, d *death) (died func()) {
	s.t.Helper()
	process := s.processOf(master)
	resume := func() {}
	if d.lagging {
		resume = s.cutReplicas(master)
	}
	return background(func() {
		for syscall.Kill(process, 0) == nil && s.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		d.at = time.Now()
		resume()
	})
}

// cutReplicas keeps the replicas of a master from what it takes, because they cannot log in, until they may resume.
func (s *site) cutReplicas(master *redis.Client) (resume func()) {
	s.t.Helper()
	role, err := master.Do(s.ctx, "ROLE").Slice()
	if err != nil || len(role) < 3 {
		s.t.Fatalf("ROLE: %v, %v", role, err)
	}
	var replicas []*redis.Client
	login := func(password string) {
		for _, replica := range replicas {
			if err := replica.ConfigSet(s.ctx, "masterauth", password).Err(); err != nil {
				s.t.Errorf("CONFIG SET masterauth: %v", err)
			}
		}
	}
	for _, one := range role[2].([]any) {
		at := one.([]any) // host, port, offset
		replica := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("%v:%v", at[0], at[1]), Username: master.Options().Username, Password: testserver.RedisPassword})
		s.t.Cleanup(func() { replica.Close() })
		replicas = append(replicas, replica)
	}
	login("wrong")
	if err := master.ClientKillByFilter(s.ctx, "TYPE", "replica").Err(); err != nil {
		s.t.Errorf("CLIENT KILL: %v", err)
	}
	time.Sleep(lag)
	return func() { login(testserver.RedisPassword) }
}

// processOf asks a Redis for its process id.
func (s *site) processOf(rdb *redis.Client) (pid int) {
	s.t.Helper()
	info, err := rdb.Info(s.ctx, "server").Result()
	_, after, _ := strings.Cut(info, "process_id:")
	if fmt.Sscan(after, &pid); pid == 0 {
		s.t.Fatalf("Redis does not tell its process id: %v", err)
	}
	return pid
}

// death is one of a master.
type death struct {
	lagging      bool      // its replicas have got nothing since called
	called, over time.Time // at lies between them
	at           time.Time
}

// began is when the replicas began not to have what the master had.
func (d *death) began() time.Time {
	if d.lagging {
		return d.called
	}
	return d.at
}

// pause returns the longest time around it without an acknowledgement.
func (d *death) pause(c *checker) (longest time.Duration) {
	var acks []time.Time
	for _, p := range c.P {
		if p.Error == "" && p.Kind != tasks.Code && p.At.After(d.called.Add(-mostGap)) && p.At.Before(d.over) { // codes have a queue of their own
			acks = append(acks, p.At)
		}
	}
	slices.SortFunc(acks, time.Time.Compare)
	for i := range len(acks) - 1 {
		longest = max(longest, acks[i+1].Sub(acks[i]))
	}
	return longest
}

// nearDeath returns the death around which something was done with a mail, or nil, and how long before it the mail was
// acknowledged.
func (c *checker) nearDeath(id string, deaths []*death) (*death, time.Duration) {
	for _, d := range deaths {
		around := func(at time.Time) bool { return at.After(d.began().Add(-mostGap)) && at.Before(d.over) }
		for _, p := range c.P {
			if p.ID == id && p.Error == "" && around(p.At) {
				return d, d.at.Sub(p.At)
			}
		}
		if slices.ContainsFunc(c.W, func(p passed) bool { return p.id == id && around(p.at) }) {
			return d, 0
		}
	}
	return nil, 0
}

// failed reports whether a call of Send for the mail failed.
func (c *checker) failed(id string) bool {
	return slices.ContainsFunc(c.P, func(p offered) bool { return p.ID == id && p.Error != "" })
}
