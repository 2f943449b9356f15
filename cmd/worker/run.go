package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
)

func runCommand(settings *workerSettings, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon (also without a command). SIGTERM finishes in-flight mails, a second one exits",
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

// serve is the whole wiring of a worker: each line needs the ones above it. It returns when ctx has ended and the in-flight
// mails have too. development is for worker dev, whose Redis may forget and whose recipients have no limits. started, if
// not nil, is called when tasks are being taken.
func serve(ctx context.Context, c config.Config, relays []submission.Relay, development bool, log *zap.Logger, started func(adminAddr string)) error {
	defer log.Sync()                                                                         // stderr cannot be synced everywhere, and then has nothing buffered
	redis.SetLogger(redisLog{log.WithOptions(zap.WithCaller(false)).Named("redis").Sugar()}) // the process has one

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
		warnings, err := checkRedis(ctx, c.Redis, rdb) // after all that can be checked without Redis
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
		CodeDigits:    c.CodeDigits,
		Retention:     c.RecordRetention,
		Concurrency:   c.Concurrency,
		Unlimited:     development,
		Log:           log,
		Metrics:       metrics,
	})
	monitoring, err := c.Redis.Conn().ProducerClient() // fails fast, so that a scrape is answered while Redis is unreachable
	if err != nil {
		return err
	}
	defer monitoring.Close()
	listener, err := admin.Listen(admin.Config{Addr: c.Admin.Addr, Password: c.Admin.Password, Redis: monitoring, Ready: w.Ready, Metrics: metrics})
	if err != nil {
		return err
	}

	// The listener outlives the worker, so that /readyz says that it is stopping while it is.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := listener.Serve(adminCtx); err != nil {
			log.Error("the admin listener failed; the worker goes on", zap.Error(err))
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

// checkRedis reports a Redis that is unreachable, within seconds instead of as long as the worker's client retries, and
// one that would lose mails.
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

// sender is the From setting as mails have it.
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
	// No sampling: every outcome has its line.
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level), zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(w))))
}

// redisLog logs what go-redis reports about its connections.
type redisLog struct{ *zap.SugaredLogger }

func (l redisLog) Printf(_ context.Context, format string, args ...any) { l.Warnf(format, args...) }
