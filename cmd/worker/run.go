package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail/internal/admin"
	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/worker"
	"example.com/securemail/tasks"
)

func runCommand(settings *workerSettings, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the worker (the default command). After SIGTERM it finishes in-flight mails and exits; a second SIGTERM ends it at once",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := settings.load()
			if err != nil {
				return err
			}
			if _, err := checkMails(cmd.Context(), c); err != nil {
				return cli.Usage("from or product: no mail can be composed with these settings: %w", err)
			}
			relays, err := relaysOf(c)
			if err != nil {
				return cli.UsageError{Err: err}
			}
			return serve(cmd.Context(), c, relays, false, newLog(c.Log, stderr), nil)
		},
	}
}

// serve builds a worker and runs it. Each part needs the parts above it. serve returns when ctx has
// ended and all in-flight mails have ended too. development is for `worker dev`: Redis may lose
// data. serve calls started, unless it is nil, when the worker is
// about to take tasks.
func serve(ctx context.Context, c config.Config, relays []submission.Relay, development bool, log *zap.Logger, started func(adminAddr string)) error {
	defer log.Sync() // fails where stderr cannot be synced, and there nothing is buffered
	// go-redis has one logger for the whole process.
	redis.SetLogger(redisLog{log.WithOptions(zap.WithCaller(false)).Named("redis").Sugar()})

	ring, err := keyring.Open(c.KeyRingFile)
	if err != nil {
		return cli.Usage("keyring_file: %w", err)
	}
	rdb, err := c.Redis.Conn().WorkerClient(c.Concurrency)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	defer rdb.Close()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	set, err := submission.NewRelays(relays, submission.Options{Limits: limits.NewPerRelay(rdb, relayLimits(c)), Changed: relayChanged(log, metrics)})
	if err != nil {
		return cli.Usage("smtp: %w", err)
	}
	defer set.Close()
	if !development {
		warnings, err := checkRedis(ctx, c.Redis, rdb) // after all checks that do not need Redis
		if err != nil {
			return err
		}
		for _, w := range warnings {
			log.Warn("redis: " + w)
		}
	}

	w := worker.New(worker.Config{
		Redis:         rdb,
		KeyRing:       ring,
		Relays:        set,
		TryTimeout:    tryTimeout(c, len(relays)),
		StopOnUnknown: c.OnUnknown == "stop",
		From:          sender(c),
		ReplyTo:       c.ReplyAddress(),
		Product:       c.Product,
		MaxLife:       c.MaxLife,
		MinCodeDigits: c.MinCodeDigits,
		Retention:     c.RecordRetention,
		Concurrency:   c.Concurrency,
		Limits:        tasks.Limits(c.Limits),
		Log:           log,
		Metrics:       metrics,
	})
	// This client fails fast, so that scrapes are answered while Redis is down.
	monitoring, err := c.Redis.Conn().ProducerClient()
	if err != nil {
		return err
	}
	defer monitoring.Close()
	listener, err := admin.Listen(admin.Config{Addr: c.Admin.Addr, Password: c.Admin.Password, Redis: monitoring, Ready: w.Ready, Metrics: metrics})
	if err != nil {
		return err
	}

	// The listener ends after the worker, so that /readyz reports that the worker is stopping.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := listener.Serve(adminCtx); err != nil {
			log.Error("the admin listener failed; the worker keeps running", zap.Error(err))
		}
	})
	defer serving.Wait()
	defer stopAdmin()

	log.Info("worker started", zap.Strings("relays", describe(relays)), zap.Int("concurrency", c.Concurrency), zap.String("admin", "http://"+listener.Addr()),
		zap.Duration("drain_time", w.DrainTime()))
	if started != nil {
		started(listener.Addr())
	}
	err = w.Run(ctx)
	log.Info("worker stopped")
	return err
}

// checkRedis returns an error if Redis is unreachable or can lose mails. It takes seconds; the
// worker's client would retry for longer.
func checkRedis(ctx context.Context, c config.Redis, rdb redis.UniversalClient) (warnings []string, err error) {
	warnings, err = redisconn.Check(ctx, rdb)
	switch {
	case errors.Is(err, redisconn.ErrVolatile) && c.AllowVolatile:
		return append(warnings, err.Error()), nil
	case errors.Is(err, redisconn.ErrVolatile):
		return nil, cli.Usage("redis.url: %w\nor start with --allow-volatile (redis.allow_volatile), and accept the loss", err)
	case err != nil:
		return nil, tempFail{fmt.Errorf("redis.url: Redis at %s cannot be used: %w", c.Conn().Describe(), err)}
	}
	return warnings, nil
}

// sender returns the From setting for a mail.
func sender(c config.Config) message.Sender {
	name, address := c.Sender()
	return message.Sender{Name: name, Address: address}
}

func newLog(c config.Log, w io.Writer) *zap.Logger {
	settings := zap.NewProductionEncoderConfig()
	settings.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	settings.TimeKey = "time"
	encoder := zapcore.NewJSONEncoder(settings)
	if c.Format == "console" {
		settings.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(settings)
	}
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		level = zapcore.InfoLevel
	}
	// The log is not sampled, so that every outcome has its line.
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level), zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(w))))
}

// redisLog writes the messages of go-redis to the worker's log.
type redisLog struct{ *zap.SugaredLogger }

func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	// A worker that stops closes the connection on which it waits for tasks, and go-redis wonders.
	if !strings.HasPrefix(format, "Unexpected conn[%d] state changed by hook") {
		l.Warnf(format, args...)
	}
}
