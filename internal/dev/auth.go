package dev

import (
	"crypto/subtle"

	"github.com/emersion/go-smtp"

	"example.com/securemail/internal/secret"
)

const username = "dev"

// credentials is the only login that the two ports accept.
type credentials struct {
	username string
	password secret.String
}

func (c credentials) check(username, password string) error {
	user := subtle.ConstantTimeCompare([]byte(username), []byte(c.username))
	pass := subtle.ConstantTimeCompare([]byte(password), []byte(c.password.Reveal()))
	if user&pass != 1 {
		return smtp.ErrAuthFailed
	}
	return nil
}

// loginServer is the server side of AUTH LOGIN (draft-murchison-sasl-login, obsolete but still
// common). go-sasl has only the client side.
type loginServer struct {
	authenticate func(username, password string) error
	username     []byte
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.username == nil:
		l.username = response
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.authenticate(string(l.username), string(response))
	}
}
