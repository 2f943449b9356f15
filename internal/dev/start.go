package dev

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
)

// portsToTry is how many ports Start tries, from the default one upwards, before it gives up.
const portsToTry = 100

// start starts the servers. If it fails, Close stops the servers that it started.
func (e *Env) start(ctx context.Context, o Options, cert tls.Certificate) error {
	err := bind("Redis", o.RedisAddr, defaultRedisAddr, func(addr string) (err error) {
		e.redis, err = startRedis(addr)
		return err
	})
	if err != nil {
		return err
	}
	listen := func(what, addr, standard string) (l net.Listener, err error) {
		err = bind(what, addr, standard, func(addr string) (err error) {
			l, err = new(net.ListenConfig).Listen(ctx, "tcp", addr)
			return err
		})
		return l, err
	}
	users := credentials{username, e.password}
	l, err := listen("submission (implicit TLS)", o.SMTPSAddr, defaultSMTPSAddr)
	if err != nil {
		return err
	}
	e.smtps = startSubmission("smtps", l, cert, users, e.mailbox)
	if l, err = listen("submission (STARTTLS)", o.SubmissionAddr, defaultSubmissionAddr); err != nil {
		return err
	}
	e.submission = startSubmission("submission", l, cert, users, e.mailbox)
	if l, err = listen("inbox", o.InboxAddr, defaultInboxAddr); err != nil {
		return err
	}
	e.inbox = startInbox(l, inbox{
		mailbox:    e.mailbox,
		redisAddr:  e.RedisAddr(),
		smtps:      e.SMTPSAddr(),
		submission: e.SubmissionAddr(),
	})
	return nil
}

// bind calls open with the wanted address. If wanted is empty, bind calls open with the standard
// address and then with the ports above it, until one succeeds. It tries the next port after any
// error, because the error for a port in use differs between systems.
func bind(what, wanted, standard string, open func(addr string) error) error {
	if wanted != "" {
		addr, err := Loopback(wanted)
		if err != nil {
			return fmt.Errorf("dev: address of %s: %w", what, err)
		}
		if err := open(addr); err != nil {
			return fmt.Errorf("dev: %s cannot listen on %s; free that port or set another address: %w", what, wanted, err)
		}
		return nil
	}
	host, first, err := net.SplitHostPort(standard)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	for range portsToTry {
		if err = open(net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return nil
		}
		port++
	}
	return fmt.Errorf("dev: %s found no free port in the %d from %s; set its address: %w", what, portsToTry, standard, err)
}

// Loopback returns addr, which is host:port, if its host is on loopback. It replaces localhost by
// 127.0.0.1, because a hosts file can give that name any address. The error says that addr is not
// host:port, or not on loopback.
func Loopback(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port, such as 127.0.0.1:8025: %w", addr, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%q is not on loopback; use 127.0.0.1, ::1 or localhost", addr)
	}
	return net.JoinHostPort(host, port), nil
}
