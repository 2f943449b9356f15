// Command worker sends the mails that are in the queue. See README.md, or worker --help.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/config"
)

// tempFail is an error that says nothing about the question, such as Redis being unreachable.
type tempFail struct{ error }

func (e tempFail) Unwrap() error { return e.error }

func main() {
	// The first signal drains. It also restores the usual effect of signals, so that a second one exits.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// Little is live and much passes through: at 100, the garbage collector takes a tenth of the CPU. This costs some 12 MiB.
		debug.SetGCPercent(400)
	}
	logging.Disable() // until there is a log that go-redis can write to
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	settings := &workerSettings{Settings: cli.Settings{Environ: environ}}
	root := &cobra.Command{
		Use:   "worker",
		Short: "Send the mails that are in the queue",
		Long: `Send the mails that are in the queue. To see it work: worker dev

Exit codes: 0 success, 1 failure (such as a failed check), 2 wrong use or invalid settings,
75 temporary failure (Redis unreachable).`,
		Args: cobra.NoArgs,
	}
	daemon, check := runCommand(settings, stderr), checkCommand(settings, stdout)
	root.RunE = daemon.RunE // worker alone is worker run
	for _, command := range []*cobra.Command{root, daemon, check} {
		settings.Flags(command, false)
	}
	for _, command := range []*cobra.Command{root, daemon} {
		command.Flags().BoolVar(&settings.allowVolatile, "allow-volatile", false, "start even if Redis can lose what it took")
	}
	root.AddCommand(daemon, devCommand(stdout, stderr), check, keyringCommand(stdout))
	return cli.Run(ctx, root, args, stdout, stderr, func(err error) int {
		if errors.As(err, new(tempFail)) {
			return cli.ExitTempFail
		}
		return cli.ExitNo
	})
}

// workerSettings are where the worker's settings come from.
type workerSettings struct {
	cli.Settings
	allowVolatile bool
}

func (s *workerSettings) load() (config.Config, error) {
	flags := map[string]string{}
	if s.allowVolatile {
		flags["redis.allow_volatile"] = "true"
	}
	return s.Load(config.Worker, flags)
}
