package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/queue"
	"example.com/securemail/tasks"
)

func (p *program) sendCommand(kind tasks.KindInfo) *cobra.Command {
	mail := tasks.Mail{Kind: kind.Kind}
	var vars []string
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   string(kind.Kind) + " ADDRESS",
		Short: "Mail " + kind.Secret,
		Args:  one("address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			mail.To = args[0]
			var err error
			if mail.Vars, err = parseVars(vars); err != nil {
				return err
			}
			if cmd.Flags().Changed("expires-in") && mail.ExpiresIn == 0 {
				return cli.Usage("--expires-in: must be positive; omit it for the maximum")
			}
			return p.send(cmd.Context(), mail, wait, timeout)
		},
	}
	flags := command.Flags()
	flags.StringVar(&mail.Purpose, "purpose", "", "what the secret is for: a `WORD` such as sign-in (default \"default\")")
	flags.DurationVar(&mail.ExpiresIn, "expires-in", 0, "how long the secret is valid: a `DURATION` such as 10m (default: the maximum)")
	flags.StringVar(&mail.Locale, "locale", "", "the `LANGUAGE` of the mail, such as en")
	flags.StringArrayVar(&vars, "var", nil, "a value for the template: `NAME=VALUE`, such as name=Alice; repeatable")
	flags.StringVar(&mail.IdempotencyKey, "idempotency-key", "", "calls with the same `KEY` and the same mail send it once; the same key with another mail is refused")
	flags.StringVar(&mail.ClientRef, "client-ref", "", "your own `NAME` for the mail, such as an order's number; status shows it")
	waitFlags(command, &wait, &timeout)
	if kind.Kind == tasks.Code {
		flags.IntVar(&mail.Digits, "digits", 8, "the `NUMBER` of digits that the code has: 6 or 8")
	}
	if kind.Kind == tasks.TOTP {
		flags.StringVar(&mail.Account, "account", "", "the `NAME` of the entry in the authenticator (default: the address)")
	}
	return command
}

func waitFlags(command *cobra.Command, wait *bool, timeout *time.Duration) {
	command.Flags().BoolVar(wait, "wait", false, "print each state of the mail until it has ended; exit with 1 if it was not accepted")
	command.Flags().DurationVar(timeout, "timeout", 30*time.Second, "how long --wait waits: a `DURATION`")
}

func parseVars(given []string) (map[string]string, error) {
	vars := map[string]string{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, cli.Usage("--var: write each as NAME=VALUE, such as name=Alice")
		}
		vars[name] = value
	}
	return vars, nil
}

func (p *program) send(ctx context.Context, mail tasks.Mail, wait bool, timeout time.Duration) error {
	client, err := p.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	sending, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	receipt, err := client.Send(sending, mail)
	if err != nil {
		return client.explain(err)
	}
	id := receipt.ID
	if !p.json {
		fmt.Fprintln(p.stdout, id)
	} else if !wait {
		p.printReceipt(sending, client, receipt)
	}
	p.warnUnlessServed(client)
	if receipt.Replayed {
		fmt.Fprintf(p.stderr, "enqueue: an earlier call with this idempotency key has sent this mail; nothing was queued, and the secret is %s\n",
			cmp.Or(receipt.Credential, "unknown to this Redis user"))
	}
	if !wait {
		return nil
	}
	ctx, cancel = context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := p.follow(ctx, client, id); err != nil {
		return err
	}
	if !receipt.Credential.Verifiable() {
		return cli.ErrNo // the mail was accepted once, and nobody can use it any more
	}
	return nil
}

// printReceipt prints what Send did as JSON.
func (p *program) printReceipt(ctx context.Context, client *session, receipt tasks.Receipt) {
	s := tasks.Status{ID: receipt.ID, Reference: receipt.Reference, State: tasks.Queued}
	if receipt.Replayed {
		if now, err := client.Status(ctx, receipt.ID); err == nil {
			s = now
		}
	}
	json.NewEncoder(p.stdout).Encode(struct {
		tasks.Status
		Replayed bool `json:"replayed,omitempty"`
	}{s, receipt.Replayed})
}

// follow prints each state of the mail until the mail has ended.
func (p *program) follow(ctx context.Context, client *session, id string) error {
	last := tasks.Status{State: tasks.Queued}
	for s, err := range client.Watch(ctx, id) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("timeout; the mail is still %s. To see its status later: enqueue status %s", last.State, id)
		}
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("interrupted; the mail is still %s. To see its status later: enqueue status %s", last.State, id)
		}
		if err != nil {
			return client.explain(err)
		}
		p.print(s)
		last = s
	}
	if last.State != tasks.Accepted {
		return cli.ErrNo
	}
	return nil
}

// print prints a status in one line.
func (p *program) print(s tasks.Status) {
	if p.json {
		json.NewEncoder(p.stdout).Encode(s)
		return
	}
	line := string(s.State)
	if s.Reason != "" {
		line += "  " + string(s.Reason)
	}
	if s.State != tasks.Accepted && s.Code != 0 {
		line += fmt.Sprintf("  %d %s", s.Code, s.EnhancedCode)
	}
	if s.State == tasks.Deferred && !s.NextTry.IsZero() {
		line += "  again at " + s.NextTry.Format(time.RFC3339)
	}
	fmt.Fprintln(p.stdout, strings.TrimRight(line, " "))
}

func (p *program) warnUnlessServed(s *session) {
	if !queue.Served(s.rdb) {
		fmt.Fprintf(p.stderr, "enqueue: warning: no worker is running on the Redis at %s; the mail waits for one\n", s.address)
	}
}
