package submission

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"time"
)

// conn is a connection with deadlines. Each read and write is preceded by within, and a context that
// ends closes the connection.
type conn struct {
	tcp net.Conn // what is closed: unlike a tls.Conn it sends no alert, for which a stuck peer would make us wait
	rw  net.Conn // what is read and written: tcp, then TLS over it
	r   *bufio.Reader

	tls tls.ConnectionState // what the handshake settled
}

func newConn(tcp net.Conn) *conn {
	return &conn{tcp: tcp, rw: tcp, r: newReplyReader(tcp)}
}

// bind closes the connection when ctx ends, until release is called. A deadline in the past would
// end a blocked read, but the next phase would set a new one.
func (c *conn) bind(ctx context.Context) (release func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.tcp.Close()
		close(closed)
	})
	return func() {
		if !stop() {
			<-closed
		}
	}
}

// within gives everything read and written from now on d. It is absolute, so a server that sends a
// byte now and then gains nothing. Its own error would come back from the next read or write.
func (c *conn) within(d time.Duration) { _ = c.tcp.SetDeadline(time.Now().Add(d)) }

// encrypt starts TLS and drops every byte that was read in clear. It refuses if there is an
// unsolicited one: someone tried to inject replies ahead of TLS (RFC 3207 section 6).
func (c *conn) encrypt(ctx context.Context, config *tls.Config) error {
	if c.r.Buffered() > 0 {
		return protocolError("sent something in clear behind its reply to STARTTLS, which looks like an attack")
	}
	client := tls.Client(c.tcp, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return err
	}
	c.rw, c.r, c.tls = client, newReplyReader(client), client.ConnectionState()
	return nil
}
