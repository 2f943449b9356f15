// Package securemail has a secret mailed to a person, and checks later what the person typed.
//
//	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile("keyring"))
//	receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Code, To: "alice@example.com", Purpose: "sign-in"})
//	...
//	err = client.Verify(ctx, tasks.Ref{ID: receipt.ID, To: "alice@example.com", Purpose: "sign-in"}, typed)
//
// A secret is a random key, a typed code, or a TOTP secret with its QR code. The application says to whom it goes and
// what it is for, and never sees it. A worker makes it and mails it.
//
// [Client.Send] queues a mail and returns its id. [Client.Verify] checks an answer. [Client.Status] tells the state of a
// mail, [Client.Wait] waits until it has ended. [Client.Resend] sends the same secret again, [Client.Revoke] makes it
// worthless. Sending needs Redis alone; checking also needs the workers' key ring, see [WithKeyRingFile]. The nouns are
// in package tasks.
//
// # Guarantees
//
// A mail that Send acknowledged is never lost as long as Redis keeps its data. It ends as accepted, refused, expired,
// revoked or unknown. Through a failover, Redis keeps what the replica has; see [WithReplicas]. "Accepted" means that a
// submission server (RFC 6409) took responsibility for the mail. Whether it reached a mailbox is beyond what SMTP can
// tell.
//
// On every retry and after every crash, the same mail carries the same secret. Of any number of right answers, also at
// the same moment, exactly one succeeds.
//
// Redis holds the id and the recipient's address. It does not hold the secret, except for a TOTP, which is kept sealed
// under the key ring.
package securemail
