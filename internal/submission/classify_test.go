package submission_test

import (
	"testing"

	"example.com/securemail/internal/submission"
)

// TestClassify_ReachesEveryRule reaches every rule; testdata/faults.txt plays most of them over a
// wire.
var phases = []submission.Phase{"greeting", "ehlo", "starttls", "auth", "reset", "mail", "rcpt", "data", "body", "dot"}

// TestJudge_CodesWithoutWords: testdata/faults.txt plays most of them over a wire.
func TestJudge_CodesWithoutWords(t *testing.T) {
	const (
		recipient   = submission.ScopeRecipient
		message     = submission.ScopeMessage
		relay       = submission.ScopeRelay
		credentials = submission.ScopeCredentials
		unclear     = submission.ScopeUnclear
	)
	tests := []struct {
		phase     submission.Phase
		code      int
		enhanced  string
		scope     submission.Scope
		permanent bool
	}{
		{submission.PhaseGreeting, 421, "", relay, false},
		{submission.PhaseDot, 421, "4.7.28", relay, false}, // Gmail: rate of this account
		{submission.PhaseAuth, 421, "4.7.0", relay, false},

		{submission.PhaseAuth, 432, "4.7.12", credentials, true},
		{submission.PhaseAuth, 454, "4.7.0", relay, false},
		{submission.PhaseAuth, 451, "", relay, false},
		{submission.PhaseAuth, 535, "", credentials, true},
		{submission.PhaseAuth, 535, "5.7.3", credentials, true}, // Exchange
		{submission.PhaseAuth, 534, "5.7.9", credentials, true}, // Gmail: app password
		{submission.PhaseAuth, 530, "5.7.0", credentials, true},
		{submission.PhaseAuth, 525, "5.7.13", credentials, true},
		{submission.PhaseAuth, 550, "5.4.5", relay, false},
		{submission.PhaseAuth, 554, "", credentials, true},
		{submission.PhaseAuth, 504, "5.7.4", relay, true},
		{submission.PhaseAuth, 503, "5.5.1", relay, true},

		{submission.PhaseGreeting, 450, "", relay, false},
		{submission.PhaseGreeting, 554, "5.7.1", relay, true},
		{submission.PhaseEHLO, 501, "5.5.4", relay, true},
		{submission.PhaseStartTLS, 454, "4.7.0", relay, false},
		{submission.PhaseStartTLS, 502, "", relay, true},
		{submission.PhaseReset, 502, "", relay, false},

		{submission.PhaseMail, 530, "5.7.0", credentials, true},
		{submission.PhaseMail, 501, "5.1.7", relay, true},
		{submission.PhaseMail, 554, "5.2.252", relay, true},
		{submission.PhaseMail, 502, "5.7.0", credentials, true},
		{submission.PhaseMail, 432, "4.3.2", relay, false}, // Exchange: too many connections
		{submission.PhaseMail, 451, "4.3.0", relay, false},
		{submission.PhaseMail, 452, "4.3.1", relay, false},
		{submission.PhaseMail, 550, "5.7.1", relay, true},
		{submission.PhaseMail, 553, "5.1.8", relay, true},
		{submission.PhaseMail, 555, "5.5.4", relay, true},
		{submission.PhaseMail, 552, "5.3.4", message, true},
		{submission.PhaseMail, 552, "", message, true},
		{submission.PhaseMail, 523, "5.2.3", message, true},
		{submission.PhaseMail, 550, "5.6.7", message, true},

		{submission.PhaseRcpt, 450, "", recipient, false},
		{submission.PhaseRcpt, 450, "4.2.1", recipient, false},
		{submission.PhaseRcpt, 451, "4.7.1", recipient, false},
		{submission.PhaseRcpt, 451, "4.3.2", relay, false},
		{submission.PhaseRcpt, 452, "4.4.5", relay, false},
		{submission.PhaseRcpt, 452, "4.5.3", recipient, false},
		{submission.PhaseRcpt, 552, "", recipient, false},
		{submission.PhaseRcpt, 552, "5.2.2", recipient, false},
		{submission.PhaseRcpt, 552, "5.3.4", message, true},
		{submission.PhaseRcpt, 550, "5.5.3", recipient, false},
		{submission.PhaseRcpt, 550, "", unclear, false},
		{submission.PhaseRcpt, 551, "", unclear, false},
		{submission.PhaseRcpt, 553, "", unclear, false},
		{submission.PhaseRcpt, 554, "", unclear, false},
		{submission.PhaseRcpt, 501, "", relay, true},
		{submission.PhaseRcpt, 501, "5.1.3", recipient, true},
		{submission.PhaseRcpt, 501, "5.5.4", relay, true},
		{submission.PhaseRcpt, 550, "5.1.1", recipient, true},
		{submission.PhaseRcpt, 550, "5.1.10", recipient, true},
		{submission.PhaseRcpt, 550, "5.1.7", relay, true},
		{submission.PhaseRcpt, 550, "5.1.8", relay, true},
		{submission.PhaseRcpt, 550, "5.2.1", recipient, true},
		{submission.PhaseRcpt, 550, "5.3.0", relay, true},
		{submission.PhaseRcpt, 550, "5.4.1", recipient, true},
		{submission.PhaseRcpt, 550, "5.4.5", relay, false},
		{submission.PhaseRcpt, 550, "5.4.50", unclear, false},
		{submission.PhaseRcpt, 553, "5.6.7", unclear, false},
		{submission.PhaseRcpt, 550, "5.7.1", unclear, false},
		{submission.PhaseRcpt, 521, "", relay, true},
		{submission.PhaseRcpt, 503, "", relay, true},
		{submission.PhaseRcpt, 530, "5.7.0", credentials, true},
		{submission.PhaseRcpt, 534, "", credentials, true},
		{submission.PhaseRcpt, 535, "5.7.8", credentials, true},

		{submission.PhaseData, 451, "", relay, false},
		{submission.PhaseData, 452, "", relay, false},
		{submission.PhaseData, 503, "", relay, true},
		{submission.PhaseData, 554, "", unclear, false},
		{submission.PhaseDot, 450, "4.2.2", recipient, false},
		{submission.PhaseDot, 451, "4.3.0", relay, false},
		{submission.PhaseDot, 451, "4.4.1", relay, false},
		{submission.PhaseDot, 451, "4.7.1", relay, false},
		{submission.PhaseDot, 550, "5.1.1", recipient, true},
		{submission.PhaseDot, 550, "5.2.1", recipient, true},
		{submission.PhaseDot, 554, "5.2.252", relay, true},
		{submission.PhaseDot, 552, "5.3.4", message, true},
		{submission.PhaseDot, 552, "5.7.0", unclear, false},
		{submission.PhaseDot, 554, "5.7.1", unclear, false},
		{submission.PhaseDot, 550, "5.3.0", relay, true},
		{submission.PhaseDot, 550, "5.7.1", unclear, false},
		{submission.PhaseDot, 550, "5.7.60", relay, true}, // Exchange: may not send as
		{submission.PhaseDot, 550, "5.4.5", relay, false},
		{submission.PhaseDot, 550, "5.6.0", message, true},
		{submission.PhaseDot, 521, "5.5.2", relay, true}, // Postfix: bare LF
		{submission.PhaseDot, 550, "", unclear, false},

		{submission.PhaseBody, 450, "", relay, false}, // no rule: spoken out of turn
		{submission.PhaseBody, 550, "", relay, true},
	}
	for _, tt := range tests {
		e := submission.Refused(tt.phase, tt.code, tt.enhanced)
		if e.Scope != tt.scope || e.Permanent != tt.permanent {
			t.Errorf("%s %d %s: got %s, permanent %v; want %s, %v", tt.phase, tt.code, tt.enhanced, e.Scope, e.Permanent, tt.scope, tt.permanent)
		}
		if e.Ambiguous {
			t.Errorf("%v is ambiguous", e)
		}
		checkPrintable(t, e.Error(), 300)
	}
}

func TestJudge_EveryRefusalHasAVerdict(t *testing.T) {
	for _, phase := range phases {
		for code := 400; code < 600; code++ {
			if e := submission.Refused(phase, code, ""); e.Scope == "" || e.Pause() == "" || e.Error() == "" || code < 500 && e.Scope == submission.ScopeRecipient && e.Permanent {
				t.Errorf("%s %d: scope %q, pause %q, permanent %v", phase, code, e.Scope, e.Pause(), e.Permanent)
			}
		}
	}
}
