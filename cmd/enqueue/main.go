// Command enqueue queues mails, shows their status and verifies answers. See README.md, or enqueue
// --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"example.com/securemail"
	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/config"
	"example.com/securemail/tasks"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	logging.Disable() // our own error has what go-redis would print to standard error
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{settings: cli.Settings{Environ: environ}, stdin: stdin, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "enqueue",
		Short: "Mail keys, codes and TOTP secrets; show status; verify answers",
		Long: `Mail keys, codes and TOTP secrets; show their status; verify answers.

Exit codes: 0 success, 1 negative result (a refused mail, a wrong or unreadable answer), 2 wrong
use or invalid settings, 75 temporary failure (Redis unreachable, or a timeout).`,
		Example: `  enqueue key alice@example.com --wait
  enqueue code alice@example.com --purpose sign-in --expires-in 5m`,
		Args: noCommand,
		// Without Run, cobra would print the help and succeed.
		Run: func(*cobra.Command, []string) {},
	}
	p.settings.Flags(root, true)
	root.PersistentFlags().BoolVar(&p.json, "json", false, "print one JSON object per line")
	for _, kind := range tasks.Kinds() {
		root.AddCommand(p.sendCommand(kind))
	}
	root.AddCommand(p.statusCommand(), p.verifyCommand(), p.resendCommand(), p.revokeCommand(), p.unlockCommand(), p.previewCommand())
	root.SetFlagErrorFunc(flagError)
	return cli.Run(ctx, root, args, stdout, stderr, func(err error) int {
		switch {
		case isUsage(err):
			return cli.ExitUsage
		case isNo(err):
			return cli.ExitNo
		}
		return cli.ExitTempFail
	})
}

// isUsage reports whether err is fixed on the command line.
func isUsage(err error) bool {
	return errors.Is(err, tasks.ErrInvalid) || errors.Is(err, tasks.ErrKeyReused)
}

// isNo reports whether err is a negative answer, and not a failure.
func isNo(err error) bool {
	return errors.Is(err, tasks.ErrNotFound) || errors.Is(err, tasks.ErrStillSending) || errors.Is(err, tasks.ErrRejected) ||
		errors.Is(err, tasks.ErrLimited)
}

// noCommand refuses an unknown command. It does not repeat an address, because the text may get
// into a log.
func noCommand(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("name a command, such as: enqueue key ADDRESS")
	case strings.Contains(args[0], "@"):
		return errors.New("name the kind before the address: enqueue key ADDRESS, or code, or totp")
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// one requires exactly one argument. The error calls it what.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one %s, not %d", what, len(args))
		}
		return nil
	}
}

// flagError removes an address that begins with a hyphen from the error.
func flagError(_ *cobra.Command, err error) error {
	if strings.Contains(err.Error(), "@") {
		return errors.New("invalid flag; put -- before an address that begins with a hyphen")
	}
	return err
}

// program has what all subcommands share.
type program struct {
	settings       cli.Settings
	keyRing        string
	json           bool
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (p *program) load() (config.Config, error) {
	return p.settings.Load(config.Producer, map[string]string{"keyring_file": p.keyRing})
}

// session is a connected client.
type session struct {
	*securemail.Client
	rdb     redis.UniversalClient // Close closes it
	address string                // of Redis, for messages
}

func (s *session) Close() { s.rdb.Close() }

// connect returns a client for the settings.
func (p *program) connect() (*session, error) {
	c, err := p.load()
	if err != nil {
		return nil, err
	}
	return open(c)
}

// connectToVerify returns a client with the key ring.
func (p *program) connectToVerify() (*session, error) {
	c, err := p.load()
	if err != nil {
		return nil, err
	}
	if c.KeyRingFile == "" {
		return nil, cli.Usage("keyring_file (SECUREMAIL_KEYRING_FILE, --keyring): name the key ring file that the workers use")
	}
	return open(c, securemail.WithKeyRingFile(c.KeyRingFile))
}

func (p *program) keyRingFlag(command *cobra.Command) {
	command.Flags().StringVar(&p.keyRing, "keyring", "", "the workers' key ring `FILE`; overrides settings file and environment")
}

func open(c config.Config, options ...securemail.Option) (*session, error) {
	rdb, err := c.Redis.Conn().ProducerClient()
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	options = append(options, securemail.WithLimits(tasks.Limits(c.Limits)))
	for kind, life := range c.MaxLife {
		options = append(options, securemail.WithMaxLife(kind, life))
	}
	client, err := securemail.NewClient(rdb, options...)
	if err != nil {
		rdb.Close()
		return nil, cli.UsageError{Err: err}
	}
	return &session{client, rdb, c.Redis.Conn().Describe()}, nil
}

// explain says which Redis could not be used, and why. It drops the text of the queue library,
// which describes internals.
func (s *session) explain(err error) error {
	var network *net.OpError
	var reply redis.Error
	switch {
	case isUsage(err), errors.Is(err, tasks.ErrKeyRing), isNo(err):
		return err
	case errors.As(err, &network):
		err = network
	case errors.As(err, &reply):
		err = reply
	}
	return fmt.Errorf("redis.url: Redis at %s cannot be used: %w", s.address, err)
}

// redisTime bounds the calls of Redis for one command, because a person waits at the terminal.
const redisTime = 10 * time.Second
