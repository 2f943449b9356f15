package dev

import (
	"net"
	"sync"
)

// trackedListener is a listener whose Close also closes every connection that it accepted, in
// whatever state it is. go-smtp does not know a connection at its beginning, and a proper close of
// TLS can wait for a silent peer.
type trackedListener struct {
	net.Listener
	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
}

type trackedConn struct {
	net.Conn
	listener *trackedListener
}

func trackConnections(l net.Listener) *trackedListener {
	return &trackedListener{Listener: l, open: map[*trackedConn]struct{}{}}
}

func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	tracked := &trackedConn{conn, l}
	l.open[tracked] = struct{}{}
	return tracked, nil
}

func (l *trackedListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for conn := range l.open {
		_ = conn.Conn.Close() // an error has no consequence
	}
	return l.Listener.Close()
}

func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
