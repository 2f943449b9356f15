package testserver

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Postfix is a running Postfix that accepts mail for example.com over TLS on two ports, after a
// login.
type Postfix struct {
	SMTPSPort      int // implicit TLS
	SubmissionPort int // STARTTLS
	RootCAs        *x509.CertPool
	Username       string
	Password       string

	t       testing.TB
	dir     string
	maildir string
}

// StartPostfix starts a Postfix with its own folder on 127.0.0.1, and waits until it answers. Only
// root can start Postfix; for another user it skips the test, or fails it with CI=true.
func StartPostfix(t testing.TB) *Postfix {
	t.Helper()
	program := Need(t, "postfix", "postfix")
	saslpasswd := Need(t, "saslpasswd2", "sasl2-bin")
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can start Postfix")
		}
		t.Skip("only root can start Postfix, which this test needs")
	}
	dir, err := os.MkdirTemp("", "postfix")
	if err != nil {
		t.Fatal(err)
	}
	p := &Postfix{t: t, dir: dir, maildir: filepath.Join(dir, "mail", "inbox"), Username: "worker@example.com", Password: "correct horse battery staple"}
	ports := freePorts(t, 2)
	p.SMTPSPort, p.SubmissionPort = ports[0], ports[1]
	t.Cleanup(func() { os.RemoveAll(dir) })
	p.configure(saslpasswd)
	p.command(program, "-c", filepath.Join(dir, "conf"), "start")
	t.Cleanup(func() { exec.Command(program, "-c", filepath.Join(dir, "conf"), "abort").Run() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.SubmissionPort))
		if err == nil {
			conn.Close()
			return p
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("Postfix does not answer: %v\n%s", err, log)
		}
	}
}

// Mails returns the delivered mails, in no particular order.
func (p *Postfix) Mails() [][]byte {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.maildir, "new", "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	var mails [][]byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		mails = append(mails, content)
	}
	return mails
}

// WaitMails waits until n mails are delivered, because Postfix answers before it delivers.
func (p *Postfix) WaitMails(n int) [][]byte {
	p.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if mails := p.Mails(); len(mails) >= n {
			return mails
		} else if time.Now().After(deadline) {
			p.t.Fatalf("Postfix delivered %d mails, want %d", len(mails), n)
		}
	}
}

// Log returns the log of Postfix.
func (p *Postfix) Log() string {
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(log)
}

func (p *Postfix) configure(saslpasswd string) {
	p.t.Helper()
	for _, folder := range []string{"conf/sasl", "queue", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(p.dir, folder), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.Chmod(p.dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		p.t.Fatal(err)
	}
	p.command("chown", owner.Username, filepath.Join(p.dir, "data"), filepath.Join(p.dir, "mail"))
	c := newCertificate(p.t)
	p.RootCAs = c.roots
	p.write("cert.pem", string(c.certPEM))
	p.write("key.pem", string(c.keyPEM))

	p.write("conf/main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mx.example.com
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = example.com
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:%[2]s
virtual_gid_maps = static:%[3]s
virtual_minimum_uid = 1
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_key_file = %[1]s/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = %[1]s/conf/sasl
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access texthash:%[1]s/conf/odd, permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
alias_maps =
`, p.dir, owner.Uid, owner.Gid))
	p.write("conf/odd", "odd.example REJECT\n")
	p.write("conf/master.cf", fmt.Sprintf(`127.0.0.1:%d inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
127.0.0.1:%d inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
`, p.SMTPSPort, p.SubmissionPort))
	database := filepath.Join(p.dir, "sasldb2")
	p.write("conf/sasl/smtpd.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: "+database+"\n")
	name, realm, _ := strings.Cut(p.Username, "@")
	add := exec.Command(saslpasswd, "-p", "-c", "-f", database, "-u", realm, name)
	add.Stdin = strings.NewReader(p.Password)
	if out, err := add.CombinedOutput(); err != nil {
		p.t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	p.command("chown", owner.Username, database)
}

// CAFile returns the path of the certificate's authority, in PEM form.
func (p *Postfix) CAFile() string { return filepath.Join(p.dir, "cert.pem") }

func (p *Postfix) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Postfix) command(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, p.Log())
	}
}
