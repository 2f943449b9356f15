package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"example.com/securemail/internal/admin"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/worker"
	"example.com/securemail/tasks"
)

// settingsFrom returns what reads the settings once the flags are parsed.
func settingsFrom(path, redisURL *string, allowVolatile *bool, environ []string) func() (config.Config, error) {
	return func() (config.Config, error) {
		flags := map[string]string{}
		if *redisURL != "" {
			flags["redis.url"] = *redisURL
		}
		if *allowVolatile {
			flags["redis.allow_volatile"] = "true"
		}
		c, err := config.Load(config.Worker, *path, environ, flags)
		if err != nil {
			return c, wrongUse{fmt.Errorf("these settings need mending:\n%w", err)}
		}
		return c, nil
	}
}

func runCommand(settings func() (config.Config, error), stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "The daemon (also without any command). SIGTERM lets the mails in hand finish, a second one quits",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := settings()
			if err != nil {
				return err
			}
			if _, err := checkMails(cmd.Context(), c); err != nil {
				return wrongUse{fmt.Errorf("from or product: no mail can be written with these settings: %w", err)}
			}
			relays, err := relaysOf(c)
			if err != nil {
				return wrongUse{err}
			}
			return serve(cmd.Context(), c, relays, false, newLog(c.Log, stderr), nil)
		},
	}
}

// serve is the whole wiring of a worker: each line needs the ones above it. It returns when ctx has ended and the mails
// in hand have too. development is for worker dev, whose Redis may forget and whose recipients have no limits. started, if
// not nil, is told when tasks are being taken.
func serve(ctx context.Context, c config.Config, relays []submission.Relay, development bool, log *zap.Logger, started func(adminAddr string)) error {
	defer log.Sync()                                                                         // stderr cannot be synced everywhere, and then has nothing to lose
	redis.SetLogger(redisLog{log.WithOptions(zap.WithCaller(false)).Named("redis").Sugar()}) // it is the process's only one

	ring, err := keyring.Open(c.KeyRingFile)
	if err != nil {
		return wrongUse{fmt.Errorf("keyring_file: %w", err)}
	}
	rdb, err := c.Redis.WorkerClient(c.Concurrency)
	if err != nil {
		return wrongUse{err}
	}
	defer rdb.Close()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	records := record.NewStore(rdb, c.RecordRetention)
	allow, unused := allowance(c, records)
	set, err := submission.NewRelays(relays, submission.Options{Allow: allow, Unused: unused, Changed: relayChanged(log, metrics)})
	if err != nil {
		return wrongUse{fmt.Errorf("smtp: %w", err)}
	}
	defer set.Close()
	if !development {
		warnings, err := askRedis(ctx, c.Redis, rdb) // after all that can be said without Redis
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
		From:          c.Sender(),
		ReplyTo:       c.ReplyTo,
		Product:       c.Product,
		MaxLife:       map[tasks.Kind]time.Duration{tasks.Key: c.MaxLife.Key, tasks.Code: c.MaxLife.Code, tasks.TOTP: c.MaxLife.TOTP},
		CodeDigits:    c.CodeDigits,
		Retention:     c.RecordRetention,
		Concurrency:   c.Concurrency,
		Unlimited:     development,
		Log:           log,
		Metrics:       metrics,
	})
	monitoring, err := c.Redis.ProducerClient() // fails fast, so that a scrape is answered while Redis is away
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

// askRedis reports Redis being out of reach, in a few seconds rather than after all the patience of the worker's client, and
// one that would lose mails. The warnings are about what can be lived with.
func askRedis(ctx context.Context, c config.Redis, rdb redis.UniversalClient) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	warnings, err = worker.CheckRedis(ctx, rdb)
	switch {
	case errors.Is(err, worker.ErrVolatile) && c.AllowVolatile:
		return append(warnings, err.Error()), nil
	case errors.Is(err, worker.ErrVolatile):
		return nil, wrongUse{fmt.Errorf("redis.url: %w\nor start with --allow-volatile (redis.allow_volatile), and accept the loss", err)}
	case err != nil:
		return nil, tempFail{fmt.Errorf("redis.url: Redis at %s cannot be used: %w", c.Describe(), err)}
	}
	return warnings, nil
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

// redisLog takes what go-redis says about its connections.
type redisLog struct{ *zap.SugaredLogger }

func (l redisLog) Printf(_ context.Context, format string, args ...any) { l.Warnf(format, args...) }
