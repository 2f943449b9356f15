package record

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// How often an answer may be wrong.
const (
	MaxMisses          = 5              // of one credential, which is then locked
	MaxMissesActive    = 100            // in a row of an active TOTP, which is then locked (NIST SP 800-63B-4 section 3.2.2)
	MaxRecipientMisses = 20             // of one recipient and purpose, across mails, in any MissWindow
	MissWindow         = 24 * time.Hour // also what an answer whose process died counts for
)

// Comparison is what comparing an answer with the secret came to.
type Comparison string

const (
	Right       Comparison = "right"
	Wrong       Comparison = "wrong"
	NotCompared Comparison = "none" // there is no such credential, or it is not the one that was asked for
)

// Check is one answer on its way: charged to the recipient's counter, and not yet settled.
type Check struct {
	ID       string
	Purpose  string // of the mail, as are the others below; empty where there is no record
	Kind     string
	Address  string // as [AddressTag] made it
	KeyID    string
	Seed     []byte
	Digits   int
	TOTP     []byte // the sealed secret; empty for the other kinds
	Live     bool   // the credential can be used up, as far as could be seen when the record was read
	Limited  bool   // the recipient's counter is full, so the answer must not be compared
	counters string
	charge   string // the field of the counters that holds this call's charge
	token    string
}

// Outcome is what an answer came to. Where it is neither right nor wrong, there is nothing to answer: the credential is
// dead, or is none, or the code of a TOTP was used before.
type Outcome struct {
	Right, Wrong bool
	TriesLeft    int // of a wrong answer
}

var (
	//go:embed lua/charge.lua
	chargeSource string
	//go:embed lua/answer.lua
	answerSource string

	chargeScript = redis.NewScript(chargeSource)
	answerScript = redis.NewScript(answerSource)
)

// RecipientHash is what Redis knows a recipient by: a keyed hash of the address in its canonical form, under the key
// ring's recipients key. Capitals make no other recipient: next to no provider tells them apart (RFC 5321 section 2.4 would
// let it), and who types an address in many ways shall not get as many mails and guesses.
func RecipientHash(recipients []byte, address string) string {
	return keyedHash(recipients, "securemail/recipient/v1", strings.ToLower(address))
}

// AddressTag ties a mail's record to its recipient without holding the address. Unlike [RecipientHash] it is another
// one for every mail, so that records do not tell which mails went to the same person.
func AddressTag(recipients []byte, id, address string) string {
	return keyedHash(recipients, "securemail/address/v1", id, address)
}

// keyedHash puts the length before every part, so that no two lists of parts run together.
func keyedHash(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		binary.Write(h, binary.BigEndian, uint32(len(p)))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func recipientKey(hash string) string { return "securemail:{r:" + hash + "}" }

// StartCheck reads the record of id and charges an answer to the counter of recipient (a [RecipientHash]) and purpose,
// in one flight. A process that dies before it calls [Store.Settle] leaves the charge standing.
func (s *Store) StartCheck(ctx context.Context, id, recipient, purpose string) (*Check, error) {
	prefix := "m:" + purpose + ":"
	c := &Check{ID: id, token: rand.Text(), counters: recipientKey(recipient)}
	c.charge = prefix + c.token
	args := []any{c.charge, prefix, MaxRecipientMisses, MissWindow.Milliseconds()}

	var read *redis.SliceCmd
	var reply []int64
	err := repeat(ctx, func() (err error) {
		// The two keys are in different slots of a cluster, which a pipeline may be and a script may not.
		pipe := s.rdb.Pipeline()
		read = pipe.HMGet(ctx, key(id), checkFields...)
		charge := chargeScript.EvalSha(ctx, pipe, []string{c.counters}, args...)
		pipe.Exec(ctx) // every command has its own error
		if redis.HasErrorPrefix(charge.Err(), "NOSCRIPT") {
			charge = chargeScript.Eval(ctx, s.rdb, []string{c.counters}, args...)
		}
		reply, err = charge.Int64Slice()
		return errors.Join(err, read.Err())
	})
	if err != nil {
		if reply != nil { // on a cluster the one can fail without the other; nothing was compared
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			s.GiveBack(ctx, c)
		}
		return nil, fmt.Errorf("read the record and charge the recipient's counter: %w", err)
	}
	c.Limited = reply[0] == 0
	if err := c.scan(read, reply[1]); err != nil {
		return nil, err
	}
	return c, nil
}

var checkFields = []string{"kind", "purpose", "to", "kid", "seed", "digits", "totp", "cred", "expires"}

// scan takes over what was read of the record at now, by Redis's clock.
func (c *Check) scan(read *redis.SliceCmd, now int64) error {
	var f struct {
		Kind    string `redis:"kind"`
		Purpose string `redis:"purpose"`
		Address string `redis:"to"`
		KeyID   string `redis:"kid"`
		Seed    []byte `redis:"seed"`
		Digits  int    `redis:"digits"`
		TOTP    []byte `redis:"totp"`
		Cred    string `redis:"cred"`
		Expires int64  `redis:"expires"`
	}
	if err := read.Scan(&f); err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	c.Kind, c.Purpose, c.Address, c.KeyID, c.Seed, c.Digits, c.TOTP = f.Kind, f.Purpose, f.Address, f.KeyID, f.Seed, f.Digits, f.TOTP
	switch CredentialState(f.Cred) {
	case CredentialLive, CredentialPending:
		c.Live = f.Expires > now
	case CredentialActive:
		c.Live = true
	}
	return nil
}

// Settle writes down what comparing came to, and gives the charge back unless the answer was a miss. Whatever was
// compared, it sends the same commands. A right answer may find that another one came first. step is the time step that
// a right code of a TOTP is of, otherwise 0.
//
// On a cluster the two commands reach different servers. The charge of a right answer is then given back even if the
// other server is out of reach; who knew the secret has guessed nothing.
func (s *Store) Settle(ctx context.Context, c *Check, was Comparison, step int64) (Outcome, error) {
	giveBack := c.charge
	if was == Wrong {
		giveBack = "-" // a field that is never there
	}
	keys := []string{key(c.ID), sealedKey(c.ID)}
	args := []any{c.token, string(was), step, MaxMisses, MaxMissesActive, s.retention.Milliseconds()}
	var text string
	err := repeat(ctx, func() (err error) {
		pipe := s.rdb.Pipeline()
		answer := answerScript.EvalSha(ctx, pipe, keys, args...)
		pipe.HDel(ctx, c.counters, giveBack)
		pipe.Exec(ctx) // a charge that could not be given back stays: the limit errs on the strict side
		if redis.HasErrorPrefix(answer.Err(), "NOSCRIPT") {
			answer = answerScript.Eval(ctx, s.rdb, keys, args...)
		}
		text, err = answer.Text()
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("settle the answer: %w", err)
	}
	out := readOutcome(text)
	if was == Wrong && !out.Wrong {
		s.GiveBack(ctx, c) // the credential died meanwhile, and nobody learns what the answer was worth
	}
	return out, nil
}

// readOutcome reads what answer.lua returns.
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

// GiveBack undoes the charge of a check that cannot be carried out.
func (s *Store) GiveBack(ctx context.Context, c *Check) error {
	if err := s.rdb.HDel(ctx, c.counters, c.charge).Err(); err != nil {
		return fmt.Errorf("give the charge back: %w", err)
	}
	return nil
}

// repeat calls send again after a broken connection, up to three times in all. go-redis repeats by itself after some
// breaks (EOF) and not after others (a reset); to repeat here, with the same token, is what lets the owner of a right
// answer hear that it was right.
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
