package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

func checkCommand(settings *workerSettings, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the settings, the key ring, Redis and the relays (name, TLS, login); send nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := settings.load()
			if err != nil {
				return err
			}
			good := true
			for _, part := range []struct {
				name  string
				check func(context.Context, config.Config) (string, error)
			}{{"key ring", checkKeyRing}, {"redis", checkRedisServer}, {"relay", checkRelays}, {"mails", checkMails}} {
				result, err := part.check(cmd.Context(), c)
				if err != nil {
					good = false
					fmt.Fprintf(stdout, "FAIL  %-9s %v\n", part.name, err)
					continue
				}
				fmt.Fprintf(stdout, "ok    %-9s %s\n", part.name, result)
			}
			if !good {
				return cli.ErrNo
			}
			return nil
		},
	}
}

func checkKeyRing(_ context.Context, c config.Config) (string, error) {
	ring, err := keyring.Load(c.KeyRingFile)
	if err != nil {
		return "", err
	}
	kid, _ := ring.Active()
	return fmt.Sprintf("%s: key %s is active, %d in all", c.KeyRingFile, kid, len(ring.List())), nil
}

func checkRedisServer(ctx context.Context, c config.Config) (string, error) {
	rdb, err := c.Redis.Conn().ProducerClient()
	if err != nil {
		return "", err
	}
	defer rdb.Close()
	warnings, err := checkRedis(ctx, c.Redis, rdb)
	if err != nil {
		return "", err
	}
	wakes, err := queue.Wakes(ctx, rdb)
	if err != nil {
		return "", err
	}
	says := " answers, and wakes the worker when a mail comes"
	if !wakes {
		says = " answers"
		warnings = append(warnings, "it cannot wake the worker (BLMOVE is refused): the worker asks for mails four times a second")
	}
	return strings.Join(append([]string{c.Redis.Conn().Describe() + says}, warnings...), "\n                "), nil
}

func checkRelays(ctx context.Context, c config.Config) (string, error) {
	relays, err := relaysOf(c)
	if err != nil {
		return "", err
	}
	set, err := submission.NewRelays(relays, submission.Options{})
	if err != nil {
		return "", err
	}
	defer set.Close()
	var results []string
	var errs []error
	list := c.RelayList()
	for i, result := range set.Check(ctx) {
		results, errs = append(results, describeCheck(relays[i], result.Info)), append(errs, withSaid(result.Err))
		if advice := list[i].Advice(); advice != "" {
			results = append(results, advice)
		}
	}
	return strings.Join(results, "\n                "), errors.Join(errs...)
}

// withSaid adds the server's own words to a refusal.
func withSaid(err error) error {
	var failure *submission.Error
	if errors.As(err, &failure) && failure.Said() != "" {
		return fmt.Errorf("%w\n                the server said: %s", err, failure.Said())
	}
	return err
}

func describeCheck(relay submission.Relay, info submission.Info) string {
	login := "without a login"
	if info.Auth != "" {
		login = "logged in with AUTH " + info.Auth
	}
	return fmt.Sprintf("%s:%d %s, certificate until %s, %s", relay.Host, relay.Port, info.TLSVersion,
		info.CertificateExpires.UTC().Format(time.DateOnly), login)
}

func checkMails(_ context.Context, c config.Config) (string, error) {
	for _, kind := range tasks.Kinds() {
		mail, err := message.Sample(sender(c), c.ReplyAddress(), c.Product, kind.Kind, time.Hour)
		if err == nil {
			_, err = message.Compose(mail)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", kind.Kind, err)
		}
	}
	return "a mail of every kind can be composed with these settings", nil
}
