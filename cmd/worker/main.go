// Command worker sends the queued mails. See README.md, or worker --help.
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

// tempFail is a temporary failure, such as Redis being unreachable.
type tempFail struct{ error }

func (e tempFail) Unwrap() error { return e.error }

func main() {
	// The first signal ends ctx and restores the default action of signals, so that a second one
	// exits.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// The live heap is small and the worker allocates much. At 100, the garbage collector takes
		// a tenth of the CPU. At 400 the heap is some 12 MiB larger.
		debug.SetGCPercent(400)
	}
	logging.Disable() // serve gives go-redis the worker's log
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	settings := &workerSettings{Settings: cli.Settings{Environ: environ}}
	root := &cobra.Command{
		Use:   "worker",
		Short: "Send the queued mails",
		Long: `Send the queued mails. To see it work: worker dev

Exit codes: 0 success, 1 failure (such as a failed check), 2 wrong use or invalid settings,
75 temporary failure (Redis unreachable).`,
		Args: cobra.NoArgs,
	}
	daemon, check := runCommand(settings, stderr), checkCommand(settings, stdout)
	root.RunE = daemon.RunE // without a command
	for _, command := range []*cobra.Command{root, daemon, check} {
		settings.Flags(command, false)
	}
	for _, command := range []*cobra.Command{root, daemon} {
		command.Flags().BoolVar(&settings.allowVolatile, "allow-volatile", false, "start even if Redis evicts keys, or has no append-only file")
	}
	root.AddCommand(daemon, devCommand(stdout, stderr), check, keyringCommand(stdout))
	return cli.Run(ctx, root, args, stdout, stderr, func(err error) int {
		if errors.As(err, new(tempFail)) {
			return cli.ExitTempFail
		}
		return cli.ExitNo
	})
}

// workerSettings has the sources of the worker's settings.
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
