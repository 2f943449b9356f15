package record

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/lp"
	"example.com/securemail/tasks"
)

// How often an answer may be wrong.
const (
	MaxMisses       = 5   // of one credential, which is then locked
	MaxMissesActive = 100 // in a row of an active TOTP, which is then locked (NIST SP 800-63B-4 section 3.2.2)
	// Of one recipient, across mails, in any MissWindow. TOTPs are counted apart from codes and keys.
	MaxRecipientMisses    = 20 // of one purpose
	MaxRecipientMissesAll = 60 // of all purposes, codes and keys alone
	MissWindow            = 24 * time.Hour
)

// ReplayTime is how long a yes is said again to the same attempt, so that a lost reply locks nobody out.
const ReplayTime = 2 * time.Minute

// finishTime bounds what ends an answer once it has been compared, whatever the caller's context does.
const finishTime = 5 * time.Second

// Comparison is the result of comparing an answer with the secret.
type Comparison string

const (
	Right       Comparison = "right"
	Wrong       Comparison = "wrong"
	NotCompared Comparison = "none" // there is no such credential, or it is not the one that was asked for
)

// Answer is one answer in progress. Its Entry is the record's, and has an ID alone where there is none. Check that it is
// [Entry.Authentic] before the secret is derived.
type Answer struct {
	Entry
	Live     bool // the credential can be verified, as of when the record was read
	Verified bool // a right answer has used it up
	Limited  bool // the recipient has had too many wrong answers, so this one must not be compared

	counters string
	purpose  string // of the question
	token    string
}

// AttemptToken names one attempt of a caller to answer: the same attempt with the same answer has the same token. key is the
// key ring's recipients key, so that nobody can compute the token from what is in Redis.
func AttemptToken(key []byte, ref tasks.Ref, typed string) string {
	return lp.Hash(key, "securemail/attempt/v1", ref.ID, ref.Purpose, ref.To, ref.Session, ref.Attempt, typed)
}

// Outcome is how an answer ended. Where it is neither right nor wrong, there was nothing to compare with: the credential
// is dead, does not exist, or the code of a TOTP was used before.
type Outcome struct {
	Right, Wrong bool
	TriesLeft    int // of a wrong answer
}

var (
	verifyBeginScript  = script("verify_begin")
	verifyCountScript  = script("verify_count")
	verifyFinishScript = script("verify_finish")
)

// BeginVerify reads the record of id and how many wrong answers a recipient has given for a purpose, in one round trip. It
// changes nothing. counters is the key of the recipient's counters (limits.RecipientKey). token is an [AttemptToken], or
// empty for an answer that nobody will repeat. The error can be [ErrBroken].
func (s *Store) BeginVerify(ctx context.Context, id, counters, purpose, token string) (*Answer, error) {
	a := &Answer{Entry: Entry{ID: id}, token: cmp.Or(token, rand.Text()), counters: counters, purpose: purpose}
	keys, args := []string{counters}, named("purpose", purpose, "window", MissWindow.Milliseconds())
	var read *redis.SliceCmd
	var misses []int64
	err := repeat(ctx, func() (err error) {
		// The two keys are in different slots of a Cluster, which a pipeline may span and a script may not.
		pipe := s.rdb.Pipeline()
		read = pipe.HMGet(ctx, recordKey(id), answerFields...)
		count := verifyBeginScript.EvalSha(ctx, pipe, keys, args...)
		pipe.Exec(ctx) // every command has its own error
		if redis.HasErrorPrefix(count.Err(), "NOSCRIPT") {
			count = verifyBeginScript.Eval(ctx, s.rdb, keys, args...)
		}
		misses, err = count.Int64Slice()
		return errors.Join(err, read.Err())
	})
	if read.Err() != nil {
		err = readable(read.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("read the record and the recipient's counters: %w", err)
	}
	a.read(read.Val(), misses[0])
	a.Limited = misses[1] >= MaxRecipientMisses || misses[2] >= MaxRecipientMissesAll
	if a.Kind == tasks.TOTP {
		a.Limited = misses[3] >= MaxRecipientMisses
	}
	return a, nil
}

// Read reads what BeginVerify reads of the record, as of now. The error can be [ErrBroken].
func (s *Store) Read(ctx context.Context, id string, now time.Time) (*Answer, error) {
	a := &Answer{Entry: Entry{ID: id}}
	values, err := s.rdb.HMGet(ctx, recordKey(id), answerFields...).Result()
	if err = readable(err); err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	a.read(values, now.UnixMilli())
	return a, nil
}

var answerFields = append([]string{"cred"}, entryFields...)

// read takes over what was read of the record at now, in ms.
func (a *Answer) read(values []any, now int64) {
	h := hashOf(answerFields, values)
	a.Entry = h.entry(a.ID)
	// The kind is covered by the MAC, and the state is not. A code that is active would have no end.
	totp := a.Kind == tasks.TOTP
	switch tasks.CredentialState(h["cred"]) {
	case tasks.CredentialLive:
		a.Live = !totp && h.number("expires") > now
	case tasks.CredentialPending:
		a.Live = totp && h.number("expires") > now
	case tasks.CredentialActive:
		a.Live = totp
	case tasks.CredentialVerified:
		a.Verified = true
	}
}

// FinishVerify writes down the result of the comparison: the recipient's counters and the credential count a wrong answer,
// and the credential is used up by a right one. It sends the same commands whatever the result. A right answer may find
// that another one came first, or that the recipient's counters were filled meanwhile. step is that of a right TOTP code.
//
// matches says that the answer is the secret's, though it may be too late to be right. Where an earlier call with the same
// token was right, so is this one, for [ReplayTime].
//
// It ends what it began even if ctx ends: an answer that was compared is counted. On a Cluster the two commands reach
// different servers, and one can fail without the other. Then nobody learns the result.
func (s *Store) FinishVerify(ctx context.Context, a *Answer, result Comparison, matches bool, step int64) (Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	count := a.countArgs(result)
	finish := named("token", a.token, "result", string(result), "matches", matches, "totp", a.Kind == tasks.TOTP, "again", ReplayTime.Milliseconds(), "step", step,
		"misses", MaxMisses, "misses_active", MaxMissesActive)
	var place bool
	var text string
	err := repeat(ctx, func() error {
		pipe := s.rdb.Pipeline()
		// By their sources: a script that Redis does not know yet would run after those of other answers.
		counted := verifyCountScript.Eval(ctx, pipe, []string{a.counters}, count...)
		finished := verifyFinishScript.Eval(ctx, pipe, keysOf(a.ID), finish...)
		pipe.Exec(ctx) // every command has its own error
		var err error
		if place, err = counted.Bool(); err != nil || !place {
			return err
		}
		text, err = finished.Text()
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("finish the answer: %w", readable(err))
	}
	if !place {
		return Outcome{}, nil
	}
	out := readOutcome(text)
	out.Right = out.Right && (result == Right || matches) // whatever Redis has
	if result == Wrong && !out.Wrong {                    // the credential died meanwhile, or the answer was right before
		s.rdb.HDel(ctx, a.counters, a.field()) // where that fails it stays counted, which errs on the strict side
	}
	return out, nil
}

// group is the beginning of the fields that count this answer: TOTPs are counted apart.
func (a *Answer) group() string {
	if a.Kind == tasks.TOTP {
		return "t:"
	}
	return "m:"
}

func (a *Answer) field() string { return a.group() + a.purpose + ":" + a.token }

func (a *Answer) countArgs(result Comparison) []any {
	all := MaxRecipientMissesAll
	if a.Kind == tasks.TOTP {
		all = math.MaxInt32 // TOTPs have no limit over all purposes
	}
	return named("result", string(result), "field", a.field(), "group", a.group(), "prefix", a.group()+a.purpose+":",
		"most", MaxRecipientMisses, "most_all", all)
}

// readOutcome reads what verify_finish.lua returns.
func readOutcome(text string) Outcome {
	word, number, _ := strings.Cut(text, ":")
	switch {
	case text == "right":
		return Outcome{Right: true}
	case word == "wrong":
		left, _ := strconv.Atoi(number) // the script made the number
		return Outcome{Wrong: true, TriesLeft: left}
	}
	return Outcome{}
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
