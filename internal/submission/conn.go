package submission

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"time"
)

// conn is the guarded connection. Whoever reads or writes first says for how long, and a context that ends closes it.
type conn struct {
	tcp net.Conn // what is closed: unlike a tls.Conn it says no goodbye, for which a stuck peer would make us wait
	rw  net.Conn // what is read and written: tcp, then TLS over it
	r   *bufio.Reader

	tls tls.ConnectionState // what the handshake settled
}

func newConn(tcp net.Conn) *conn {
	return &conn{tcp: tcp, rw: tcp, r: newReplyReader(tcp)}
}

// bind closes the connection when ctx ends, until release is called. A deadline in the past would do for a blocked read, but
// the next phase would set a new one.
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

// within gives everything read and written from now on d. It is absolute, so a server that sends a byte now and then gains
// nothing. Its own error would come back from the next read or write.
func (c *conn) within(d time.Duration) { _ = c.tcp.SetDeadline(time.Now().Add(d)) }

// handshake turns to TLS and drops every byte that was read in clear. If there is one that nobody asked for, it refuses:
// someone tried to slip replies in ahead of TLS (RFC 3207, section 6).
func (c *conn) handshake(ctx context.Context, config *tls.Config) error {
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
