package submission

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// blockSize is how much of a body is written at once: the payload of one TLS record
// (RFC 8446 section 5.1).
const blockSize = 16 << 10

// tlsConfig is the only one there is: verification cannot be switched off.
func (r *Relay) tlsConfig() *tls.Config {
	return &tls.Config{
		ServerName: r.Host, // the name that is verified (RFC 7817 section 3)
		RootCAs:    r.RootCAs,
		MinVersion: tls.VersionTLS12, // RFC 8997
		// Small first records help browsers, which can use half an answer. Here one block is one record, so
		// that a failed write of the last block proves that the server cannot have read the final dot.
		DynamicRecordSizingDisabled: true,
		ClientSessionCache:          r.resumption,
	}
}

// explainTLS says why a handshake failed and how to fix it; ok is false if TLS is not the cause.
// certificate says that the certificate is, which a person has to fix. Names inside it are the server's
// own text and are not repeated.
func (r *Relay) explainTLS(err error) (hint string, ok, certificate bool) {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate does not name %q; set the relay's host to the name it carries", r.Host), true, true
	case errors.As(err, &unknown):
		return "the certificate is self-signed or from an unknown authority; if it is the right one, trust its CA in the relay's settings", true, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not valid yet; have it renewed, or set this machine's clock", true, true
	case errors.As(err, &verify):
		return "the certificate cannot be verified; have the server send a valid one with its chain", true, true
	case errors.As(err, &record):
		return fmt.Sprintf("the server does not answer with TLS; port %d may want another mode than %s", r.Port, r.TLS), true, false
	case strings.Contains(err.Error(), "protocol version"): // crypto/tls has no type for it
		return "the server speaks nothing newer than TLS 1.1; it must offer TLS 1.2 or 1.3", true, false
	case strings.Contains(err.Error(), "tls: "):
		return "no TLS connection could be agreed on; check the server's TLS settings", true, false
	}
	return "", false, false
}
