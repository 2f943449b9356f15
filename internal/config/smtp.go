package config

import (
	"strings"

	"example.com/securemail/internal/secret"
)

// The two ways in which a submission session is protected (RFC 8314 section 3). There is no third.
const (
	ImplicitTLS = "implicit"
	StartTLS    = "starttls"
)

// complete fills in what the provider and the port imply.
func (s *SMTP) complete(wrong func(key, format string, args ...any)) {
	switch s.Provider {
	case "":
	case "gmail":
		if s.Host == "" {
			s.Host = "smtp.gmail.com"
		}
		if s.Port == 0 {
			s.Port = 465
		}
		// Google shows an app password in four groups, and people paste what they see.
		s.Password = secret.New(strings.ReplaceAll(s.Password.Reveal(), " ", ""))
		if !strings.Contains(s.Username, "@") {
			wrong("smtp.username", "for Gmail it is the whole address of the account")
		}
		if s.Password.IsZero() {
			wrong("smtp.password", "Gmail needs an app password (Google account, Security, 2-Step Verification, App passwords)")
		}
	default:
		wrong("smtp.provider", "%q is not known; leave it out, or use gmail", s.Provider)
	}
	if s.Host == "" {
		wrong("smtp.host", "name the submission server, or set smtp.provider")
	}
	implied := map[int]string{465: ImplicitTLS, 587: StartTLS}[s.Port]
	switch {
	case s.Port == 0:
		wrong("smtp.port", "set 465 (implicit TLS) or 587 (STARTTLS)")
	case s.Port < 0 || s.Port > 65535:
		wrong("smtp.port", "%d is not a port", s.Port)
	case s.TLS == "" && implied == "":
		wrong("smtp.tls", "port %d does not tell; set it to implicit or starttls (465 and 587 need no smtp.tls)", s.Port)
	case s.TLS == "":
		s.TLS = implied
	case s.TLS != ImplicitTLS && s.TLS != StartTLS:
		wrong("smtp.tls", "%q is neither implicit nor starttls; there is no sending without TLS", s.TLS)
	case implied != "" && s.TLS != implied:
		wrong("smtp.tls", "port %d speaks %s, not %s (RFC 8314)", s.Port, implied, s.TLS)
	}
	if (s.Username == "") != s.Password.IsZero() {
		wrong("smtp.username", "user name and password go together; one of them is missing")
	}
}
