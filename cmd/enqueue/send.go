package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"example.com/securemail/tasks"
)

var kindHelp = map[tasks.Kind]string{
	tasks.Key:  "Mails a random key of 25 characters",
	tasks.Code: "Mails a code of eight digits",
	tasks.TOTP: "Mails a TOTP secret with its QR code",
}

func (p *program) sendCommand(kind tasks.Kind) *cobra.Command {
	mail := tasks.Mail{Kind: kind}
	var vars []string
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   string(kind) + " ADDRESS",
		Short: kindHelp[kind],
		Args:  one("address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			mail.To = args[0]
			var err error
			if mail.Vars, err = parseVars(vars); err != nil {
				return err
			}
			if cmd.Flags().Changed("expires-in") && mail.ExpiresIn == 0 {
				return wrongUse{errors.New("--expires-in: it is 0; leave it out for the longest life")}
			}
			return p.send(cmd.Context(), mail, wait, timeout)
		},
	}
	flags := command.Flags()
	flags.StringVar(&mail.Purpose, "purpose", "", "what the secret is for, a `WORD` such as sign-in (default: default)")
	flags.DurationVar(&mail.ExpiresIn, "expires-in", 0, "how long it lives, a `DURATION` such as 10m (default: as long as it may)")
	flags.StringVar(&mail.Locale, "locale", "", "`LANGUAGE` of the mail, such as en")
	flags.StringArrayVar(&vars, "var", nil, "a value for the template as `NAME=VALUE`, such as name=Alice; repeatable")
	flags.StringVar(&mail.IdempotencyKey, "idempotency-key", "", "repeated calls with the same `KEY`, recipient and purpose send one mail")
	waitFlags(command, &wait, &timeout)
	if kind == tasks.TOTP {
		flags.StringVar(&mail.Account, "account", "", "`NAME` of the entry in the authenticator (default: the address)")
	}
	return command
}

func waitFlags(command *cobra.Command, wait *bool, timeout *time.Duration) {
	command.Flags().BoolVar(wait, "wait", false, "wait until the mail has ended, and say how")
	command.Flags().DurationVar(timeout, "timeout", 30*time.Second, "for how long --wait waits, a `DURATION`")
}

func parseVars(given []string) (map[string]string, error) {
	vars := map[string]string{}
	for _, pair := range given {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, wrongUse{errors.New("--var: write each as NAME=VALUE, such as name=Alice")}
		}
		vars[name] = value
	}
	return vars, nil
}

func (p *program) send(ctx context.Context, mail tasks.Mail, wait bool, timeout time.Duration) error {
	client, rdb, err := p.connect()
	if err != nil {
		return err
	}
	defer rdb.Close()
	sending, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	id, err := client.Send(sending, mail)
	if err != nil {
		return redisTrouble(rdb, err)
	}
	if !p.json {
		fmt.Fprintln(p.stdout, id)
	} else if !wait {
		p.print(tasks.Status{ID: id, State: tasks.Queued})
	}
	p.warnUnlessServed(rdb)
	if !wait {
		return nil
	}
	ctx, cancel = context.WithTimeout(ctx, timeout)
	defer cancel()
	return p.follow(ctx, client, rdb, id)
}

// follow prints every state that the mail goes through.
func (p *program) follow(ctx context.Context, client *tasks.Client, rdb connection, id string) error {
	last := tasks.Status{State: tasks.Queued}
	for s, err := range client.Watch(ctx, id) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the time is up and the mail is still %s. Ask again: enqueue status %s", last.State, id)
		}
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("stopped waiting; the mail is %s. Ask again: enqueue status %s", last.State, id)
		}
		if err != nil {
			return redisTrouble(rdb, err)
		}
		p.print(s)
		last = s
	}
	if last.State != tasks.Accepted {
		return errNo
	}
	return nil
}

// print writes a status as one line.
func (p *program) print(s tasks.Status) {
	if p.json {
		json.NewEncoder(p.stdout).Encode(s)
		return
	}
	line := string(s.State)
	if s.Reason != "" {
		line += "  " + s.Reason
	}
	if s.State != tasks.Accepted && s.Code != 0 {
		line += fmt.Sprintf("  %d %s", s.Code, s.EnhancedCode)
	}
	if s.State == tasks.Deferred && !s.NextTry.IsZero() {
		line += "  again at " + s.NextTry.Format(time.RFC3339)
	}
	fmt.Fprintln(p.stdout, strings.TrimRight(line, " "))
}

func (p *program) warnUnlessServed(rdb connection) {
	if !served(rdb.UniversalClient) {
		fmt.Fprintf(p.stderr, "enqueue: warning: no worker is running on the Redis at %s; the mail waits for one\n", rdb.address)
	}
}

// served reports whether a live worker takes mails. Where that cannot be told, there is nothing to warn of.
func served(rdb redis.UniversalClient) bool {
	rdb.AddHook(withoutWork{})
	servers, err := asynq.NewInspectorFromRedisClient(rdb).Servers()
	if err != nil {
		return true
	}
	for _, server := range servers {
		if _, ours := server.Queues[tasks.Queue]; ours && server.Status == "active" {
			return true
		}
	}
	return false
}

// withoutWork keeps asynq from asking what each worker works on. With it come the payloads, addresses and all, which are
// not needed here, and not for the eyes of a producer (deploy/redis.acl).
type withoutWork struct{}

func (withoutWork) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hvals" {
			return nil
		}
		return next(ctx, cmd)
	}
}

func (withoutWork) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (withoutWork) DialHook(next redis.DialHook) redis.DialHook { return next }
