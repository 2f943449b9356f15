// Package bench measures how close a worker comes to what limits it: asynq with a handler that does nothing, a bare loop
// that hands one finished message over TLS again and again, the QR code's bare matrix, and an empty script's way to
// Redis and back.
//
// It holds benchmarks only; go test runs none of them. One round of a benchmark measures a limit and us in turn, on the
// same Redis server's settings, receiving server and concurrency, so that a noisy machine is noisy for both; what counts is
// the ratio. make bench runs several rounds and prints their medians as one table; the lines beneath it are those that
// benchstat reads.
//
// Redis is a redis-server on a Unix socket with an append-only file, a new one for every measurement. The receiving
// server is a process of its own that answers each command and keeps nothing; it shares the machine, and its share of the CPU
// is reported. The limits get the mails' own tasks: same payload, queues, priority, retention.
package bench
