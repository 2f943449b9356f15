package queue

import (
	"cmp"
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// dequeueSHA is the SHA-1 of asynq's dequeue script (asynq v0.26.0, internal/rdb/rdb.go, dequeueCmd).
const dequeueSHA = "a8153319360adc71cdc370107f8ab9786f204765"

var (
	//go:embed lua/fetch.lua
	fetchSource string
	fetchScript = redis.NewScript(fetchSource)
)

// fetcher stands between asynq's dequeuer and Redis, as a hook of the worker's client. It touches no other command. asynq's
// server has one dequeuer, which asks for one task of the first queue, then of the next, and sleeps where all are empty.
//
// It fetches as many tasks in one round trip as there are free places, and hands them to the dequeuer one by one. A task that
// waits here is in Redis' active list with a lease that nobody renews, so there are never more of them than free places.
//
// It lets the dequeuer wait while all queues are empty, until the [bell] rings.
//
// It answers for a queue that was empty a moment ago, while another queue has tasks. asynq itself looks into the codes'
// queue before each task of the other one, which doubles the time that fetching takes.
//
// It makes the dequeuer wait while Redis answers with errors such as OOM, READONLY or NOAUTH. asynq itself asks again at
// once, ten thousand times a second, and logs each error.
type fetcher struct {
	stopping context.Context
	places   int
	bell     *bell
	putBack  func(queue string, ids []string) // of tasks that no run has begun

	mu       sync.Mutex
	failures int    // in a row
	busy     string // the pending list in which a task was found last; "" once that one was empty
	empty    map[string]time.Time
	looked   map[string]bool      // the lists that were found empty since the dequeuer waited or found something
	waiting  map[string][]fetched // by pending list
	handed   map[string]handedOut // to asynq, by id
}

// fetched is a task that waits for its place.
type fetched struct {
	id, message string
	at          time.Time
}

// handedOut is a task that asynq has and whose run has not ended.
type handedOut struct {
	at      time.Time
	running bool
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second // also how late a worker notices that Redis works again
	// emptyFor is how long an empty queue counts as empty while another one has tasks: how late a code may be noticed.
	emptyFor = 5 * time.Millisecond
	// startTime is how long asynq may take to begin a run. A task that has not begun by then never will: asynq refused it.
	startTime = 5 * time.Second
	// staleTime is how long a task may wait here. It is well below asynq's lease of 30 s, after which others may take it.
	staleTime = 10 * time.Second
)

func newFetcher(stopping context.Context, places int, bell *bell, putBack func(queue string, ids []string)) *fetcher {
	return &fetcher{stopping: stopping, places: places, bell: bell, putBack: putBack, empty: map[string]time.Time{}, looked: map[string]bool{},
		waiting: map[string][]fetched{}, handed: map[string]handedOut{}}
}

func (f *fetcher) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *fetcher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *fetcher) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		d, ok := dequeueOf(cmd)
		if !ok {
			return next(ctx, cmd)
		}
		message, err := f.dequeue(ctx, next, d)
		if err != nil {
			cmd.SetErr(err)
			return err
		}
		d.cmd.SetVal(message)
		return nil
	}
}

// dequeue returns the next task of a pending list, or redis.Nil. After a round in which every list was empty, the next round
// begins when the bell rings.
func (f *fetcher) dequeue(ctx context.Context, next redis.ProcessHook, d dequeue) (message string, err error) {
	if message, ok := f.take(d.pending); ok {
		return message, nil
	}
	if f.stopping.Err() != nil || f.isEmpty(d.pending) {
		return "", redis.Nil
	}
	if d.pending == pendingKey(queues[0]) && f.allEmpty() {
		f.bell.wait(f.stopping)
	}
	err = f.fetch(ctx, next, d)
	if message, ok := f.take(d.pending); ok {
		return message, nil
	}
	if wait := f.note(d.pending, err); wait > 0 {
		select {
		case <-time.After(wait):
		case <-f.stopping.Done():
		}
	}
	return "", cmp.Or(err, error(redis.Nil))
}

// fetch takes tasks from Redis, as many as there are free places.
func (f *fetcher) fetch(ctx context.Context, next redis.ProcessHook, d dequeue) error {
	reply, err := runScript(ctx, next, fetchScript, fetchSource, d.keys, append(slices.Clone(d.args), f.free())...)
	if err != nil {
		return err
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; i+1 < len(reply); i += 2 {
		f.waiting[d.pending] = append(f.waiting[d.pending], fetched{reply[i], reply[i+1], now})
	}
	if len(reply) > 0 {
		f.failures, f.busy = 0, d.pending
		clear(f.looked)
		f.bell.found(d.pending)
	}
	return nil
}

// runScript runs a script by its hash, or by its source where Redis does not know it. It asks the next hook, because the
// client's own methods would begin with this hook again.
func runScript(ctx context.Context, next redis.ProcessHook, script *redis.Script, source string, keys []any, args ...any) ([]string, error) {
	run := func(name, script string) ([]string, error) {
		cmd := redis.NewStringSliceCmd(ctx, append(append([]any{name, script, len(keys)}, keys...), args...)...)
		if err := next(ctx, cmd); err != nil {
			return nil, err
		}
		return cmd.Result()
	}
	reply, err := run("evalsha", script.Hash())
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = run("eval", source)
	}
	return reply, err
}

// take hands out the next task that was fetched from a pending list. What has waited for so long that others may have taken
// it goes back.
func (f *fetcher) take(pending string) (message string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for len(f.waiting[pending]) > 0 && f.stopping.Err() == nil {
		t := f.waiting[pending][0]
		f.waiting[pending] = f.waiting[pending][1:]
		if now.Sub(t.at) < staleTime {
			f.handed[t.id] = handedOut{at: now}
			return t.message, true
		}
		f.putBack(pending, []string{t.id})
	}
	return "", false
}

// free returns how many tasks may be fetched: one for the dequeuer, which has a place, and one for each other free place.
func (f *fetcher) free() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := 0
	for id, h := range f.handed {
		if !h.running && time.Since(h.at) > startTime {
			delete(f.handed, id)
			continue
		}
		taken++
	}
	for _, waiting := range f.waiting {
		taken += len(waiting)
	}
	return max(f.places-taken, 1)
}

// began and ended frame the run of a task.
func (f *fetcher) began(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handed[id] = handedOut{at: time.Now(), running: true}
}

func (f *fetcher) ended(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.handed, id)
}

// drain puts everything back that waits, once the server stops.
func (f *fetcher) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pending, waiting := range f.waiting {
		var ids []string
		for _, t := range slices.Backward(waiting) { // the oldest last, so that it is taken first again
			ids = append(ids, t.id)
		}
		if len(ids) > 0 {
			f.putBack(pending, ids)
		}
	}
	clear(f.waiting)
}

// isEmpty reports whether a queue was empty a moment ago while another one is busy. The busy one is always asked: a
// dequeuer that finds nothing anywhere sleeps, and must not do so without asking.
func (f *fetcher) isEmpty(pending string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.busy != "" && f.busy != pending && time.Since(f.empty[pending]) < emptyFor
}

// allEmpty reports whether every queue was looked into and found empty. The dequeuer waits then, so after that every queue has
// to be looked into again.
func (f *fetcher) allEmpty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, queue := range queues {
		if !f.looked[pendingKey(queue)] {
			return false
		}
	}
	clear(f.looked)
	return true
}

// note records that nothing was fetched from a pending list, and returns how long the dequeuer has to wait after an error.
func (f *fetcher) note(pending string, err error) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && !errors.Is(err, redis.Nil) {
		f.failures++
		return min(minBackoff<<min(f.failures-1, 10), maxBackoff)
	}
	f.failures = 0
	f.empty[pending], f.looked[pending] = time.Now(), true
	if f.busy == pending {
		f.busy = ""
	}
	return 0
}

// dequeue is one question of asynq's dequeuer.
type dequeue struct {
	cmd     *redis.Cmd
	pending string // the list that it is about
	keys    []any
	args    []any
}

// dequeueOf returns what asynq's dequeue script is asked, or false for another command.
func dequeueOf(cmd redis.Cmder) (d dequeue, ok bool) {
	const keys = 4
	args := cmd.Args() // evalsha sha numkeys key ... arg ..., or eval source numkeys key ... arg ...
	if len(args) < 3+keys {
		return d, false
	}
	script, _ := args[1].(string)
	switch cmd.Name() {
	case "evalsha":
	case "eval":
		sum := sha1.Sum([]byte(script))
		script = hex.EncodeToString(sum[:])
	default:
		return d, false
	}
	if script != dequeueSHA {
		return d, false
	}
	d.cmd, ok = cmd.(*redis.Cmd)
	d.pending, _ = args[3].(string)
	d.keys, d.args = args[3:3+keys], args[3+keys:]
	return d, ok
}
