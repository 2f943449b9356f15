package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"example.com/securemail"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

func devCommand(stdout, stderr io.Writer) *cobra.Command {
	var options dev.Options
	var adminAddr string
	var once bool
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run Redis, a submission server, an inbox and the worker in one process, on loopback",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &devRun{stdout: stdout, stderr: stderr, adminAddr: adminAddr}
			return d.run(cmd.Context(), options, once)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&once, "once", false, "send one mail of each kind through each submission port, check that it arrives, and exit")
	flags.StringVar(&options.RedisAddr, "redis-addr", "", "`HOST:PORT` of Redis (default 127.0.0.1:6379, or the next free port)")
	flags.StringVar(&options.SMTPSAddr, "smtps-addr", "", "`HOST:PORT` of the submission server with implicit TLS (default 127.0.0.1:1465, or the next free port)")
	flags.StringVar(&options.SubmissionAddr, "submission-addr", "", "`HOST:PORT` of the submission server with STARTTLS (default 127.0.0.1:1587, or the next free port)")
	flags.StringVar(&options.InboxAddr, "inbox-addr", "", "`HOST:PORT` of the inbox page (default 127.0.0.1:8025, or the next free port)")
	flags.StringVar(&adminAddr, "admin-addr", "", "`HOST:PORT` of health, metrics and queues (default 127.0.0.1:9464, or any free port)")
	return command
}

// devRun is one run of `worker dev`.
type devRun struct {
	stdout, stderr io.Writer
	adminAddr      string
	env            *dev.Env
	settings       config.Config
	log            *zap.Logger
	arrived        int // mails checked so far
}

func (d *devRun) run(ctx context.Context, options dev.Options, once bool) error {
	if d.adminAddr != "" {
		addr, err := dev.Loopback(d.adminAddr)
		if err != nil {
			return fmt.Errorf("--admin-addr: %w", err)
		}
		d.adminAddr = addr
	}
	folder, err := os.MkdirTemp("", "securemail-dev-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if d.env, err = dev.Start(ctx, options); err != nil {
		return err
	}
	defer d.env.Close()
	if d.settings, err = d.makeSettings(filepath.Join(folder, "keyring")); err != nil {
		return err
	}
	d.log = newLog(d.settings.Log, d.stderr)

	fmt.Fprintln(d.stdout, "One mail of each kind through each port:")
	ports := []submission.Relay{
		d.relay("dev-smtps", d.env.SMTPSAddr(), submission.ImplicitTLS),
		d.relay("dev-submission", d.env.SubmissionAddr(), submission.StartTLS),
	}
	for _, port := range ports {
		err := d.demonstrate(ctx, port)
		switch {
		case ctx.Err() != nil && !once:
			return nil // Ctrl-C before all mails were sent
		case err != nil:
			return err
		}
	}
	if once {
		fmt.Fprintln(d.stdout, "\nAll six mails arrived.")
		return nil
	}
	return serve(ctx, d.settings, ports, true, d.log, d.announce)
}

// makeSettings returns the settings of a worker that uses the servers of this process.
func (d *devRun) makeSettings(ring string) (config.Config, error) {
	if err := keyring.New(ring); err != nil {
		return config.Config{}, err
	}
	c, err := config.Load(config.Producer, "", nil, map[string]string{
		"redis.url":    "redis://" + d.env.RedisAddr(),
		"keyring_file": ring,
		"from":         "Example <no-reply@example.com>",
		"log.format":   "console",
		"log.level":    "warn",
	})
	if err != nil {
		return c, err
	}
	c.Limits = config.MailLimits{} // none: whoever tries things out sends many mails to one address
	c.Admin = config.Admin{Addr: d.adminAddr, Password: secret.New(rand.Text())}
	if c.Admin.Addr == "" {
		c.Admin.Addr = freeAddr("127.0.0.1:9464")
	}
	return c, nil
}

// freeAddr returns addr, or any free port of loopback if its port is in use.
func freeAddr(addr string) string {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "127.0.0.1:0"
	}
	listener.Close()
	return addr
}

func (d *devRun) relay(name, addr string, mode submission.TLSMode) submission.Relay {
	host, port, _ := net.SplitHostPort(addr) // a listener's address always has both
	number, _ := strconv.Atoi(port)
	return submission.Relay{Name: name, Host: host, Port: number, TLS: mode, RootCAs: d.env.RootCAs(),
		Username: d.env.Username(), Password: d.env.Password(), LocalName: "localhost", Timeouts: submission.Timeouts(d.settings.Timeouts)}
}

// demonstrate starts a worker that uses one port, sends a mail of each kind, and stops the worker.
func (d *devRun) demonstrate(ctx context.Context, relay submission.Relay) error {
	ctx, cancel := context.WithCancel(ctx)
	var result error
	var working sync.WaitGroup
	err := serve(ctx, d.settings, []submission.Relay{relay}, true, d.log, func(string) {
		working.Go(func() {
			defer cancel()
			result = d.sendEachKind(ctx, relay)
		})
	})
	cancel()
	working.Wait()
	if err != nil {
		return err
	}
	return result
}

func (d *devRun) sendEachKind(ctx context.Context, relay submission.Relay) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	rdb, err := d.settings.Redis.Conn().ProducerClient()
	if err != nil {
		return err
	}
	defer rdb.Close()
	client, err := securemail.NewClient(rdb)
	if err != nil {
		return err
	}
	for _, info := range tasks.Kinds() {
		kind := info.Kind
		mail := tasks.Mail{Kind: kind, To: "alice@example.com", Purpose: "demo", Vars: map[string]string{"name": "Alice"}}
		begun := time.Now()
		receipt, err := client.Send(ctx, mail)
		if err != nil {
			return err
		}
		status, err := client.Wait(ctx, receipt.ID)
		if err != nil {
			return fmt.Errorf("%s through %s: %w; the mail is %s %s", kind, relay.Name, err, status.State, status.Reason)
		}
		if status.State != tasks.Accepted {
			return fmt.Errorf("%s through %s: %s, %s %d %s", kind, relay.Name, status.State, status.Reason, status.Code, status.EnhancedCode)
		}
		took := time.Since(begun)
		if err := d.show(kind, relay, took); err != nil {
			return fmt.Errorf("%s through %s: %w", kind, relay.Name, err)
		}
	}
	return nil
}

// announce prints the addresses of the servers and the commands to try next.
func (d *devRun) announce(adminAddr string) {
	redisFlag := ""
	if d.env.RedisAddr() != "127.0.0.1:6379" {
		redisFlag = " --redis redis://" + d.env.RedisAddr()
	}
	fmt.Fprintf(d.stdout, `
Inbox     %s
Queues    http://%s/monitor   (any user name, password %s)
Metrics   http://%s/metrics
Redis     redis://%s

In a second terminal:
  go run ./cmd/enqueue key alice@example.com --wait%s
  go run ./cmd/enqueue code alice@example.com --purpose sign-in --wait%s
  go run ./cmd/enqueue totp alice@example.com --wait%s
  go run ./cmd/enqueue key alice+550@example.com --wait%s     (the relay refuses it)
  go run ./cmd/enqueue verify ID --to alice@example.com --purpose sign-in --keyring %s%s     (then type the code)

Ctrl-C finishes in-flight mails and exits; a second one exits at once. Nothing is kept.
`, d.env.InboxURL(), adminAddr, d.settings.Admin.Password.Reveal(), adminAddr, d.env.RedisAddr(), redisFlag, redisFlag, redisFlag, redisFlag, d.settings.KeyRingFile, redisFlag)
}
