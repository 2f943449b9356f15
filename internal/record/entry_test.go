package record_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// vectors are those of docs/derivation.json. deploy/examples/derivation.py computes them without this package.
type vectors struct {
	MAC []struct {
		RingKey     string `json:"ring_key"`
		Version     int    `json:"v"`
		ID          string
		Kind        tasks.Kind
		Purpose     string
		Digits      int
		Bound       bool
		Created     int64
		Expires     int64
		KeyID       string `json:"kid"`
		Seed        string
		To          string
		Fingerprint string
		MAC         string
	}
	AddressTags []struct {
		Key        string `json:"recipients_key"`
		ID, To     string
		AddressTag string `json:"address_tag"`
	} `json:"address_tag"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("../../docs/derivation.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.MAC) < 3 || len(v.AddressTags) < 2 {
		t.Fatalf("got %d and %d vectors, want 3 and 2", len(v.MAC), len(v.AddressTags))
	}
	return v
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSign_MatchesTheVectors(t *testing.T) {
	for _, v := range readVectors(t).MAC {
		e := record.Entry{Version: v.Version, ID: v.ID, Kind: v.Kind, Purpose: v.Purpose, Digits: v.Digits, Bound: v.Bound,
			CreatedAt: time.UnixMilli(v.Created), ExpiresAt: time.UnixMilli(v.Expires), KeyID: v.KeyID, Seed: unhex(t, v.Seed), Address: v.To,
			Fingerprint: unhex(t, v.Fingerprint)}
		key := unhex(t, v.RingKey)
		if e.Authentic(key) {
			t.Errorf("%s: authentic without a MAC", v.Kind)
		}
		e.Sign(key)
		if got := hex.EncodeToString(e.MAC); got != v.MAC || !e.Authentic(key) {
			t.Errorf("%s: got %s, authentic %v, want %s", v.Kind, got, e.Authentic(key), v.MAC)
		}
	}
}

func TestAddressTag_MatchesTheVectors(t *testing.T) {
	for _, v := range readVectors(t).AddressTags {
		if got := record.AddressTag(unhex(t, v.Key), v.ID, v.To); got != v.AddressTag {
			t.Errorf("%s: got %s, want %s", v.To, got, v.AddressTag)
		}
	}
}

// TestAuthentic_CoversEachField: a field that was changed gives another MAC, and no two changes give the same one. What states
// and resends change is not covered.
func TestAuthentic_CoversEachField(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	entry := func() record.Entry {
		return record.Entry{Version: 2, ID: "0123456789abcdef", Kind: tasks.Code, Purpose: "sign-in", Digits: 6, Bound: true,
			CreatedAt: time.UnixMilli(1795608000000), ExpiresAt: time.UnixMilli(1795608600000), KeyID: "k1", Seed: bytes.Repeat([]byte{7}, 32),
			Address: "00112233445566778899aabbccddeeff", Fingerprint: bytes.Repeat([]byte{15}, 16)}
	}
	signed := entry()
	signed.Sign(key)
	if len(signed.MAC) != 16 {
		t.Fatalf("the MAC has %d bytes, want 16", len(signed.MAC))
	}
	seen := map[string]string{string(signed.MAC): "nothing"}
	for name, change := range map[string]func(*record.Entry){
		"v":                   func(e *record.Entry) { e.Version = 3 },
		"id":                  func(e *record.Entry) { e.ID = "0123456789abcdeg" },
		"kind":                func(e *record.Entry) { e.Kind = tasks.Key },
		"purpose":             func(e *record.Entry) { e.Purpose = "sign-on" },
		"digits":              func(e *record.Entry) { e.Digits = 8 },
		"no digits":           func(e *record.Entry) { e.Digits = 0 },
		"bound":               func(e *record.Entry) { e.Bound = false },
		"created":             func(e *record.Entry) { e.CreatedAt = e.CreatedAt.Add(time.Millisecond) },
		"expires":             func(e *record.Entry) { e.ExpiresAt = e.ExpiresAt.Add(time.Millisecond) },
		"kid":                 func(e *record.Entry) { e.KeyID = "k2" },
		"seed":                func(e *record.Entry) { e.Seed[31] ^= 1 },
		"a shorter seed":      func(e *record.Entry) { e.Seed = e.Seed[:31] },
		"to":                  func(e *record.Entry) { e.Address = "10112233445566778899aabbccddeeff" },
		"fingerprint":         func(e *record.Entry) { e.Fingerprint[0] ^= 1 },
		"no fingerprint":      func(e *record.Entry) { e.Fingerprint = nil },
		"id into kind":        func(e *record.Entry) { e.ID, e.Kind = "0123456789abcde", "fcode" },
		"kind into purpose":   func(e *record.Entry) { e.Kind, e.Purpose = "cod", "esign-in" },
		"created and expires": func(e *record.Entry) { e.CreatedAt, e.ExpiresAt = e.ExpiresAt, e.CreatedAt },
	} {
		e := entry()
		change(&e)
		e.MAC = bytes.Clone(signed.MAC)
		if e.Authentic(key) {
			t.Errorf("%s: authentic although it was changed", name)
		}
		e.Sign(key)
		if other, dup := seen[string(e.MAC)]; dup {
			t.Errorf("the same MAC for %q and %q", name, other)
		}
		seen[string(e.MAC)] = name
	}
	for name, change := range map[string]func(*record.Entry){
		"client_ref": func(e *record.Entry) { e.ClientRef = "7" },
		"totp":       func(e *record.Entry) { e.TOTP = []byte("sealed") },
		"mail":       func(e *record.Entry) { e.Sealed = []byte("sealed") },
		"resends":    func(e *record.Entry) { e.Resends = 1 },
	} {
		e := signed
		change(&e)
		if !e.Authentic(key) {
			t.Errorf("%s: not authentic, although the MAC does not cover it", name)
		}
	}
	if signed.Authentic(bytes.Repeat([]byte{2}, 32)) {
		t.Error("authentic under another key")
	}
	for _, mac := range [][]byte{nil, signed.MAC[:15], append(bytes.Clone(signed.MAC), 0)} {
		e := entry()
		if e.MAC = mac; e.Authentic(key) {
			t.Errorf("authentic with a MAC of %d bytes", len(mac))
		}
	}
}
