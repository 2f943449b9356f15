package submission_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// TestJudge_Words: a phase, what the reply is about ("ours": anything about us, "safe": anything but a
// mail that is lost), and the reply, whose lines are separated by " | ".
func TestJudge_Words(t *testing.T) {
	for row := range strings.Lines(wordings) {
		f := strings.SplitN(strings.TrimSpace(row), " ", 3)
		code, enhanced, lines := replyOf(t, strings.Split(f[2], " | "))
		got := submission.KindOf(submission.Phase(f[0]), code, enhanced, lines)
		lost := got == "recipient" || got == "content" || got == "size"
		ours := !lost && got != "recipient later"
		if want := strings.ReplaceAll(f[1], "_", " "); got != want && !(want == "ours" && ours) && !(want == "safe" && !lost) {
			t.Errorf("got %q, want %q: %s", got, want, row)
		}
	}
}

// replyOf takes a reply apart, whose further lines may lack their code.
func replyOf(t *testing.T, lines []string) (code int, enhanced string, texts []string) {
	t.Helper()
	digits := lines[0][:3]
	for i, line := range lines {
		rest, ok := strings.CutPrefix(line, digits)
		if !ok {
			rest = " " + line
		}
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = digits + separator + strings.TrimLeft(rest, " -") + "\r\n"
	}
	r, _, err := submission.ParseReply([]byte(strings.Join(lines, "")))
	if err != nil || strconv.Itoa(r.Code) != digits {
		t.Fatalf("%q: %v", lines, err)
	}
	return r.Code, r.Enhanced, r.Lines
}

// TestJudge_HostileReplies: each has a verdict in no time, and none blames the recipient or the message
// by accident.
func TestJudge_HostileReplies(t *testing.T) {
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = "5.7.1 more of the same, and no reason"
	}
	for name, lines := range map[string][]string{
		"no text":                      {""},
		"no line":                      nil,
		"64 KiB":                       {strings.Repeat("word ", 13<<10)},
		"64 KiB of a word":             {strings.Repeat("x", 64<<10)},
		"64 KiB of words for us":       {strings.Repeat("quota sender relay denied ", 2600)},
		"64 KiB of Chinese":            {strings.Repeat("不存在的限制", 3600)},
		"1,000 lines":                  thousand,
		"NUL":                          {"\x00\x00\x00"},
		"invalid UTF-8":                {"\xff\xfe\xfd \xc3"},
		"a name that holds words":      {"rejected by user-unknown.mailbox-full.example.com for <no.such.user@limited.example>"},
		"a company that is limited":    {"ACME Mail Services Limited refuses this"},
		"a link that holds words":      {"see https://example.com/user-unknown/mailbox?no=such"},
		"words of both sides":          {"5.1.1 user unknown; relaying denied, your IP address is blocked"},
		"a success in another class":   {"2.0.0 Ok: queued"},
		"words cut out of words":       {"superuser unknowns unspammed"},
		"the message, word for word":   {"Subject: hello From: Hello ..two dots .one"},
		"a mailbox of the relay's own": {"postmaster@relay.example can tell you more"},
	} {
		for _, phase := range phases {
			for _, code := range []int{421, 450, 500, 535, 550, 554, 599} {
				begun := time.Now()
				e := submission.Refused(phase, code, "", lines...)
				took := time.Since(begun)
				for again := 0; again < 5 && took > 500*time.Millisecond; again++ { // the machine may be busy
					begun = time.Now()
					submission.Refused(phase, code, "", lines...)
					took = time.Since(begun)
				}
				if took > 500*time.Millisecond { // BenchmarkJudge has the figure
					t.Errorf("%s: it took %v", name, took)
				}
				if e.Permanent && (e.Scope == submission.ScopeRecipient || e.Scope == submission.ScopeMessage) && !(phase == submission.PhaseMail && e.Scope == submission.ScopeMessage) {
					t.Errorf("%s: %s %d is refused for good: %v", name, phase, code, e)
				}
			}
		}
	}
}

// FuzzVerdict: names in a reply never change its verdict, and no reply of class 4 refuses for good.
func FuzzVerdict(f *testing.F) {
	for row := range strings.Lines(wordings) {
		f.Add(strings.TrimSpace(strings.SplitN(row, " ", 3)[2]))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, phase := range phases {
			for _, code := range []int{450, 550} {
				lines := []string{text}
				got := submission.KindOf(phase, code, "", lines)
				named := submission.KindOf(phase, code, "", append(lines, "user-unknown.limited-relay.example https://spam.example/mailbox-full"))
				if got != named && len(text) < 8000 && !strings.Contains(text, "(#") { // qmail's code stands at the end
					t.Errorf("%s %d: %q, and %q with names behind it", phase, code, got, named)
				}
				if code == 450 && got == "recipient" {
					t.Errorf("%s: refused for good by a 450", phase)
				}
			}
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	for name, lines := range map[string][]string{
		"usual": {"5.7.1 <bob@example.net>: Recipient address rejected: Access denied"},
		"64KiB": {strings.Repeat("quota sender relay denied ", 2600)},
		"bytes": {strings.Repeat("a ", 32<<10)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				submission.KindOf(submission.PhaseRcpt, 550, "5.7.1", lines)
			}
		})
	}
}

const wordings = `rcpt recipient 550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in virtual mailbox table
rcpt recipient 550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in relay recipient table
rcpt recipient 550 5.1.0 <bob@example.net>: Recipient address rejected: User unknown in local recipient table
rcpt safe 554 5.7.1 <bob@example.net>: Relay access denied
rcpt safe 550 5.7.1 Relaying denied
rcpt safe 550 relay not permitted
rcpt safe 550 5.7.1 <bob@example.net>... Relaying denied. Proper authentication required.
rcpt safe 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain
rcpt safe 550 5.7.1 Unable to relay for bob@example.net
rcpt safe 553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)
rcpt safe 553 sorry, that domain isn't allowed to be relayed thru this MTA (#5.7.1)
rcpt safe 554 5.7.1 This server is not an open relay
rcpt safe 550 We do not relay mail for unauthenticated users
rcpt recipient 511 sorry, no mailbox here by that name (#5.1.1 - chkuser)
rcpt recipient 550 sorry, no mailbox here by that name. (#5.1.1)
rcpt recipient 550-5.1.1 The email account that you tried to reach does not exist. Please try | 5.1.1 double-checking the recipient's email address for typos or | 5.1.1 unnecessary spaces. Learn more at https://support.google.com/mail/?p=NoSuchUser
rcpt recipient 550 5.2.1 The email account that you tried to reach is disabled. Learn more at
rcpt recipient_later 452 4.2.2 The email account that you tried to reach is over quota.
rcpt recipient_later 450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.
rcpt recipient_later 450 4.2.1 The recipient has exceeded message rate limit. Try again later.
dot recipient 554 delivery error: dd This user doesn't have a yahoo.com account (bob@yahoo.com) [0] - mta1
dot recipient 554 delivery error: dd Sorry your message to bob@yahoo.com cannot be delivered. This account has been disabled or discontinued [#102].
rcpt recipient 550 Mailbox not found
rcpt recipient 550 User not found: bob@qq.com
rcpt recipient 550 No such user here
rcpt recipient 550 "Unknown user"
rcpt recipient 550 5.1.1 Not our Customer
rcpt recipient 550 Addressee unknown, relay=[192.0.2.1]
rcpt recipient 550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [DB5EUR01FT003.eop-EUR01.prod.protection.outlook.com]
dot recipient 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
dot recipient 550 5.1.1 RESOLVER.ADR.RecipNotFound; not found
rcpt recipient 550 Unrouteable address
rcpt recipient 550 unknown local part
rcpt recipient 550 No such recipient here
rcpt recipient 550 Invalid mailbox
rcpt recipient 550 Account is inactive
rcpt recipient 550 5.2.1 Mailbox disabled, not accepting messages
rcpt recipient 550 5.1.2 Domain not found: example.invalid
rcpt recipient 556 5.1.10 Recipient address has null MX
rcpt recipient 550 Domain does not accept mail (nullMX)
rcpt recipient 550 The recipient's mailbox does not exist anymore
rcpt recipient 550 bob is no longer with this company; user unknown
rcpt recipient 550 #5.1.0 Address rejected. User unknown
rcpt recipient 550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR204_416 [416]
rcpt recipient 550 5.1.1 Utilisateur inconnu
rcpt recipient 550 Adresse inconnue
rcpt recipient 550 Boîte aux lettres inexistante
rcpt recipient 550 Empfänger unbekannt
rcpt recipient 550 Empfängeradresse existiert nicht
rcpt recipient 550 Benutzer unbekannt
rcpt recipient 550 Usuario desconocido
rcpt recipient 550 El buzón no existe
rcpt recipient 550 Destinatario no encontrado
rcpt recipient 550 Utente sconosciuto
rcpt recipient 550 Casella di posta inesistente
rcpt recipient 550 Usuário não encontrado
rcpt recipient 550 Caixa postal inexistente
rcpt recipient 550 Nie ma takiego użytkownika
rcpt recipient 550 5.1.1 Odbiorca nieznany
rcpt recipient 550 Skrzynka zablokowana
rcpt recipient 550 Пользователь не найден
rcpt recipient 550 Такого почтового ящика не существует
rcpt recipient 550 Нет такого пользователя
rcpt recipient 550 用户不存在
rcpt recipient 550 收件人邮箱不存在
rcpt recipient 550 宛先のユーザーが存在しません
rcpt recipient 550 존재하지 않는 사용자입니다
rcpt ours 550 Connection frequency limited
mail ours 553 Mail from must equal authorized user
mail ours 550 User has no permission
rcpt safe 550 User has no permission
rcpt ours 550 Nachrichtenlimit überschritten
rcpt ours 550 Sendelimit erreicht: zu viele Nachrichten pro Stunde
rcpt too_much 550 Limite d'envoi dépassée pour ce compte
rcpt too_much 550 Ha superado el límite de envío diario
rcpt too_much 550 Limite di invio giornaliero superato
rcpt too_much 550 Limite de envio excedido
rcpt too_much 550 Przekroczono limit wysyłanych wiadomości
rcpt too_much 550 Превышен лимит отправки писем
rcpt too_much 550 发送频率超过限制
rcpt too_much 550 送信数の上限に達しました
rcpt too_much 550 일일 발송 한도를 초과했습니다
rcpt ours 550 Absenderadresse nicht erlaubt
rcpt ours 550 Adresse de l'expéditeur refusée
rcpt ours 553 发件人验证失败
rcpt ours 550 Отправитель не авторизован
rcpt login 530 Требуется авторизация
auth login 535 用户名或密码错误
auth login 535 Login Fail. Please enter your authorization code to login
auth login 535-5.7.8 Username and Password not accepted. For more information, go to
auth login 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.
auth login 454 4.7.0 Authentication failed: invalid user name or password
auth later 454 4.7.0 Temporary authentication failure: Connection lost to authentication server
auth too_much 454 4.7.0 Too many login attempts, please try again later. gsmtp
auth login 535 Falscher Benutzername oder falsches Passwort
auth login 535 Identifiant ou mot de passe incorrect
auth listed 535 5.7.1 IP address 192.0.2.1 is not allowed
auth account 535 Your account has been suspended
rcpt too_much 550 User bob@example.com has exceeded its 24-hour sending limit. Messages to 250 recipients out of 250 allowed have been sent.
rcpt ours 450 4.7.1 <x@y.example>: Recipient address rejected: Policy Rejection- Quota Exceeded.
rcpt too_much 554 5.7.1 <bob@example.net>: Recipient address rejected: Hourly email quota exceeded
rcpt ours 554 5.7.1 <mail.example.com[192.0.2.1]>: Client host rejected: Access denied
rcpt ours 550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1
rcpt ours 450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]
rcpt ours 504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname
rcpt ours 450 4.1.8 <noreply@example.com>: Sender address rejected: Domain not found
rcpt ours 550 5.1.0 <noreply@example.com>: Sender address rejected: User unknown in virtual mailbox table
rcpt ours 553 5.7.1 <noreply@example.com>: Sender address rejected: not logged in
rcpt ours 550-Verification failed for <noreply@example.com> | No Such User Here | Sender verify failed
rcpt ours 550 5.7.60 SMTP; Client does not have permissions to send as this sender
dot ours 550 5.7.64 TenantAttribution; Relay Access Denied
dot ours 550 5.7.501 Service unavailable. Spam abuse detected from IP range.
dot ours 550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP
dot ours 550 5.7.705 Access denied, tenant has exceeded threshold
dot ours 550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains.
dot ours 554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception
dot ours 554 5.2.252 SendAsDenied; noreply@example.com not allowed to send as other@example.com; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied
dot ours 550-5.7.26 This mail has been blocked because the sender is unauthenticated. | 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.
dot content 550-5.7.1 [192.0.2.1 12] Our system has detected that this message is | 5.7.1 likely unsolicited mail. To reduce the amount of spam sent to Gmail, | 5.7.1 this message has been blocked.
dot ours 550-5.4.5 Daily user sending limit exceeded. For more information on Gmail sending | 5.4.5 limits go to
dot content 554 5.7.1 Message rejected under suspicion of SPAM; https://ya.cc/1IrBc
dot content 552 5.7.0 Virus found in message
dot content 550 5.7.1 This message contains a banned attachment
dot content 550 Diese Nachricht wurde als Spam eingestuft
dot content 554 5.6.0 Reject, id=12345-01 - BANNED: .exe
dot size 552 5.3.4 Message size exceeds fixed limit
dot size 552 Message too large
dot ours 550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.
dot ours 451 Authentication failed: Maximum credits exceeded
mail ours 550 Unauthenticated senders not allowed
dot ours 550 5.7.1 Domain sandbox123.mailgun.org is not allowed to send: Free accounts are for test purposes only. Please upgrade or add the address to authorized recipients in Account Settings.
mail ours 553 Relaying disallowed as noreply@example.com
dot ours 551 5.7.1 Not authorised to send from this header address
dot ours 550 5.7.0 From address is not one of your addresses
dot ours 550 5.7.1 Refused by local policy. Sending limit reached
rcpt ours 550 Requested action not taken: mailbox unavailable | Sender address is not allowed.
rcpt ours 550 Requested action not taken: mailbox unavailable | Mail send limit exceeded
rcpt safe 550 Administrative prohibition
rcpt safe 550 rejected
rcpt safe 550 5.7.1 Command rejected
rcpt safe 554 5.7.1 <bob@example.net>: Recipient address rejected: Access denied
rcpt recipient_later 450 4.2.0 <bob@example.net>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.net.html
rcpt recipient_later 451 4.7.1 Greylisting in action, please come back in 00:04:59
rcpt recipient_later 450 4.1.1 <bob@example.net>: Recipient address rejected: unverified address: Address verification in progress
rcpt recipient_later 452 4.2.2 Mailbox full
rcpt recipient 550 5.2.2 User over quota
rcpt recipient 550 Postfach voll
rcpt recipient 550 Recipient's mailbox is full
rcpt recipient 550 5.1.1 Mailbox is full / Blocks limit exceeded / Inode limit exceeded
rcpt safe 452 4.5.3 Error: too many recipients
rcpt recipient 550 5.1.1 <limited@relay.example.com>: User unknown
rcpt recipient 550 No such user: relay.limited@quota.example (host spam.example.com)
rcpt recipient 550 5.7.1 Recipient rejected by user preferences: blocked by recipient
dot recipient 550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized
rcpt recipient 550 Recipient is on suppression list
rcpt recipient 550 5.1.6 Recipient has moved, see new address
rcpt recipient 550 mailbox unavailable
rcpt recipient 550 5.0.0 <bob@example.net>... User unknown
rcpt recipient 553 5.3.0 <bob@example.net>... No such user
rcpt recipient 501 5.1.3 Bad recipient address syntax
rcpt recipient 553 5.1.3 Invalid address
rcpt recipient 550 5.1.1 Recipient account disabled
rcpt ours 550 5.7.1 Your account is disabled
dot ours 550 Your account has been temporarily blocked due to unusual activity
dot ours 554 5.7.1 Outgoing mail from this account has been suspended
dot ours 550 5.7.1 Message blocked: sending IP is listed at Spamhaus
rcpt safe 550 5.5.3 Recipient limit exceeded
rcpt safe 554 5.7.1 recipient quota exceeded
rcpt ours 550 Your mailbox is full, you cannot send mail
rcpt safe 550 domain of forward path is not allowed
rcpt safe 550 Mail for this domain is not accepted here
rcpt safe 550 SMTP access disabled for this user
dot safe 550 This account has been suspended
dot safe 550 5.7.1 Invalid From header; must match the authenticated user
dot safe 550 5.7.1 Missing DKIM signature header
dot safe 554 5.7.1 Mail from your domain is blocked for spam
dot safe 550 You are sending spam from this account
dot safe 552 5.7.1 The size of your messages for this day is exceeded
rcpt safe 550 5.7.1 Mail rejected, host is listed at bl.spamcop.net
rcpt safe 550 Your hostname could not be resolved
rcpt recipient 550 5.7.133 Delivery restriction check failed because the sender was not authenticated when sending to this group
rcpt recipient 550 5.7.1 You do not have permission to send to this recipient
rcpt recipient 550 There is no account by that name here
rcpt recipient 550 This domain does not accept mail (null MX)
rcpt recipient 550 Recipient verify failed
rcpt recipient 550 The mailbox is not accepting messages
rcpt recipient 550 Account does not exist
rcpt safe 503 valid RCPT command must precede DATA
rcpt safe 501 Syntax error in parameters
rcpt safe 550 Recipient not permitted
rcpt recipient 550 Unknown address error
rcpt recipient 550 No such user (bob)
rcpt recipient 550 This address no longer accepts mail
rcpt recipient 550 mailbox for bob is closed
rcpt recipient 550 address not present in directory
rcpt recipient 550 Not a valid recipient
rcpt recipient 550 ERR: user has been deleted
rcpt recipient 550 Account closed
rcpt recipient 550 unknown or illegal alias: bob
rcpt recipient 550 Your email couldn't be delivered: address not found
rcpt recipient 550 Unbekannter Empfänger
rcpt recipient 550 Mailbox existiert nicht
rcpt recipient 550 Dirección de correo desconocida
rcpt safe 550 Your address is not found in our database
rcpt safe 550 Konto gesperrt
rcpt safe 550 account suspended
rcpt recipient 550 5.7.1 Policy rejection on the target address
rcpt recipient 550 5.5.0 Le compte du destinataire est bloque. The recipient account isblocked.
dot ours 550 Suspected spam sender.
rcpt recipient 550 recipient rejected
rcpt safe 550 #5.1.0 Address rejected.
rcpt recipient 550 5.1.1 <bob@example.net>: Recipient address rejected: example.net
rcpt recipient 550 Brak takiego użytkownika
rcpt recipient 550 5.1.1 user lookup success but no user record found
rcpt recipient 550 The recipient may contain a non-existent account, please check the recipient address.
rcpt recipient 550 Gebruiker onbekend
rcpt recipient 550 Uživatel neexistuje
rcpt recipient 550 Kullanıcı bulunamadı
rcpt recipient 550 Rejected by the recipient's policy
rcpt recipient 550 This user only accepts mail from known senders
rcpt safe 550 Unauthorized recipient
rcpt safe 550 5.7.1 Delivery is not allowed to this address.
rcpt safe 550 I cannot deliver mail for bob
rcpt safe 550 Your access to submit messages to this e-mail system has been rejected
rcpt safe 550 permission denied for this recipient domain
rcpt recipient 550 bob@example.net does not exist
rcpt recipient 550 <bob@example.net> not found
rcpt recipient 550 bob@example.net is not accepting any mail
rcpt recipient 550 there is no one at this address
rcpt recipient 550 no existe dicha persona
rcpt recipient 550 the mailbox has exceeded its disk space limit
rcpt recipient 550 user refuses to receive this mail
rcpt safe 550 fully qualified email address required
rcpt safe 554 the connection was dropped by remote host
rcpt safe 550 unresolvable relay host name
`
