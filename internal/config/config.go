// Package config reads the settings of the commands: defaults, a YAML file, the environment and
// flags. Each source overrides the one before. deploy/config.example.yaml documents every setting.
//
// The setting smtp.host is SECUREMAIL_SMTP_HOST in the environment. A secret can also be in a file,
// as orchestrators provide secrets: smtp.password_file or SECUREMAIL_SMTP_PASSWORD_FILE names the
// file. One error reports all that is invalid: unknown names, values of the wrong type,
// contradictions and missing settings.
//
// Only the commands import this package. Other packages have plain fields, which the commands fill
// in.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/mail"
	"time"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// Config holds all settings. A koanf tag is the name of a setting in the file.
type Config struct {
	Redis           Redis           `koanf:"redis"`
	KeyRingFile     string          `koanf:"keyring_file"`
	From            string          `koanf:"from"`
	ReplyTo         string          `koanf:"reply_to"`
	Product         string          `koanf:"product"`
	SMTP            SMTP            `koanf:"smtp"`
	Relays          map[string]SMTP `koanf:"relays"`
	Timeouts        SMTPTimeouts    `koanf:"timeouts"`
	OnUnknown       string          `koanf:"on_unknown"`
	MaxLife         tasks.Lives     `koanf:"max_life"`
	MinCodeDigits   int             `koanf:"min_code_digits"`
	Limits          MailLimits      `koanf:"limits"`
	RecordRetention time.Duration   `koanf:"record_retention"`
	Concurrency     int             `koanf:"concurrency"`
	Admin           Admin           `koanf:"admin"`
	Log             Log             `koanf:"log"`
}

// Redis says which Redis has the tasks and records. The URL may hold a password.
type Redis struct {
	URL           secret.String `koanf:"url"`
	CAFile        string        `koanf:"ca_file"`
	AllowVolatile bool          `koanf:"allow_volatile"` // start although Redis can lose data
}

// SMTP is one relay: the only one, under smtp, or one of several, by name, under relays.
type SMTP struct {
	Priority int           `koanf:"priority"` // the relay with the lowest is tried first
	Provider string        `koanf:"provider"`
	Host     string        `koanf:"host"`
	Port     int           `koanf:"port"`
	TLS      string        `koanf:"tls"`
	Username string        `koanf:"username"`
	Password secret.String `koanf:"password"`
	// OAuth2 logs in with a refresh token (RFC 6749 section 6) instead of a password.
	OAuth2ClientID     string        `koanf:"oauth2_client_id"`
	OAuth2ClientSecret secret.String `koanf:"oauth2_client_secret"`
	OAuth2RefreshToken secret.String `koanf:"oauth2_refresh_token"`
	OAuth2TokenURL     string        `koanf:"oauth2_token_url"`
	CAFile             string        `koanf:"ca_file"`
	LocalName          string        `koanf:"local_name"`
	MaxConnections     int           `koanf:"max_connections"`
	PerSecond          float64       `koanf:"per_second"`
	PerDay             int           `koanf:"per_day"`
}

// SMTPTimeouts bound the phases of one SMTP conversation.
type SMTPTimeouts struct {
	Connect    time.Duration `koanf:"connect"`
	Command    time.Duration `koanf:"command"`
	Data       time.Duration `koanf:"data"`
	FinalReply time.Duration `koanf:"final_reply"`
	Total      time.Duration `koanf:"total"`
}

// MailLimits are [tasks.Limits] with the names of their settings.
type MailLimits struct {
	RecipientInterval time.Duration `koanf:"recipient_interval"`
	RecipientPerHour  int           `koanf:"recipient_per_hour"`
	RecipientPerDay   int           `koanf:"recipient_per_day"`
	PerOrigin         int           `koanf:"per_origin"`
	TotalPerMinute    int           `koanf:"total_per_minute"`
	TooSoon           tasks.TooSoon `koanf:"too_soon"`
}

// Admin is the worker's own listener.
type Admin struct {
	Addr     string        `koanf:"addr"`
	Password secret.String `koanf:"password"`
}

// Log says how the worker logs.
type Log struct {
	Format string `koanf:"format"`
	Level  string `koanf:"level"`
}

// defaults returns the values of settings that are not set.
func defaults() Config {
	return Config{
		Redis:           Redis{URL: secret.New("redis://127.0.0.1:6379")},
		Timeouts:        SMTPTimeouts{Connect: 10 * time.Second, Command: 30 * time.Second, Data: 30 * time.Second, FinalReply: 2 * time.Minute, Total: 3 * time.Minute},
		OnUnknown:       "retry",
		MaxLife:         tasks.DefaultLives(),
		MinCodeDigits:   6,
		Limits:          MailLimits(tasks.DefaultLimits()),
		RecordRetention: 7 * 24 * time.Hour,
		Concurrency:     32,
		Admin:           Admin{Addr: "127.0.0.1:9464"},
		Log:             Log{Format: "json", Level: "info"},
	}
}

// Need says which settings are required.
type Need int

const (
	// Producer needs only Redis.
	Producer Need = iota
	// Worker also needs a key ring, a sender and a relay.
	Worker
)

// complete sets the settings that follow from others, and returns an error for each invalid one.
func (c *Config) complete(need Need) error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s (%s): %s", key, envName(key), fmt.Sprintf(format, args...)))
	}
	c.Redis.Conn().Validate(wrong)
	for _, kind := range tasks.Kinds() {
		if life := c.MaxLife[kind.Kind]; life < time.Minute || life > 31*24*time.Hour {
			wrong("max_life."+string(kind.Kind), "%v is not between 1m and 744h (31 days)", life)
		}
	}
	tasks.Limits(c.Limits).Check(func(name, format string, args ...any) { wrong("limits."+name, format, args...) })
	if c.From != "" {
		if name, address, err := parseSender(c.From); err != nil {
			wrong("from", "%v; write it like: Example <no-reply@example.com>", err)
		} else {
			c.Product = cmp.Or(c.Product, name, address.Domain())
		}
	}
	if need == Worker {
		c.completeWorker(wrong)
	}
	return errors.Join(errs...)
}

func (c *Config) completeWorker(wrong func(key, format string, args ...any)) {
	if c.KeyRingFile == "" {
		wrong("keyring_file", "name the key ring file; worker keyring new -o FILE creates one")
	}
	if c.From == "" {
		wrong("from", "name the sender, like: Example <no-reply@example.com>")
	}
	if c.ReplyTo != "" {
		if _, err := mailaddr.Parse(c.ReplyTo); err != nil {
			wrong("reply_to", "%v", err)
		}
	}
	c.completeRelays(wrong)
	c.Timeouts.check(wrong)
	if c.OnUnknown != "retry" && c.OnUnknown != "stop" {
		wrong("on_unknown", "%q is neither retry nor stop", c.OnUnknown)
	}
	if c.MinCodeDigits != 8 && c.MinCodeDigits != 6 {
		wrong("min_code_digits", "%d is neither 6 nor 8", c.MinCodeDigits)
	}
	if c.RecordRetention < time.Hour || c.RecordRetention > 366*24*time.Hour {
		wrong("record_retention", "%v is not between 1h and 8784h (a year)", c.RecordRetention)
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		wrong("concurrency", "%d is not between 1 and 1000", c.Concurrency)
	}
	if c.Log.Format != "json" && c.Log.Format != "console" {
		wrong("log.format", "%q is neither json nor console", c.Log.Format)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		wrong("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if n := len(c.Admin.Password.Reveal()); n > 0 && n < 12 {
		wrong("admin.password", "it is shorter than 12 characters")
	}
}

func (t SMTPTimeouts) check(wrong func(key, format string, args ...any)) {
	for _, f := range []struct {
		key         string
		value, most time.Duration
	}{{"connect", t.Connect, time.Minute}, {"command", t.Command, 5 * time.Minute}, {"data", t.Data, 3 * time.Minute},
		{"final_reply", t.FinalReply, 10 * time.Minute}, {"total", t.Total, 12 * time.Minute}} {
		if f.value < time.Second || f.value > f.most {
			wrong("timeouts."+f.key, "%v is not between 1s and %v", f.value, f.most)
		}
	}
	if t.Total <= t.FinalReply {
		wrong("timeouts.total", "%v is not longer than timeouts.final_reply (%v), which it includes", t.Total, t.FinalReply)
	}
}

// Sender returns the name and the address of the From setting. It is valid after [Load].
func (c *Config) Sender() (name string, address mailaddr.Address) {
	name, address, _ = parseSender(c.From)
	return name, address
}

// ReplyAddress returns the ReplyTo setting, or the zero address without one. It is valid after
// [Load].
func (c *Config) ReplyAddress() mailaddr.Address {
	address, _ := mailaddr.Parse(c.ReplyTo)
	return address
}

func parseSender(from string) (name string, address mailaddr.Address, err error) {
	parsed, err := mail.ParseAddress(from)
	if err != nil {
		return "", address, errors.New("it is not an address")
	}
	address, err = mailaddr.Parse(parsed.Address)
	return parsed.Name, address, err
}

// Conn returns the settings that package redisconn needs to connect.
func (r Redis) Conn() redisconn.Config { return redisconn.Config{URL: r.URL, CAFile: r.CAFile} }
