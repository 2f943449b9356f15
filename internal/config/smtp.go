package config

import (
	"cmp"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// The two ways in which a submission session is protected (RFC 8314 section 3). There is no third.
const (
	ImplicitTLS = "implicit"
	StartTLS    = "starttls"
)

// maxRelays keeps a try that fails over from one to the next within what asynq gives a handler.
const maxRelays = 4

// NamedRelay is one relay with its name, as [Config.RelayList] returns it.
type NamedRelay struct {
	Name string
	Key  string // where its settings stand: "smtp" or "relays.NAME"
	SMTP
}

// RelayList returns the relays in the order in which they are tried. It is valid after [Load].
func (c *Config) RelayList() []NamedRelay {
	if len(c.Relays) == 0 {
		name := c.SMTP.Provider
		if name == "" {
			name = strings.ReplaceAll(c.SMTP.Host, ":", "-") // an IPv6 address has colons, which a name may not
		}
		return []NamedRelay{{name, "smtp", c.SMTP}}
	}
	var list []NamedRelay
	for name, s := range c.Relays {
		list = append(list, NamedRelay{name, "relays." + name, s})
	}
	slices.SortFunc(list, func(a, b NamedRelay) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	return list
}

var relayName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// completeRelays fills in smtp, or every one of relays.
func (c *Config) completeRelays(wrong func(key, format string, args ...any)) {
	if len(c.Relays) == 0 {
		c.SMTP.complete("smtp.", wrong)
		return
	}
	if c.SMTP != (SMTP{}) {
		wrong("smtp", "smtp is one relay and relays are several; use one of the two")
	}
	if len(c.Relays) > maxRelays {
		wrong("relays", "%d are more than %d", len(c.Relays), maxRelays)
	}
	byPriority := map[int]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Relays)) {
		s, prefix := c.Relays[name], "relays."+name+"."
		if !relayName.MatchString(name) {
			wrong("relays."+name, "the name has to be of a-z, 0-9, underscore and hyphen, at most 32 characters")
		}
		if other, taken := byPriority[s.Priority]; taken {
			wrong(prefix+"priority", "%d is also that of relays.%s; each needs its own, and the lowest is tried first", s.Priority, other)
		}
		byPriority[s.Priority] = name
		s.complete(prefix, wrong)
		c.Relays[name] = s
	}
}

// complete fills in what the provider and the port imply. prefix is where the settings stand.
func (s *SMTP) complete(prefix string, report func(key, format string, args ...any)) {
	wrong := func(key, format string, args ...any) { report(prefix+key, format, args...) }
	s.completeProvider(wrong)
	if s.Host == "" && s.Provider == "" {
		wrong("host", "name the submission server, or set %sprovider", prefix)
	}
	implied := map[int]string{465: ImplicitTLS, 587: StartTLS}[s.Port]
	switch {
	case s.Port == 0:
		wrong("port", "set 465 (implicit TLS) or 587 (STARTTLS)")
	case s.Port < 0 || s.Port > 65535:
		wrong("port", "%d is not a port", s.Port)
	case s.TLS == "" && implied == "":
		wrong("tls", "port %d does not tell; set it to implicit or starttls (465 and 587 need no %stls)", s.Port, prefix)
	case s.TLS == "":
		s.TLS = implied
	case s.TLS != ImplicitTLS && s.TLS != StartTLS:
		wrong("tls", "%q is neither implicit nor starttls; there is no sending without TLS", s.TLS)
	case implied != "" && s.TLS != implied:
		wrong("tls", "port %d speaks %s, not %s (RFC 8314)", s.Port, implied, s.TLS)
	}
	s.completeLogin(wrong)
	if s.LocalName == "" {
		s.LocalName = localName()
	}
	if s.MaxConnections == 0 {
		s.MaxConnections = 20
	}
	if s.MaxConnections < 1 || s.MaxConnections > 1000 {
		wrong("max_connections", "%d is not between 1 and 1000", s.MaxConnections)
	}
	if s.PerSecond < 0 || s.PerSecond > 10_000 {
		wrong("per_second", "%v is not between 0 (no limit) and 10000", s.PerSecond)
	}
	if s.PerDay < 0 {
		wrong("per_day", "%d is not 0 (no limit) or more", s.PerDay)
	}
}

// UsesOAuth2 reports whether the login is by OAuth2.
func (s *SMTP) UsesOAuth2() bool {
	return s.OAuth2ClientID != "" || !s.OAuth2ClientSecret.IsZero() || !s.OAuth2RefreshToken.IsZero() || s.OAuth2TokenURL != ""
}

func (s *SMTP) completeLogin(wrong func(key, format string, args ...any)) {
	if !s.UsesOAuth2() {
		if (s.Username == "") != s.Password.IsZero() {
			wrong("username", "user name and password go together; one of them is missing")
		}
		return
	}
	if !s.Password.IsZero() {
		wrong("password", "there is oauth2 too; use one of the two")
	}
	if s.Username == "" {
		wrong("username", "oauth2 needs the address of the mailbox")
	}
	if s.OAuth2ClientID == "" {
		wrong("oauth2_client_id", "name the application that the refresh token was given to")
	}
	if s.OAuth2RefreshToken.IsZero() {
		wrong("oauth2_refresh_token", "it is missing")
	}
	// The refresh token goes there: never in clear, but for a test's own machine.
	u, err := url.Parse(s.OAuth2TokenURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "127.0.0.1") {
		wrong("oauth2_token_url", "set the https URL that gives out tokens, or smtp.provider")
	}
}

var domain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)

// localName is this machine's name if EHLO can carry it (RFC 5321 section 4.1.1.1) and it has a domain. Otherwise, as in
// a container, the relay gets the connection's address.
func localName() string {
	host, err := os.Hostname()
	if err != nil || !domain.MatchString(host) {
		return ""
	}
	return host
}
