// Package bench compares a worker with what limits it. The baselines are:
//
//   - asynq with a handler that does nothing
//   - a bare client that submits one finished message over TLS again and again
//   - go-qrcode computing the matrix of a QR code
//   - a call of an empty script in Redis
//
// The package has only benchmarks, and one test that runs each part once. A round of a benchmark
// measures a baseline and the worker in turn, with the same settings of Redis, the same receiving
// server and the same concurrency. Noise of the machine then affects both, and the ratio is the
// result. `make bench` runs several rounds, prints the medians as one table, and leaves the lines
// for benchstat in bench.txt.
//
// Redis is a new redis-server for every measurement, on a Unix socket, with an append-only file.
// The receiving server is a separate process on the same machine, which answers each command and
// stores nothing. Its CPU time is reported. The baselines use the same tasks as the worker:
// payload, queues, priority and retention.
package bench
