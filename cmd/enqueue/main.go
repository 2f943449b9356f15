// Command enqueue puts mails into the queue, and tells how they went. See README.md, or enqueue --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
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
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// errNo is for a question whose answer is no, and has been printed.
var errNo = errors.New("no")

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdout: stdout, stderr: stderr}
	started := false // what fails before is wrong use
	root := &cobra.Command{
		Use:               "enqueue",
		Short:             "Has keys, codes and TOTP secrets mailed, and tells how that went",
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRun:  func(*cobra.Command, []string) { started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&p.path, "config", "", "settings `FILE` (YAML); see deploy/config.example.yaml")
	root.PersistentFlags().StringVar(&p.redisURL, "redis", "", "Redis `URL`, over every other setting of it")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "one JSON object a line on standard output")
	root.AddCommand(p.sendCommand(tasks.Key), p.sendCommand(tasks.Code), p.sendCommand(tasks.TOTP), p.statusCommand(), p.previewCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return exitNo
	}
	fmt.Fprintf(stderr, "enqueue: %v\n", err)
	switch {
	case !started:
		fmt.Fprintln(stderr, "enqueue --help lists the commands and flags")
		return exitUsage
	case errors.Is(err, tasks.ErrInvalid), errors.As(err, new(wrongUse)):
		return exitUsage
	case errors.Is(err, tasks.ErrNotFound):
		return exitNo
	}
	return exitTempFail
}

// wrongUse marks an error that is mended on the command line or in the settings.
type wrongUse struct{ error }

// program is what all subcommands share.
type program struct {
	path, redisURL string
	json           bool
	environ        []string
	stdout, stderr io.Writer
}

func (p *program) settings() (config.Config, error) {
	flags := map[string]string{}
	if p.redisURL != "" {
		flags["redis.url"] = p.redisURL
	}
	c, err := config.Load(config.Producer, p.path, p.environ, flags)
	if err != nil {
		return c, wrongUse{fmt.Errorf("these settings need mending:\n%w", err)}
	}
	return c, nil
}

// connect returns a client for the settings, and the Redis connection to close after it.
func (p *program) connect() (*tasks.Client, *redis.Client, error) {
	c, err := p.settings()
	if err != nil {
		return nil, nil, err
	}
	rdb, err := c.Redis.ProducerClient()
	if err != nil {
		return nil, nil, wrongUse{err}
	}
	client, err := tasks.NewClient(rdb, tasks.WithMaxLife(tasks.Key, c.MaxLife.Key), tasks.WithMaxLife(tasks.Code, c.MaxLife.Code),
		tasks.WithMaxLife(tasks.TOTP, c.MaxLife.TOTP))
	if err != nil {
		rdb.Close()
		return nil, nil, wrongUse{err}
	}
	return client, rdb, nil
}

// redisTime bounds one question to Redis: somebody sits at the terminal.
const redisTime = 10 * time.Second
