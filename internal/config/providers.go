package config

import (
	"fmt"
	"slices"
	"strings"

	"example.com/securemail/internal/secret"
)

// Provider is what is known of one provider's submission server. docs/providers.md shows it to people.
type Provider struct {
	Name string // as people know it
	Host string // empty where the account's region decides: HostHint then says what to set
	Port int
	// HostHint says how to find the host, or which other hosts the provider has.
	HostHint string
	TokenURL string // of OAuth2; empty where a login is by password alone
	Username string // the user name that every account has; empty where each has its own
	Address  bool   // the user name is a whole address
	Login    string // where the password comes from
	PerDay   int    // messages a day that the provider takes from an account; 0 where it differs
	// PerSecond is how many messages a second it takes; 0 where it differs.
	PerSecond float64
	// Headers turn link rewriting and open tracking off, for one message.
	Headers []string
	// Privacy says what the provider does with a message, and what has to be turned off in the account itself.
	Privacy string
}

const appPassword = "needs an app password, made in the account's security settings"

var providers = map[string]Provider{
	"gmail": {Name: "Gmail", Host: "smtp.gmail.com", Port: 465, TokenURL: "https://oauth2.googleapis.com/token", Address: true,
		Login:   "needs an app password (Google account, Security, 2-Step Verification, App passwords), or oauth2",
		Privacy: "keeps each message in the account's Sent folder: delete it there, or use an account of its own for the worker"},
	"microsoft365": {Name: "Microsoft 365", Host: "smtp.office365.com", Port: 587, Address: true, PerDay: 10_000, PerSecond: 0.5,
		TokenURL: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
		Login:    "needs oauth2, and SMTP AUTH allowed for the mailbox",
		Privacy:  "keeps each message in the mailbox's Sent Items; Safe Links of the recipient's organisation rewrite links"},
	"ses": {Name: "Amazon SES", Port: 465, HostHint: "email-smtp.REGION.amazonaws.com, such as email-smtp.eu-central-1.amazonaws.com",
		Login:   "needs SMTP credentials made in the SES console; access keys of IAM do not work",
		Privacy: "keeps no body; rewrites links and adds a pixel only by a configuration set with open and click events, so name none as the default"},
	"sendgrid": {Name: "SendGrid", Host: "smtp.sendgrid.net", Port: 465, HostHint: "smtp.eu.sendgrid.net for accounts of the EU", Username: "apikey",
		Login:   "needs an API key with the right Mail Send",
		Headers: []string{`X-SMTPAPI: {"filters":{"clicktrack":{"settings":{"enable":0}},"opentrack":{"settings":{"enable":0}}}}`},
		Privacy: "keeps no body; rewrites links and adds a pixel by default, which the worker turns off for each message"},
	"mailgun": {Name: "Mailgun", Host: "smtp.mailgun.org", Port: 465, HostHint: "smtp.eu.mailgun.org for domains of the EU", Address: true,
		Login:   "needs the SMTP credentials of the sending domain",
		Headers: []string{"X-Mailgun-Track: no"},
		Privacy: "keeps bodies for up to seven days: set the domain's message retention to 0; tracking is turned off for each message"},
	"postmark": {Name: "Postmark", Host: "smtp.postmarkapp.com", Port: 587,
		Login:   "needs the server's API token as user name and as password",
		Headers: []string{"X-PM-TrackOpens: false", "X-PM-TrackLinks: None"},
		Privacy: "keeps bodies for 45 days: set the retention of the message stream to 0; open tracking that the server's settings turn on cannot be turned off for one message"},
	"brevo": {Name: "Brevo", Host: "smtp-relay.brevo.com", Port: 465, Address: true,
		Login:   "needs an SMTP key, made under SMTP & API",
		Privacy: "keeps bodies in its log, and rewrites links and adds a pixel: turn both off in the settings of transactional email"},
	"zoho": {Name: "Zoho Mail", Host: "smtp.zoho.com", Port: 465, HostHint: "smtppro.zoho.com for a domain of your own; .eu, .in and others by region", Address: true,
		Login: appPassword, Privacy: "keeps each message in the account's Sent folder"},
	"fastmail": {Name: "Fastmail", Host: "smtp.fastmail.com", Port: 465, Address: true, Login: appPassword,
		Privacy: "keeps no copy of what is sent over SMTP"},
	"icloud": {Name: "iCloud Mail", Host: "smtp.mail.me.com", Port: 587, Address: true, PerDay: 1000,
		Login:   "needs an app-specific password, made at the Apple account",
		Privacy: "keeps no copy of what is sent over SMTP"},
	"mailjet": {Name: "Mailjet", Host: "in-v3.mailjet.com", Port: 465,
		Login:   "needs the API key as user name and the secret key as password",
		Headers: []string{"X-Mailjet-TrackOpen: 0", "X-Mailjet-TrackClick: 0"},
		Privacy: "rewrites links and adds a pixel by default, which the worker turns off for each message"},
	"resend": {Name: "Resend", Host: "smtp.resend.com", Port: 465, Username: "resend",
		Login:   "needs an API key",
		Privacy: "keeps bodies and shows them in its log; rewrites links and adds a pixel only where the domain's settings say so"},
	"smtp2go": {Name: "SMTP2GO", Host: "mail.smtp2go.com", Port: 465,
		Login:   "needs an SMTP user, made under Sending",
		Privacy: "keeps bodies only where archiving is on; turn open and click tracking off for the SMTP user"},
	"ovh": {Name: "OVHcloud", Host: "ssl0.ovh.net", Port: 465, HostHint: "smtp.mail.ovh.net or ex.mail.ovh.net for other products", Address: true,
		Login: "needs the password of the mailbox", Privacy: "keeps no copy of what is sent over SMTP; takes 200 messages an hour from a mailbox"},
	"ionos": {Name: "IONOS", Host: "smtp.ionos.com", Port: 465, HostHint: "smtp.ionos.de, .co.uk, .fr, .es and others by country", Address: true,
		Login: "needs the password of the mailbox", Privacy: "keeps no copy of what is sent over SMTP"},
}

// Providers returns what is known of each provider, by the value of smtp.provider.
func Providers() map[string]Provider {
	all := map[string]Provider{}
	for name, p := range providers {
		all[name] = p
	}
	return all
}

// providerNames lists the values of smtp.provider.
func providerNames() string {
	names := make([]string, 0, len(providers))
	for name := range providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// completeProvider fills in what is known of the provider.
func (s *SMTP) completeProvider(wrong func(key, format string, args ...any)) {
	known, found := providers[s.Provider]
	if !found {
		if s.Provider != "" {
			wrong("provider", "%q is not known; leave it out, or use one of %s", s.Provider, providerNames())
		}
		return
	}
	if s.Host == "" {
		s.Host = known.Host
	}
	if s.Host == "" {
		wrong("host", "for %s it is %s", known.Name, known.HostHint)
	}
	if s.Port == 0 {
		s.Port = known.Port
	}
	if s.Provider == "gmail" { // Google shows an app password in four groups, and people paste what they see
		s.Password = secret.New(strings.ReplaceAll(s.Password.Reveal(), " ", ""))
	}
	if s.UsesOAuth2() && s.OAuth2TokenURL == "" {
		s.OAuth2TokenURL = known.TokenURL
	}
	if s.Username == "" {
		s.Username = known.Username
	}
	if known.Address && !strings.Contains(s.Username, "@") {
		wrong("username", "for %s it must be the whole address of the account", known.Name)
	}
	if s.Password.IsZero() && !s.UsesOAuth2() {
		wrong("password", "%s %s", known.Name, known.Login)
	}
	s.completeLimits(known)
}

// completeLimits sets the provider's limits where no others are set.
func (s *SMTP) completeLimits(known Provider) {
	if s.PerDay == 0 {
		s.PerDay = known.PerDay
	}
	if s.PerSecond == 0 {
		s.PerSecond = known.PerSecond
	}
	if s.Provider == "gmail" && s.PerDay == 0 { // support.google.com/a/answer/166852: messages a day
		s.PerDay = 2000
		if _, domain, _ := strings.Cut(strings.ToLower(s.Username), "@"); domain == "gmail.com" || domain == "googlemail.com" {
			s.PerDay = 500
		}
	}
}

// Headers are the header lines that turn the provider's tracking off.
func (s *SMTP) Headers() []string { return providers[s.Provider].Headers }

// Advice is what an operator should know of the provider's handling of messages; "" without a provider.
func (s *SMTP) Advice() string {
	known, found := providers[s.Provider]
	if !found {
		return ""
	}
	return fmt.Sprintf("%s %s", known.Name, known.Privacy)
}
