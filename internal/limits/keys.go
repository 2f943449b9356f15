package limits

import (
	"fmt"
	"net/netip"
	"time"

	"example.com/securemail/internal/lp"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/tasks"
)

// RecipientKey returns the Redis key of what is counted of a recipient. key is the key ring's recipients key. The
// counters of wrong answers, which package record keeps, are in the same hash.
func RecipientKey(key []byte, to mailaddr.Address) string {
	return "securemail:{r:" + lp.Hash(key, "securemail/recipient/v1", to.Fold()) + "}"
}

// originKey returns the Redis key of what an asker has caused, or "" where ip is no IP address. One customer of a
// provider has a whole /64 network of IPv6 (RFC 6177), and changes addresses in it at will; so it is one asker. An IPv4
// address in the form ::ffff:192.0.2.1 is that address.
func originKey(key []byte, ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	address = address.Unmap().WithZone("")
	asker := address.String()
	if address.Is6() {
		asker = netip.PrefixFrom(address, 64).Masked().String()
	}
	return "securemail:{o:" + lp.Hash(key, "securemail/origin/v1", asker) + "}"
}

const totalKey = "securemail:{total}"

// Sending is one sending of one mail, and whom it counts for.
type Sending struct {
	ID        string // of the mail
	Kind      tasks.Kind
	Resends   int       // 0 for the first sending
	Recipient string    // a [RecipientKey]
	Origin    string    // "" where nobody is known to have asked
	Until     time.Time // from then on it is of no use
}

// NewSending returns what t counts as. key is the key ring's recipients key.
func NewSending(key []byte, t tasks.Task) (Sending, error) {
	to, err := mailaddr.Parse(t.Mail.To)
	if err != nil {
		return Sending{}, err
	}
	return Sending{ID: t.ID, Kind: t.Mail.Kind, Resends: t.Resends, Recipient: RecipientKey(key, to),
		Origin: originKey(key, t.Mail.Origin.IP), Until: t.LateAt()}, nil
}

func (s Sending) name() string { return fmt.Sprintf("%s.%d", s.ID, s.Resends) }

func (s Sending) field() string { return "s:" + string(s.Kind) + ":" + s.name() }
