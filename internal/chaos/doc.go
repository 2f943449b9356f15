// Package chaos holds nothing but tests: of what is left when workers, Redis or the way between them break under load.
// make chaos runs them at their full size and prints their tables; make test runs a short form.
//
// Three files are written independently of each other, each only ever appended to:
//
//	P   by the producer: every call of Send, and whether it was acknowledged
//	W   by the workers, which are built with -tags failpoints: the points that a run passes (see internal/worker), and their logs
//	S   by the receiving server: every mail with its Message-ID and the SHA-256 of its secret, synced before the 250
//
// When everything has drained, a checker compares the three, and Redis, by these laws:
//
//  1. What was acknowledged was delivered, or ended with another outcome that its record tells, or is still queued.
//  2. What was delivered was offered.
//  3. Every mail has one secret and one Message-ID, in however many copies.
//  4. A mail has one copy, and one more for each run that was killed between the final dot and the record of its reply, and for
//     each reply that got lost.
//  5. What was delivered ended as accepted or unknown, and not as refused, expired or revoked.
//  6. Every secret that was delivered is right once, and not a second time.
//  7. Redis keeps no task that is active without a lease, and no secret in clear.
//
// The checker is tested too: by hand-made files, and by three workers that are broken on purpose.
package chaos
