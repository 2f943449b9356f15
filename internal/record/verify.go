package record

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// How often an answer may be wrong.
const (
	MaxMisses          = 5              // of one credential, which is then locked
	MaxMissesActive    = 100            // in a row of an active TOTP, which is then locked (NIST SP 800-63B-4 section 3.2.2)
	MaxRecipientMisses = 20             // of one recipient and purpose, across mails, in any MissWindow
	MissWindow         = 24 * time.Hour // also how long the reservation of an answer stays whose process died
)

// Comparison is the result of comparing an answer with the secret.
type Comparison string

const (
	Right       Comparison = "right"
	Wrong       Comparison = "wrong"
	NotCompared Comparison = "none" // there is no such credential, or it is not the one that was asked for
)

// Answer is one answer in progress: it has a place in the recipient's counter, and is not finished.
type Answer struct {
	ID      string
	Purpose string // of the mail, as are the others below; empty where there is no record
	Kind    tasks.Kind
	Address string // an [AddressTag]
	KeyID   string
	Seed    []byte
	Digits  int
	TOTP    []byte // the sealed secret; empty for the other kinds
	Live    bool   // the credential can be verified, as of when the record was read
	Limited bool   // the recipient's counter is full, so the answer must not be compared

	counters    string
	reservation string // the field of the counters that holds this call's place
	token       string
}

// Outcome is how an answer ended. Where it is neither right nor wrong, there was nothing to compare with: the credential
// is dead, does not exist, or the code of a TOTP was used before.
type Outcome struct {
	Right, Wrong bool
	TriesLeft    int // of a wrong answer
}

var (
	verifyBeginScript  = script("verify_begin")
	verifyFinishScript = script("verify_finish")
)

// BeginVerify reads the record of id and reserves a place in the counter of a recipient and purpose, in one round trip.
// counters is the key of the recipient's counters (limits.RecipientKey). Where a process dies before it calls
// [Store.FinishVerify], the reservation stays.
func (s *Store) BeginVerify(ctx context.Context, id, counters, purpose string) (*Answer, error) {
	prefix := "m:" + purpose + ":"
	a := &Answer{ID: id, token: rand.Text(), counters: counters}
	a.reservation = prefix + a.token
	keys, args := []string{counters}, named("field", a.reservation, "prefix", prefix, "most", MaxRecipientMisses, "window", MissWindow.Milliseconds())

	var read *redis.SliceCmd
	var reply []int64
	err := repeat(ctx, func() (err error) {
		// The two keys are in different slots of a Cluster, which a pipeline may span and a script may not.
		pipe := s.rdb.Pipeline()
		read = pipe.HMGet(ctx, recordKey(id), answerFields...)
		reserve := verifyBeginScript.EvalSha(ctx, pipe, keys, args...)
		pipe.Exec(ctx) // every command has its own error
		if redis.HasErrorPrefix(reserve.Err(), "NOSCRIPT") {
			reserve = verifyBeginScript.Eval(ctx, s.rdb, keys, args...)
		}
		reply, err = reserve.Int64Slice()
		return errors.Join(err, read.Err())
	})
	if err != nil {
		if reply != nil { // on a Cluster one can fail without the other; nothing was compared
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			s.CancelVerify(ctx, a)
		}
		return nil, fmt.Errorf("read the record and the recipient's counter: %w", err)
	}
	a.Limited = reply[0] == 0
	return a, a.scan(read, reply[1])
}

// Read reads what BeginVerify reads, as of now, and reserves nothing.
func (s *Store) Read(ctx context.Context, id string, now time.Time) (*Answer, error) {
	a := &Answer{ID: id}
	return a, a.scan(s.rdb.HMGet(ctx, recordKey(id), answerFields...), now.UnixMilli())
}

var answerFields = []string{"kind", "purpose", "to", "kid", "seed", "digits", "totp", "cred", "expires"}

// scan takes over what was read of the record at now, in ms.
func (a *Answer) scan(read *redis.SliceCmd, now int64) error {
	var f struct {
		Kind    tasks.Kind            `redis:"kind"`
		Purpose string                `redis:"purpose"`
		Address string                `redis:"to"`
		KeyID   string                `redis:"kid"`
		Seed    []byte                `redis:"seed"`
		Digits  int                   `redis:"digits"`
		TOTP    []byte                `redis:"totp"`
		Cred    tasks.CredentialState `redis:"cred"`
		Expires int64                 `redis:"expires"`
	}
	if err := read.Scan(&f); err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	a.Kind, a.Purpose, a.Address, a.KeyID, a.Seed, a.Digits, a.TOTP = f.Kind, f.Purpose, f.Address, f.KeyID, f.Seed, f.Digits, f.TOTP
	switch f.Cred {
	case tasks.CredentialLive, tasks.CredentialPending:
		a.Live = f.Expires > now
	case tasks.CredentialActive:
		a.Live = true
	}
	return nil
}

// FinishVerify writes down the result of the comparison, and releases the reservation unless the answer was wrong. It
// sends the same commands whatever the result. A right answer may find that another one came first. step is the time
// step of a right TOTP code, otherwise 0.
//
// On a Cluster the two commands reach different servers. The reservation of a right answer is then released even if the
// other server is unreachable; an answer that is right has guessed nothing.
func (s *Store) FinishVerify(ctx context.Context, a *Answer, result Comparison, step int64) (Outcome, error) {
	release := a.reservation
	if result == Wrong {
		release = "-" // a field that is never there
	}
	args := named("token", a.token, "result", string(result), "step", step, "misses", MaxMisses, "misses_active", MaxMissesActive,
		"retention", s.retention.Milliseconds())
	var text string
	err := repeat(ctx, func() (err error) {
		pipe := s.rdb.Pipeline()
		finish := verifyFinishScript.EvalSha(ctx, pipe, keysOf(a.ID), args...)
		pipe.HDel(ctx, a.counters, release)
		pipe.Exec(ctx) // a reservation that could not be released stays: the limit errs on the strict side
		if redis.HasErrorPrefix(finish.Err(), "NOSCRIPT") {
			finish = verifyFinishScript.Eval(ctx, s.rdb, keysOf(a.ID), args...)
		}
		text, err = finish.Text()
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("finish the answer: %w", err)
	}
	out := readOutcome(text)
	if result == Wrong && !out.Wrong {
		s.CancelVerify(ctx, a) // the credential died meanwhile, and the answer learns nothing
	}
	return out, nil
}

// readOutcome reads what verify_finish.lua returns.
func readOutcome(text string) Outcome {
	word, number, _ := strings.Cut(text, ":")
	switch word {
	case "right":
		return Outcome{Right: true}
	case "wrong":
		left, _ := strconv.Atoi(number) // the script made the number
		return Outcome{Wrong: true, TriesLeft: left}
	}
	return Outcome{}
}

// CancelVerify releases the reservation of an answer that cannot be compared.
func (s *Store) CancelVerify(ctx context.Context, a *Answer) error {
	if err := s.rdb.HDel(ctx, a.counters, a.reservation).Err(); err != nil {
		return fmt.Errorf("release the reservation: %w", err)
	}
	return nil
}

// repeat calls send again after a broken connection, up to three times in all. go-redis itself repeats after some breaks
// (EOF) and not after others (a reset). Repeating here, with the same token, lets the owner of a right answer hear that
// it was right.
func repeat(ctx context.Context, send func() error) (err error) {
	for range 3 {
		err = send()
		var reply redis.Error
		if err == nil || errors.As(err, &reply) || ctx.Err() != nil {
			return err
		}
	}
	return err
}
