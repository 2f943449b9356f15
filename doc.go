// Package securemail mails a secret to a person, through a worker, and later checks what the person typed.
//
//	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile("keyring"))
//	receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Code, To: "alice@example.com", Purpose: "sign-in"})
//	...
//	err = client.Verify(ctx, tasks.Ref{ID: receipt.ID, To: "alice@example.com", Purpose: "sign-in"}, typed)
//
// A secret is a random key, a typed code, or a TOTP secret with its QR code. The application says who gets it and
// what it is for. It does not see it, except for a TOTP that it takes over with [Client.Export]. A worker makes the
// secret and mails it through a relay, which is a submission server (RFC 6409).
//
// [Client.Send] queues a mail and returns its id. [Client.Verify] checks an answer. [Client.Status] returns the state of a
// mail, [Client.Wait] waits until it has ended. [Client.Resend] sends the same secret again, [Client.Revoke] makes it
// worthless. Sending needs Redis alone; checking also needs the workers' key ring, see [WithKeyRingFile]. The nouns are
// in package tasks.
//
// # Guarantees
//
// A mail that Send acknowledged is never lost as long as Redis keeps its data. It ends as accepted, refused, expired,
// revoked or unknown. Through a failover, Redis keeps what the replica has; see [WithReplicas]. "Accepted" means that a
// relay took responsibility for the mail. Whether it reached a mailbox is beyond what SMTP can
// tell.
//
// On every retry and after every crash, the same mail carries the same secret. A key, a code and each single code of a
// TOTP is accepted once, even when several right answers arrive at the same moment.
//
// Redis holds the mail's data, with the recipient's address and a random seed. Nobody can compute the secret from that
// without the key ring. A TOTP secret, and a mail that may have to be sent again, are stored there encrypted under the
// key ring. What a secret depends on has a MAC under the key ring, so that whoever can write to Redis cannot change it unseen.
package securemail
