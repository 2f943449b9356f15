// Package chaos has only tests: they kill workers and Redis, cut connections between them and let
// Redis fail under load, and check what became of the mails. `make chaos` runs them at full size
// and prints their tables; `make test` runs a short form.
//
// Three logs are written independently of each other. Each is only appended to:
//
//   - the producer logs every call of Send, and whether it was acknowledged
//   - the workers, built with -tags failpoints, log the points that each run of a task passes (see
//     internal/worker)
//   - the receiver, a submission server, logs every mail with its Message-ID and the SHA-256 of its
//     secret, and syncs the log before it answers 250
//
// When the queues are empty, a checker compares these logs, the workers' own logs and Redis. These
// invariants must hold:
//
//  1. An acknowledged mail was delivered, or its record has another outcome, or it is still queued.
//  2. A delivered mail was sent by the producer.
//  3. All copies of a mail have the same secret and the same Message-ID.
//  4. A mail has one copy, one more for each run that was killed between the final dot and the
//     record of the reply, and one more for each lost reply.
//  5. The outcome of a delivered mail is accepted or unknown, not refused, expired or revoked.
//  6. Every delivered secret is right once, and rejected the second time.
//  7. Redis has no active task without a lease, and no secret in clear.
//
// The checker is itself tested, with hand-made logs and with three workers that are broken on
// purpose.
package chaos
