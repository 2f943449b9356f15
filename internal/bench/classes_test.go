package bench_test

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// class is a sort of answers that are not right. Whoever measures the time must not learn which it is.
type class struct {
	name string
	make func(*verifier, testing.TB) answer
	want error // nil where the answer is wrong, and otherwise rejected
}

var classes = []class{
	{"unknown", func(v *verifier, t testing.TB) answer {
		id := rand.Text()
		return answer{tasks.Ref{ID: id, Purpose: "sign-in", To: id + "@example.com"}, "1234 5678"}
	}, tasks.ErrRejected},
	{"expired", func(v *verifier, t testing.TB) answer { return v.code(t, codeMail{life: -time.Second}) }, tasks.ErrRejected},
	{"used", func(v *verifier, t testing.TB) answer {
		a := v.code(t, codeMail{})
		if err := v.client.Verify(t.Context(), a.Ref, a.typed); err != nil {
			t.Error(err)
		}
		return a
	}, tasks.ErrRejected},
	{"locked", func(v *verifier, t testing.TB) answer {
		a := v.code(t, codeMail{})
		for range record.MaxMisses {
			v.client.Verify(t.Context(), a.Ref, differing(a, 8).typed)
		}
		if err := v.client.Unlock(t.Context(), a.To); err != nil { // the counters are as in the other classes
			t.Error(err)
		}
		return a
	}, tasks.ErrRejected},
	{"wrong", func(v *verifier, t testing.TB) answer { return differing(v.code(t, codeMail{}), 8) }, nil},
	{"wrong-7", func(v *verifier, t testing.TB) answer { return differing(v.code(t, codeMail{}), 1) }, nil},
	{"address", func(v *verifier, t testing.TB) answer {
		a := v.code(t, codeMail{})
		a.To = strings.ToLower(rand.Text()) + "@example.com"
		return a
	}, tasks.ErrRejected},
	{"purpose", func(v *verifier, t testing.TB) answer {
		a := v.code(t, codeMail{})
		a.Purpose = "sign-up"
		return a
	}, tasks.ErrRejected},
	{"session", func(v *verifier, t testing.TB) answer { return v.code(t, codeMail{session: "0123456789abcdef"}) }, tasks.ErrRejected},
	{"forged", func(v *verifier, t testing.TB) answer {
		a := v.code(t, codeMail{})
		if err := v.rdb.HSet(t.Context(), "securemail:{"+a.ID+"}", "digits", 6).Err(); err != nil {
			t.Error(err)
		}
		return a
	}, tasks.ErrRejected},
}

// codeMail is what the mails of the classes differ in.
type codeMail struct {
	life    time.Duration // 0 is an hour
	session string
}

// code returns the right answer to a new code, without its session.
func (c *verifier) code(t testing.TB, m codeMail) answer {
	ring, err := keyring.Load(c.ring)
	if err != nil {
		t.Fatal(err)
	}
	kid, key := ring.Active()
	id := rand.Text()
	p := credential.Params{Kind: tasks.Code, ID: id, Purpose: "sign-in", To: strings.ToLower(id) + "@example.com", Seed: make([]byte, 32), Digits: 8}
	rand.Read(p.Seed)
	if m.session != "" {
		p.Session = tasks.SessionHash(m.session)
	}
	if m.life == 0 {
		m.life = time.Hour
	}
	cred, err := credential.Derive(key, p)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := record.Entry{ID: id, Kind: p.Kind, Purpose: p.Purpose, Digits: p.Digits, Bound: m.session != "", Seed: p.Seed, KeyID: kid,
		Sealed: make([]byte, 400), CreatedAt: now, ExpiresAt: now.Add(m.life), Address: record.AddressTag(ring.Recipients(), id, p.To)}
	e.Sign(key)
	if _, err := c.records.Open(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return answer{tasks.Ref{ID: id, Purpose: p.Purpose, To: p.To}, cred.Display().Reveal()}
}

// differing returns a with the last n digits changed.
func differing(a answer, n int) answer {
	typed := []byte(a.typed)
	for i := len(typed) - 1; i >= 0 && n > 0; i-- {
		if typed[i] != ' ' {
			typed[i] = '0' + (typed[i]-'0'+5)%10
			n--
		}
	}
	a.typed = string(typed)
	return a
}

// question is one answer of a class.
type question struct {
	class int
	answer
}

// questions returns n answers of each class, shuffled, with their records in Redis.
func (c *verifier) questions(t testing.TB, n int) []question {
	all := make([]question, n*len(classes))
	var making sync.WaitGroup
	for half := range 16 {
		making.Go(func() {
			for i := half; i < len(all); i += 16 {
				all[i] = question{i % len(classes), classes[i%len(classes)].make(c, t)}
			}
		})
	}
	making.Wait()
	mathrand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// ask verifies all answers, one after the other, and returns how long those of each class took, sorted.
func (c *verifier) ask(t testing.TB, all []question) [][]time.Duration {
	took := make([][]time.Duration, len(classes))
	for _, q := range all {
		begun := time.Now()
		err := c.client.Verify(context.Background(), q.Ref, q.typed)
		took[q.class] = append(took[q.class], time.Since(begun))
		var wrong *tasks.WrongError
		if want := classes[q.class].want; want != nil && !errors.Is(err, want) || want == nil && !errors.As(err, &wrong) {
			t.Fatalf("%s: got %v", classes[q.class].name, err)
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	return took
}

// BenchmarkVerifyClasses verifies 2,000 answers of each class, one after the other in random order, with Redis on a Unix
// socket. It reports the median of each class in µs, and its ratio to that of wrong answers.
func BenchmarkVerifyClasses(b *testing.B) {
	app := newVerifier(b, "unix")
	for _, c := range classes { // so that Redis knows all scripts
		c.make(app, b)
	}
	took := make([][]time.Duration, len(classes))
	for b.Loop() {
		for i, t := range app.ask(b, app.questions(b, 2000)) {
			took[i] = append(took[i], t...)
		}
	}
	medians, wrong := make([]float64, len(classes)), 0.0
	for i, c := range classes {
		slices.Sort(took[i])
		medians[i] = float64(took[i][len(took[i])/2].Nanoseconds()) / 1000
		if c.name == "wrong" {
			wrong = medians[i]
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, c := range classes {
		b.ReportMetric(medians[i], c.name+"-µs")
		b.ReportMetric(medians[i]/wrong, c.name+"-of-wrong")
	}
}
