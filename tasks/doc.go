// Package tasks is what an application imports to have a secret mailed to somebody, and to check later what they typed.
//
// A secret is a random key, a typed code, or a TOTP secret with its QR code. The application says to whom and what
// for; it never sees the secret. A worker makes it, mails it, and the record of the mail says how that ended.
//
// Start with [NewClient] and [Client.Send], and keep the id that Send returns: everything else is asked with it.
// [Client.Verify] checks an answer. [Client.Status] tells where a mail stands, [Client.Wait] waits until it has ended.
// [Client.Resend] sends the same secret again, [Client.Revoke] makes it worthless. Only checking needs the key ring, see
// [WithKeyRingFile]; sending needs Redis alone. Who already has an asynq client of their own can enqueue with it what
// [NewTask] returns.
//
// # What is promised
//
// A mail that Send acknowledged is never lost as long as Redis keeps its data: it ends as accepted, refused, expired,
// revoked or unknown. Through a failover to a replica Redis keeps what the replica has, see [WithReplicas]. "Accepted" means that a submission server (RFC 6409) took responsibility for it; whether it
// reached a mailbox is beyond what SMTP can tell. On every retry, and after every crash, the same mail carries the
// same secret. Of any number of right answers, also at the same moment, one succeeds. The id and the recipient's address
// are in Redis; the secret is not, in no form but that of a TOTP, which is kept sealed under the key ring.
//
// # What does not change
//
// What stands in Redis outlives a deployment. A version of this package reads every task that an older one wrote, and
// tolerates fields that a newer one added. Anything else raises the version number inside the task, and an older
// worker leaves such a task waiting for a newer one instead of refusing it.
package tasks
