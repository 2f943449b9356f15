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

// sampleSize is how many of the delivered secrets are answered; a hundred of them are looked for in the append-only files.
const sampleSize = 500

// drain waits until no task is left. What is stuck is an error, and everything is checked all the same.
func (s *site) drain() {
	s.t.Helper()
	for s.inQueue() != "" {
		select {
		case <-s.ctx.Done():
			s.t.Errorf("the queue does not drain: %s", s.inQueue())
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// examine stops the workers, reads the files and asks Redis. It returns a checker that has checked.
func (s *site) examine() *checker {
	s.t.Helper()
	s.stop()
	l := ledgers{P: readBook[offered](s.t, filepath.Join(s.dir, "P")), W: s.trace.all(), S: readBook[taken](s.t, filepath.Join(s.dir, "S"))}
	for _, w := range s.workers {
		l.Log = append(l.Log, readLog(s.t, w.Log)...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := newChecker(l, s.aftermath(ctx, l))
	c.check()
	return c
}

// laws fails the test for everything that breaks a law, with the stories of the first few.
func (s *site) laws(c *checker) {
	s.t.Helper()
	for i, v := range c.found {
		if i < 5 {
			s.t.Errorf("%v\n%s", v, c.story(v.id))
		} else {
			s.t.Error(v)
		}
	}
}

func (s *site) aftermath(ctx context.Context, l ledgers) aftermath {
	s.t.Helper()
	a := aftermath{states: map[string]tasks.State{}, queued: map[string]bool{}, answers: map[string][2]string{}}
	client, err := securemail.NewClient(s.rdb, securemail.WithKeyRingFile(s.ring))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range l.P {
		if _, known := a.states[p.ID]; known {
			continue
		}
		status, err := client.Status(ctx, p.ID)
		if err != nil && !errors.Is(err, tasks.ErrNotFound) {
			s.t.Fatal(err)
		}
		a.states[p.ID] = status.State
		a.queued[p.ID] = !status.State.Ended() && s.hasTask(p.ID)
	}
	a.leaseless = s.leaseless(ctx)
	sample := s.sample(l)
	a.clear = s.inClear(sample)
	for _, m := range sample {
		a.answers[m.id] = m.answerTwice(ctx, client)
	}
	return a
}

// hasTask reports whether asynq will run, or is running, a task of the mail.
func (s *site) hasTask(id string) bool {
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	for _, queue := range queues {
		if info, err := inspector.GetTaskInfo(queue, id); err == nil && info.State != asynq.TaskStateCompleted && info.State != asynq.TaskStateArchived {
			return true
		}
	}
	return false
}

func (s *site) leaseless(ctx context.Context) (ids []string) {
	s.t.Helper()
	for _, queue := range queues {
		active, err := s.rdb.LRange(ctx, "asynq:{"+queue+"}:active", 0, -1).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, id := range active {
			if err := s.rdb.ZScore(ctx, "asynq:{"+queue+"}:lease", id).Err(); errors.Is(err, redis.Nil) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// mailed is a secret as its recipient has it.
type mailed struct {
	id, to, secret string
	kind           tasks.Kind
}

// sample returns some of the delivered mails, by chance. The life of a code is short, so that in the end of a long test only
// the younger ones can still be answered.
func (s *site) sample(l ledgers) (all []mailed) {
	secrets := s.receiver.secretsByRecipient()
	for _, p := range l.P {
		age := time.Since(p.At)
		if secrets[p.To] != "" && p.Error == "" && (p.Kind != tasks.Code || age < 9*time.Minute) {
			all = append(all, mailed{p.ID, p.To, secrets[p.To], p.Kind})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), sampleSize)]
}

// answerTwice types the right answer two times.
func (m mailed) answerTwice(ctx context.Context, client *securemail.Client) (told [2]string) {
	typed := m.secret
	if m.kind == tasks.TOTP {
		typed = otpauth.Code(m.raw(), time.Now())
	}
	for i := range told {
		err := client.Verify(ctx, tasks.Ref{ID: m.id, To: m.to, Purpose: "chaos"}, typed)
		switch {
		case err == nil:
			told[i] = "right"
		case errors.Is(err, tasks.ErrRejected):
			told[i] = "rejected"
		default:
			told[i] = err.Error()
		}
	}
	return told
}

// raw returns the bytes of a TOTP's secret.
func (m mailed) raw() []byte {
	raw, _ := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(m.secret, " ", ""))
	return raw
}

// inClear looks for the secrets in the append-only files, as they are mailed and without their separators; digits without any
// stand in every other number. The canary test in internal/worker looks for many more forms.
func (s *site) inClear(sample []mailed) (ids []string) {
	s.t.Helper()
	for _, dir := range s.aofs {
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
			s.t.Fatalf("the append-only files in %s: %d found, %v", dir, files, err)
		}
	}
	return ids
}
