package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/submission"
)

// tryTimeout bounds one attempt: with each relay the wait for a session and a whole conversation, because a mail goes on to
// the next relay also after a refusal of its last byte.
func tryTimeout(c config.Config, relays int) time.Duration {
	return time.Duration(relays) * (2*c.Timeouts.Total - c.Timeouts.FinalReply)
}

// relaysOf returns the relays of the settings, in order of priority.
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
			Headers:        s.Headers(),
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

// describe returns a text for each relay, for the log.
func describe(relays []submission.Relay) []string {
	var all []string
	for _, r := range relays {
		all = append(all, fmt.Sprintf("%s %s:%d %s", r.Name, r.Host, r.Port, r.TLS))
	}
	return all
}

// relayLimits returns the limits of the relays that have any, by name.
func relayLimits(c config.Config) map[string]limits.Limit {
	all := map[string]limits.Limit{}
	for _, s := range c.RelayList() {
		if s.PerSecond > 0 || s.PerDay > 0 {
			all[s.Name] = limits.Limit{PerSecond: s.PerSecond, PerDay: s.PerDay}
		}
	}
	return all
}

// relayChanged returns a function that logs a relay's circuit opening and closing, and sets its
// metric.
func relayChanged(log *zap.Logger, registry prometheus.Registerer) func(relay string, open bool, cause error, until time.Time) {
	circuit := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "securemail_relay_circuit_open",
		Help: "1 while a relay is suspended because of its failures."}, []string{"relay"})
	registry.MustRegister(circuit)
	return func(relay string, open bool, cause error, until time.Time) {
		if open {
			circuit.WithLabelValues(relay).Set(1)
			log.Error("relay suspended", zap.String("relay", relay), zap.Time("until", until.UTC().Truncate(time.Second)), zap.Error(cause))
			return
		}
		circuit.WithLabelValues(relay).Set(0)
		log.Info("relay resumed", zap.String("relay", relay))
	}
}
