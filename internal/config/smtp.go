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

// The values of smtp.tls (RFC 8314 section 3). Only these two modes exist.
const (
	ImplicitTLS = "implicit"
	StartTLS    = "starttls"
)

// maxRelays bounds an attempt that fails over from relay to relay, so that it ends within asynq's
// timeout of a handler.
const maxRelays = 4

// NamedRelay is one relay with its name, as [Config.RelayList] returns it.
type NamedRelay struct {
	Name string
	Key  string // the section of its settings: "smtp" or "relays.NAME"
	SMTP
}

// RelayList returns the relays in the order in which they are tried. It is valid after [Load].
func (c *Config) RelayList() []NamedRelay {
	if len(c.Relays) == 0 {
		name := c.SMTP.Provider
		if name == "" {
			// The name must not have the colons of an IPv6 address.
			name = strings.ReplaceAll(c.SMTP.Host, ":", "-")
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

// completeRelays completes smtp or each of relays.
func (c *Config) completeRelays(wrong func(key, format string, args ...any)) {
	if len(c.Relays) == 0 {
		c.SMTP.complete("smtp.", wrong)
		return
	}
	if c.SMTP != (SMTP{}) {
		wrong("smtp", "smtp is for one relay and relays for several; use one of the two sections")
	}
	if len(c.Relays) > maxRelays {
		wrong("relays", "%d relays are more than %d", len(c.Relays), maxRelays)
	}
	byPriority := map[int]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Relays)) {
		s, prefix := c.Relays[name], "relays."+name+"."
		if !relayName.MatchString(name) {
			wrong("relays."+name, "a name has 1 to 32 characters of a-z, 0-9, underscore and hyphen, and begins with a letter or digit")
		}
		if other, taken := byPriority[s.Priority]; taken {
			wrong(prefix+"priority", "relays.%[2]s also has %[1]d; set a different one for each relay, the lowest for the first to try", s.Priority, other)
		}
		byPriority[s.Priority] = name
		s.complete(prefix, wrong)
		c.Relays[name] = s
	}
}

// complete sets what the provider and the port imply. prefix begins the names of the settings.
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
		wrong("tls", "port %d does not imply it; set implicit or starttls (465 and 587 need no %stls)", s.Port, prefix)
	case s.TLS == "":
		s.TLS = implied
	case s.TLS != ImplicitTLS && s.TLS != StartTLS:
		wrong("tls", "%q is neither implicit nor starttls; mail is never sent without TLS", s.TLS)
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
			wrong("username", "user name or password is missing; set both or neither")
		}
		return
	}
	if !s.Password.IsZero() {
		wrong("password", "oauth2 is set too; use one of the two")
	}
	if s.Username == "" {
		wrong("username", "oauth2 needs the address of the mailbox")
	}
	if s.OAuth2ClientID == "" {
		wrong("oauth2_client_id", "name the application that the refresh token was issued to")
	}
	if s.OAuth2RefreshToken.IsZero() {
		wrong("oauth2_refresh_token", "it is missing")
	}
	// The URL receives the refresh token, so it must be https. Only a test on this machine may use
	// http.
	u, err := url.Parse(s.OAuth2TokenURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "127.0.0.1") {
		wrong("oauth2_token_url", "set the https URL that issues tokens, or smtp.provider")
	}
}

var domain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)

// localName returns this machine's name if it is valid in EHLO (RFC 5321 section 4.1.1.1) and has a
// domain. Otherwise, as in a container, it returns "", and EHLO has the address of the connection.
func localName() string {
	host, err := os.Hostname()
	if err != nil || !domain.MatchString(host) {
		return ""
	}
	return host
}
