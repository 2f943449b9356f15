package submission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// refused is the error for a reply of class 4 or 5.
func (s *session) refused(phase Phase, rep reply) *Error {
	v := judge(phase, rep.code, rep.enhanced, rep.lines)
	return &Error{
		Relay: s.relay.Name, Phase: phase, Code: rep.code, EnhancedCode: rep.enhanced,
		Scope: v.scope, Permanent: v.permanent, Limited: v.kind == kTooMuch, hint: v.hint, pause: v.pause,
		said: said(rep.lines, s.sent()),
	}
}

// broken is the error for a conversation that ended without a reply that the protocol allows.
func (r *Relay) broken(ctx context.Context, phase Phase, err error) *Error {
	e := &Error{Relay: r.Name, Phase: phase, Scope: ScopeNetwork, Err: err}
	var (
		protocol protocolError
		dns      *net.DNSError
		timeout  net.Error
	)
	tlsHint, isTLS, isCertificate := "", false, false
	if phase == PhaseTLS {
		tlsHint, isTLS, isCertificate = r.explainTLS(err)
	}
	switch {
	case ctx.Err() != nil && context.Cause(ctx) != errTotal:
		e.Scope, e.Err, e.hint = ScopeCaller, ctx.Err(), "the caller cancelled"
	case ctx.Err() != nil:
		e.Err, e.hint = ctx.Err(), fmt.Sprintf("the attempt took longer than %v", r.Timeouts.Total)
	case errors.As(err, &protocol):
		e.Scope, e.hint = ScopeRelay, "the server "+string(protocol)
	case isTLS:
		e.Scope, e.hint, e.pause = ScopeRelay, tlsHint, PauseShort
		if isCertificate { // a person has to fix it; an alert may pass
			e.Permanent, e.pause = true, PauseLong
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		e.hint = "no answer in time" + r.silenceHint(phase)
	case errors.As(err, &dns) && dns.IsNotFound:
		e.hint = fmt.Sprintf("no address found for %q; check the relay's host", r.Host) // it may be on its way
	case errors.As(err, &dns):
		e.hint = "the name service does not answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.hint = fmt.Sprintf("nothing listens on port %d of %q; check host and port", r.Port, r.Host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.hint = "the server closed the connection"
	default:
		e.hint = "the connection failed"
	}
	return e
}

// silenceHint names the commonest reason for a server that never greets: it waits for a TLS
// handshake.
func (r *Relay) silenceHint(phase Phase) string {
	if phase == PhaseGreeting && r.TLS == StartTLS {
		return fmt.Sprintf("; port %d may want implicit TLS", r.Port)
	}
	return ""
}
