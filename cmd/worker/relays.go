package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
)

// tryTimeout bounds one try: a whole conversation with the last relay, and with those before it what comes before the
// final dot, since only until then a mail goes on to the next.
func tryTimeout(c config.Config, relays int) time.Duration {
	return c.Timeouts.Total + time.Duration(relays-1)*(c.Timeouts.Total-c.Timeouts.FinalReply)
}

// relaysOf makes the relays of the settings, in order of priority.
func relaysOf(c config.Config) ([]submission.Relay, error) {
	var relays []submission.Relay
	for _, s := range c.RelayList() {
		relay := submission.Relay{
			Name:           s.Name,
			Host:           s.Host,
			Port:           s.Port,
			TLS:            submission.ImplicitTLS,
			Username:       s.Username,
			Password:       s.Password,
			LocalName:      s.LocalName,
			MaxConnections: s.MaxConnections,
			Timeouts:       submission.Timeouts(c.Timeouts),
		}
		if s.TLS == config.StartTLS {
			relay.TLS = submission.StartTLS
		}
		if s.UsesOAuth2() {
			token, err := submission.OAuth2(submission.OAuth2Config{TokenURL: s.OAuth2TokenURL, ClientID: s.OAuth2ClientID,
				ClientSecret: s.OAuth2ClientSecret, RefreshToken: s.OAuth2RefreshToken})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Key, err)
			}
			relay.Token = token
		}
		if s.CAFile != "" {
			pem, err := os.ReadFile(s.CAFile)
			if err != nil {
				return nil, fmt.Errorf("%s.ca_file: %w", s.Key, err)
			}
			relay.RootCAs = x509.NewCertPool()
			if !relay.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s.ca_file: %s holds no certificate in PEM form", s.Key, s.CAFile)
			}
		}
		relays = append(relays, relay)
	}
	return relays, nil
}

// describe names the relays for the log.
func describe(relays []submission.Relay) []string {
	var all []string
	for _, r := range relays {
		all = append(all, fmt.Sprintf("%s %s:%d %s", r.Name, r.Host, r.Port, r.TLS))
	}
	return all
}

// allowance asks Redis for the limits of the relays that have some, and gives back what was not used.
func allowance(c config.Config, records *record.Store) (allow func(context.Context, string) (time.Duration, error), unused func(context.Context, string)) {
	limits := map[string]record.Limit{}
	for _, s := range c.RelayList() {
		if s.PerSecond > 0 || s.PerDay > 0 {
			limits[s.Name] = record.Limit{PerSecond: s.PerSecond, PerDay: s.PerDay}
		}
	}
	allow = func(ctx context.Context, relay string) (time.Duration, error) {
		limit, limited := limits[relay]
		if !limited {
			return 0, nil
		}
		return records.Allow(ctx, relay, limit)
	}
	unused = func(ctx context.Context, relay string) {
		if limit, limited := limits[relay]; limited {
			records.Unallow(ctx, relay, limit) // where it fails it stays counted, which errs on the relay's side
		}
	}
	return allow, unused
}

// relayChanged says in the log and in the metrics when a relay is left alone, and when it is back.
func relayChanged(log *zap.Logger, registry prometheus.Registerer) func(relay string, open bool, cause error, until time.Time) {
	left := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "securemail_relay_left_alone",
		Help: "1 while a relay is left alone because of its failures."}, []string{"relay"})
	registry.MustRegister(left)
	return func(relay string, open bool, cause error, until time.Time) {
		if open {
			left.WithLabelValues(relay).Set(1)
			log.Error("relay left alone", zap.String("relay", relay), zap.Time("until", until.UTC().Truncate(time.Second)), zap.Error(cause))
			return
		}
		left.WithLabelValues(relay).Set(0)
		log.Info("relay back", zap.String("relay", relay))
	}
}
