package record

import (
	"cmp"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"time"

	"example.com/securemail/internal/lp"
	"example.com/securemail/tasks"
)

// macLabel is also the info of HKDF. docs/derivation.md has the format, with vectors.
const (
	macLabel = "securemail/record/v2"
	macSize  = 16
)

// Sign sets the MAC of the record. ringKey is the ring's key of m.KeyID, 32 bytes.
//
//	key = HKDF-SHA-256(ikm = ring key, no salt, info = "securemail/record/v2"), 32 bytes
//	mac = HMAC-SHA-256(key, lp(v, id, kind, purpose, digits, bound, created, expires, kid, seed, to, "", fingerprint)), 16 bytes
//
// digits is "6" or "8" for a code and empty otherwise; bound is "1" or empty; the times are in ms since 1970. The empty part is
// kept for a code that an application fixes.
func (m *Entry) Sign(ringKey []byte) {
	m.Version = cmp.Or(m.Version, tasks.Version)
	m.MAC = m.mac(ringKey)
}

// Authentic reports whether the MAC is that of the fields that it covers: nobody without the key ring has written or changed
// them. ringKey is as for Sign. It takes the same time whatever m holds.
func (m Entry) Authentic(ringKey []byte) bool {
	return hmac.Equal(m.MAC, m.mac(ringKey))
}

func (m Entry) mac(ringKey []byte) []byte {
	key, err := hkdf.Key(sha256.New, ringKey, nil, macLabel, sha256.Size)
	if err != nil {
		panic(err) // SHA-256 gives 32 bytes
	}
	digits, bound := "", ""
	if m.Digits != 0 {
		digits = strconv.Itoa(m.Digits)
	}
	if m.Bound {
		bound = "1"
	}
	h := hmac.New(sha256.New, key)
	h.Write(lp.Join(strconv.Itoa(m.Version), m.ID, string(m.Kind), m.Purpose, digits, bound, strconv.FormatInt(m.CreatedAt.UnixMilli(), 10),
		strconv.FormatInt(m.ExpiresAt.UnixMilli(), 10), m.KeyID, string(m.Seed), m.Address, "", string(m.Fingerprint)))
	return h.Sum(nil)[:macSize]
}

// fields is what a record of m begins with.
func (m Entry) fields(resends, tries int) []any {
	credential := tasks.CredentialLive
	if len(m.TOTP) > 0 {
		credential = tasks.CredentialPending
	}
	f := append(m.plainFields(), "seed", m.Seed, "kid", m.KeyID, "digits", m.Digits, "bound", m.Bound, "to", m.Address, "mac", m.MAC,
		"sending", resends, "tries", tries, "cred", string(credential))
	if len(m.TOTP) > 0 {
		f = append(f, "totp", m.TOTP)
	}
	return f
}

// plainFields is what a record of m has that no worker opened.
func (m Entry) plainFields() []any {
	f := []any{"v", cmp.Or(m.Version, tasks.Version), "kind", string(m.Kind), "purpose", m.Purpose, "created", m.CreatedAt.UnixMilli(),
		"expires", m.ExpiresAt.UnixMilli()}
	if len(m.Fingerprint) > 0 {
		f = append(f, "fingerprint", m.Fingerprint)
	}
	if m.ClientRef != "" {
		f = append(f, "client_ref", m.ClientRef)
	}
	return f
}

// entryFields are the fields that [hash.entry] reads. open.lua returns them too.
var entryFields = []string{"v", "kind", "purpose", "digits", "bound", "created", "expires", "kid", "seed", "to", "fingerprint", "mac", "totp"}

// hash is what was read of a record, by field. Whoever can write to Redis can have put anything there: a number that cannot be
// read is -1, which no MAC covers.
type hash map[string]string

// hashOf takes over the reply to an HMGET of fields.
func hashOf(fields []string, values []any) hash {
	h := hash{}
	for i, value := range values {
		if text, ok := value.(string); ok {
			h[fields[i]] = text
		}
	}
	return h
}

// hashOfPairs takes over name, value, ...
func hashOfPairs(pairs []string) hash {
	h := hash{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h[pairs[i]] = pairs[i+1]
	}
	return h
}

func (h hash) number(field string) int64 {
	if h[field] == "" {
		return 0
	}
	n, err := strconv.ParseInt(h[field], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// lastMoment is the end of the year 9999 in ms: JSON has no later times (RFC 3339 section 1).
const lastMoment = 253402300799999

// count is number for what cannot be below 0, as the scripts read it.
func (h hash) count(field string) int { return int(max(h.number(field), 0)) }

// moment is the zero time, which no MAC covers, where no moment of our era is there.
func (h hash) moment(field string) time.Time {
	ms := h.number(field)
	if ms <= 0 || ms > lastMoment {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// entry returns the Entry of id.
func (h hash) entry(id string) Entry {
	return Entry{Version: int(h.number("v")), ID: id, Kind: tasks.Kind(h["kind"]), Purpose: h["purpose"], Digits: int(h.number("digits")),
		Bound: h["bound"] == "1", CreatedAt: h.moment("created"), ExpiresAt: h.moment("expires"), KeyID: h["kid"], Seed: []byte(h["seed"]),
		Address: h["to"], Fingerprint: []byte(h["fingerprint"]), MAC: []byte(h["mac"]), TOTP: []byte(h["totp"])}
}

// ErrBroken is returned where a key of a record holds another type of value than a record does. Only somebody else can have
// written that.
var ErrBroken = errors.New("somebody else has written what is in place of the record in Redis")

// readable returns err, or ErrBroken where that is what it means.
func readable(err error) error {
	if err != nil && strings.Contains(err.Error(), "WRONGTYPE") { // a script's error has more text around it
		return ErrBroken
	}
	return err
}
