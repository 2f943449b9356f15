package submission_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"example.com/securemail/internal/submission"
)

// TestCases_RefusalsOfOursLoseNoMail: each of these once ended a mail for good, or put it on the recipient, beside a
// healthy relay.
func TestCases_RefusalsOfOursLoseNoMail(t *testing.T) {
	for name, c := range map[string]struct {
		phase, reply string
		limited      bool // too much for now
	}{
		"a rate a second is not the mail's own":          {"dot", "454 Throttling failure: Maximum sending rate exceeded.", true},
		"a day's quota is not the mail's own":            {"dot", "454 Throttling failure: Daily message quota exceeded.", true},
		"an outbound quota is not a full mailbox":        {"dot", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message", true},
		"outbound spam is not a full mailbox":            {"dot", "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message", false},
		"a missing login is not an unknown user":         {"rcpt", `550-Please turn on SMTP Authentication in your mail client. host.example.com [192.0.2.1]:54321 is\r\n550 not permitted to relay through this server without authentication.`, false},
		"an hour's limit is not an unknown user":         {"rcpt", "550 User alice has exceeded its 24-hour sending limit. Messages to 250 recipients out of 250 allowed have been sent.", true},
		"a domain's hourly limit is not an unknown user": {"rcpt", "550 Domain example.com has exceeded the max emails per hour (100/100 (100%)) allowed. Message discarded.", true},
		"qmail's rcpthosts is not an unknown user":       {"rcpt", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", false},
		"a forward path is not an unknown user":          {"rcpt", "550 domain of forward path is not allowed", false},
		"a refused sender at the dot is not the message": {"dot", "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.", false},
		"an unverified sender is not the content":        {"dot", "554 Message rejected: Email address is not verified. The following identities failed the check: no-reply@example.com", false},
		"a rate of ours is not the mail's own":           {"dot", `451 4.7.1 Ratelimit "user" exceeded`, true},
		"a sender's day limit is not an unknown user":    {"dot", "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", true},
		"relaying denied is not an unknown user":         {"rcpt", "550 5.1.0 Relaying denied. Proper authentication required.", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range modes {
				s := newServer(t, mode, map[string]string{c.phase: c.reply}).start()
				_, err := submit(s.client())
				e := failure(t, err)
				if e.Scope == submission.ScopeRecipient || e.Scope == submission.ScopeMessage || e.Limited != c.limited {
					t.Errorf("%v: got %s, limited %v: %v", mode, e.Scope, e.Limited, e)
				}
				if !e.FailsOver() {
					t.Errorf("%v: no other relay is tried", mode)
				}
				if e.Said() == "" {
					t.Errorf("%v: what the server said is thrown away", mode)
				}
			}
		})
	}
}

// TestCases_OnlyALoginOrACertificateSuspendsForMinutes: a name that was gone for seconds, one TLS alert and one server of
// a pool that was going down once stopped all mails for five minutes.
func TestCases_OnlyALoginOrACertificateSuspendsForMinutes(t *testing.T) {
	for name, test := range map[string]struct {
		err  *submission.Error
		want submission.Pause
	}{
		"a name that is not found":  {submission.Broken(context.Background(), submission.PhaseDial, &net.DNSError{Err: "no such host", IsNotFound: true}), submission.PauseShort},
		"a TLS alert":               {submission.Broken(context.Background(), submission.PhaseTLS, &net.OpError{Op: "remote error", Err: tls.AlertError(80)}), submission.PauseShort},
		"a 554 greeting":            {submission.Refused(submission.PhaseGreeting, 554, ""), submission.PauseShort},
		"a refused EHLO":            {submission.Refused(submission.PhaseEHLO, 502, "5.5.1"), submission.PauseShort},
		"a refused STARTTLS":        {submission.Refused(submission.PhaseStartTLS, 454, "4.7.0"), submission.PauseShort},
		"a wrong password":          {submission.Refused(submission.PhaseAuth, 535, "5.7.8"), submission.PauseLong},
		"a wrong password, for now": {submission.Refused(submission.PhaseAuth, 435, "4.7.8"), submission.PauseLong},
		"a foreign certificate": {submission.Broken(context.Background(), submission.PhaseTLS,
			&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "mail.example.com"}}), submission.PauseLong},
	} {
		if got := test.err.Pause(); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// TestCases_AnIPListIsNoWrongPassword: an operator once looked for a wrong password where the account was limited to
// other addresses.
func TestCases_AnIPListIsNoWrongPassword(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, map[string]string{"auth": "525 5.7.1 Unauthorized IP address"}).start()
	_, err := submit(s.client())
	if e := failure(t, err); strings.Contains(e.Error(), "password was not accepted") {
		t.Errorf("got %v", e)
	}
}
