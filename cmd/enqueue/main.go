// Command enqueue puts mails into the queue, and tells how they went. See README.md, or enqueue --help.
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

	"example.com/securemail/internal/config"
	"example.com/securemail/tasks"
)

// Exit codes. 75 is EX_TEMPFAIL of sysexits.h: the answer could not be had, ask again later.
const (
	exitNo       = 1
	exitUsage    = 2
	exitTempFail = 75
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	logging.Disable() // go-redis would write to standard error what our own error says
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// errNo is for a question whose answer is no, and has been printed.
var errNo = errors.New("no")

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	started := false // what fails before is wrong use
	root := &cobra.Command{
		Use:   "enqueue",
		Short: "Has keys, codes and TOTP secrets mailed, tells how that went, and checks what was typed",
		Long: `Has keys, codes and TOTP secrets mailed, tells how that went, and checks what was typed.

Exit codes: 0 yes, 1 no (such as refused, or a wrong answer), 2 wrong use, 75 could not tell (Redis out of reach, or the time was up).`,
		Example: `  enqueue key alice@example.com --wait
  enqueue code alice@example.com --purpose sign-in --expires-in 5m`,
		Args:              noCommand,
		Run:               func(*cobra.Command, []string) {}, // without it cobra shows the help, and calls that success
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRun:  func(*cobra.Command, []string) { started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&p.path, "config", "", "settings `FILE` (YAML); see deploy/config.example.yaml")
	root.PersistentFlags().StringVar(&p.redisURL, "redis", "", "Redis `URL`, before file and environment (default: redis://127.0.0.1:6379)")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "one JSON object a line on standard output")
	root.AddCommand(p.sendCommand(tasks.Key), p.sendCommand(tasks.Code), p.sendCommand(tasks.TOTP), p.statusCommand(),
		p.verifyCommand(), p.resendCommand(), p.revokeCommand(), p.unlockCommand(), p.previewCommand())
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return exitNo
	}
	fmt.Fprintf(stderr, "enqueue: %v\n", err)
	switch {
	case !started:
		fmt.Fprintf(stderr, "see: %s --help\n", command.CommandPath())
		return exitUsage
	case errors.Is(err, tasks.ErrInvalid), errors.As(err, new(wrongUse)):
		return exitUsage
	case isNo(err):
		return exitNo
	}
	return exitTempFail
}

// isNo knows the errors that are an answer.
func isNo(err error) bool {
	return errors.Is(err, tasks.ErrNotFound) || errors.Is(err, tasks.ErrStillSending) || tasks.IsRejected(err)
}

// noCommand refuses what is no command. It does not repeat an address: this text may end up in a log.
func noCommand(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("say what to do, as in: enqueue key ADDRESS")
	case strings.Contains(args[0], "@"):
		return errors.New("say what to mail before the address: enqueue key ADDRESS, or code, or totp")
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// one wants a single argument, and says which.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one %s, not %d", what, len(args))
		}
		return nil
	}
}

// flagError keeps an address that begins with a hyphen out of the error.
func flagError(_ *cobra.Command, err error) error {
	if strings.Contains(err.Error(), "@") {
		return errors.New("a flag is wrong; put -- before an address that begins with a hyphen")
	}
	return err
}

// wrongUse marks an error that is mended on the command line or in the settings.
type wrongUse struct{ error }

// program is what all subcommands share.
type program struct {
	path, redisURL string
	keyRing        string
	json           bool
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (p *program) settings() (config.Config, error) {
	flags := map[string]string{}
	if p.redisURL != "" {
		flags["redis.url"] = p.redisURL
	}
	if p.keyRing != "" {
		flags["keyring_file"] = p.keyRing
	}
	c, err := config.Load(config.Producer, p.path, p.environ, flags)
	if err != nil {
		return c, wrongUse{fmt.Errorf("these settings need mending:\n%w", err)}
	}
	return c, nil
}

// connection is a Redis client, to be closed, and where it leads, for messages.
type connection struct {
	redis.UniversalClient
	address string
}

// connect returns a client for the settings, and its connection.
func (p *program) connect() (*tasks.Client, connection, error) {
	c, err := p.settings()
	if err != nil {
		return nil, connection{}, err
	}
	return open(c)
}

// connectToCheck is connect with the key ring.
func (p *program) connectToCheck() (*tasks.Client, connection, error) {
	c, err := p.settings()
	if err != nil {
		return nil, connection{}, err
	}
	if c.KeyRingFile == "" {
		return nil, connection{}, wrongUse{errors.New("keyring_file (SECUREMAIL_KEYRING_FILE, --keyring): name the key ring file that the workers use")}
	}
	return open(c, tasks.WithKeyRingFile(c.KeyRingFile))
}

func (p *program) keyRingFlag(command *cobra.Command) {
	command.Flags().StringVar(&p.keyRing, "keyring", "", "the workers' key ring `FILE`, before file and environment")
}

func open(c config.Config, more ...tasks.Option) (*tasks.Client, connection, error) {
	rdb, err := c.Redis.ProducerClient()
	if err != nil {
		return nil, connection{}, wrongUse{err}
	}
	client, err := tasks.NewClient(rdb, append(more, tasks.WithMaxLife(tasks.Key, c.MaxLife.Key), tasks.WithMaxLife(tasks.Code, c.MaxLife.Code),
		tasks.WithMaxLife(tasks.TOTP, c.MaxLife.TOTP))...)
	if err != nil {
		rdb.Close()
		return nil, connection{}, wrongUse{err}
	}
	return client, connection{rdb, c.Redis.Describe()}, nil
}

// redisTrouble says which Redis could not be used, and why. The queue library's own text leads with its inner workings.
func redisTrouble(rdb connection, err error) error {
	var network *net.OpError
	var reply redis.Error
	switch {
	case errors.Is(err, tasks.ErrInvalid), errors.Is(err, tasks.ErrKeyRing), isNo(err):
		return err
	case errors.As(err, &network):
		err = network
	case errors.As(err, &reply):
		err = reply
	}
	return fmt.Errorf("redis.url: Redis at %s cannot be used: %w", rdb.address, err)
}

// redisTime bounds one question to Redis: somebody sits at the terminal.
const redisTime = 10 * time.Second
