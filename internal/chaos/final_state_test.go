package chaos_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/tasks"
)

// sampleSize is how many delivered secrets are verified. The append-only files are searched for a
// hundred of them.
const sampleSize = 500

// drain waits until no task is left. If tasks remain, the test fails, but goes on to check
// everything.
func (f *fixture) drain() {
	f.t.Helper()
	for f.inQueue() != "" {
		select {
		case <-f.ctx.Done():
			f.t.Errorf("the queue does not drain: %s", f.inQueue())
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// examine stops the workers, reads the logs and the state of Redis, and returns a checker that has
// checked them.
func (f *fixture) examine() *checker {
	f.t.Helper()
	f.stop()
	l := logs{Sends: readLogFile[sendCall](f.t, filepath.Join(f.dir, "sends")), Trace: f.trace.all(), Received: readLogFile[received](f.t, filepath.Join(f.dir, "received"))}
	for _, w := range f.workers {
		l.Runs = append(l.Runs, readLog(f.t, w.Log)...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := newChecker(l, f.finalState(ctx, l))
	c.check()
	return c
}

// assertInvariants fails the test for each violation, with the timelines of the first few.
func (f *fixture) assertInvariants(c *checker) {
	f.t.Helper()
	for i, v := range c.found {
		if i < 5 {
			f.t.Errorf("%v\n%s", v, c.timeline(v.id))
		} else {
			f.t.Error(v)
		}
	}
}

func (f *fixture) finalState(ctx context.Context, l logs) finalState {
	f.t.Helper()
	a := finalState{states: map[string]tasks.State{}, queued: map[string]bool{}, answers: map[string][2]string{}}
	client, err := securemail.NewClient(f.rdb, securemail.WithKeyRingFile(f.ring))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range l.Sends {
		if _, known := a.states[p.ID]; known {
			continue
		}
		status, err := client.Status(ctx, p.ID)
		if err != nil && !errors.Is(err, tasks.ErrNotFound) {
			f.t.Fatal(err)
		}
		a.states[p.ID] = status.State
		a.queued[p.ID] = !status.State.Ended() && f.hasTask(p.ID)
	}
	a.leaseless = f.leaseless(ctx)
	sample := f.sample(l)
	a.inClear = f.inClear(sample)
	for _, m := range sample {
		a.answers[m.id] = m.answerTwice(ctx, client)
	}
	return a
}

// hasTask reports whether asynq runs a task of the mail, or will run one.
func (f *fixture) hasTask(id string) bool {
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	for _, queue := range queues {
		if info, err := inspector.GetTaskInfo(queue, id); err == nil && info.State != asynq.TaskStateCompleted && info.State != asynq.TaskStateArchived {
			return true
		}
	}
	return false
}

func (f *fixture) leaseless(ctx context.Context) (ids []string) {
	f.t.Helper()
	for _, queue := range queues {
		active, err := f.rdb.LRange(ctx, "asynq:{"+queue+"}:active", 0, -1).Result()
		if err != nil {
			f.t.Fatal(err)
		}
		for _, id := range active {
			if err := f.rdb.ZScore(ctx, "asynq:{"+queue+"}:lease", id).Err(); errors.Is(err, redis.Nil) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// mailed is a secret as its recipient got it.
type mailed struct {
	id, to, secret string
	kind           tasks.Kind
}

// sample returns random delivered mails. It leaves out older codes, because a code expires within
// minutes.
func (f *fixture) sample(l logs) (all []mailed) {
	secrets := f.receiver.secretsByRecipient()
	for _, p := range l.Sends {
		age := time.Since(p.At)
		if secrets[p.To] != "" && p.Error == "" && (p.Kind != tasks.Code || age < 9*time.Minute) {
			all = append(all, mailed{p.ID, p.To, secrets[p.To], p.Kind})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), sampleSize)]
}

// answerTwice verifies the right answer twice, and returns both results.
func (m mailed) answerTwice(ctx context.Context, client *securemail.Client) (results [2]string) {
	typed := m.secret
	if m.kind == tasks.TOTP {
		typed = otpauth.Code(m.raw(), time.Now())
	}
	for i := range results {
		err := client.Verify(ctx, tasks.Ref{ID: m.id, To: m.to, Purpose: "chaos"}, typed)
		switch {
		case err == nil:
			results[i] = "right"
		case errors.Is(err, tasks.ErrRejected):
			results[i] = "rejected"
		default:
			results[i] = err.Error()
		}
	}
	return results
}

// raw returns the bytes of a TOTP secret.
func (m mailed) raw() []byte {
	raw, _ := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(m.secret, " ", ""))
	return raw
}

// inClear searches the append-only files for the secrets, as they are mailed and without
// separators. It does not search for a code without separators, because other numbers would match.
// The canary test in internal/worker searches for many more forms.
func (f *fixture) inClear(sample []mailed) (ids []string) {
	f.t.Helper()
	for _, dir := range f.aofs {
		files := 0
		err := filepath.WalkDir(filepath.Join(dir, "appendonlydir"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			for _, m := range sample[:min(len(sample), 100)] {
				forms := [][]byte{[]byte(m.secret)}
				switch m.kind {
				case tasks.Key:
					forms = append(forms, []byte(strings.ReplaceAll(m.secret, "-", "")))
				case tasks.TOTP:
					forms = append(forms, m.raw(), []byte(strings.ReplaceAll(m.secret, " ", "")))
				}
				if slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(text, form) }) {
					ids = append(ids, m.id)
				}
			}
			return err
		})
		if err != nil || files == 0 {
			f.t.Fatalf("the append-only files in %s: %d found, %v", dir, files, err)
		}
	}
	return ids
}
