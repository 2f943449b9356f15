package submission_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"example.com/securemail/internal/submission"
)

// dialogue is one connection of a server.
type dialogue struct {
	*server
	tcp  net.Conn
	rw   net.Conn
	r    *bufio.Reader
	held []string

	tooMany bool // it is to be refused
}

// gone is called before the client can know that the connection is over.
func (d *dialogue) gone() {
	d.mu.Lock()
	delete(d.open, d.tcp)
	d.mu.Unlock()
}

func (d *dialogue) run() {
	d.r = bufio.NewReader(d.rw)
	if d.mode == submission.ImplicitTLS && !d.handshake() || !d.do("greeting") {
		return
	}
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		d.mu.Lock()
		d.commands = append(d.commands, line)
		d.mu.Unlock()
		if !d.command(line) {
			return
		}
	}
}

func (d *dialogue) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "EHLO":
		if d.tooMany {
			return false
		}
		if _, encrypted := d.rw.(*tls.Conn); !encrypted {
			return d.do("clear-ehlo")
		}
		return d.do("ehlo")
	case "STARTTLS":
		return d.do("starttls") && d.handshake()
	case "AUTH":
		if rest == "LOGIN" {
			return d.do("user") && d.next() && d.do("pass") && d.next() && d.do("auth")
		}
		if mechanism, response, _ := strings.Cut(rest, " "); strings.Contains(mechanism, "OAUTH") {
			return d.oauth(response)
		}
		return d.do("auth")
	case "DATA":
		action := d.reply("data") // once: a test may change the script as soon as it is answered
		return d.act("data", action) && (!strings.HasPrefix(action, "354") || d.do("body") && d.receive() && d.do("dot"))
	case "QUIT":
		d.gone()
		d.do("quit")
		return false
	}
	return d.do(strings.ToLower(verb))
}

// oauth is AUTH XOAUTH2 or OAUTHBEARER: a response that is too long for the command comes behind an
// empty challenge, and a refusal may come as a challenge that wants an answer.
func (d *dialogue) oauth(response string) bool {
	if response == "" {
		if !d.send("334 \r\n") || !d.next() {
			return false
		}
		d.mu.Lock()
		response = d.commands[len(d.commands)-1]
		d.mu.Unlock()
	}
	text, _ := base64.StdEncoding.DecodeString(response)
	if d.good != "" && strings.Contains(string(text), "auth=Bearer "+d.good+"\x01\x01") {
		return d.send(replies["auth"] + "\r\n")
	}
	action := d.reply("auth")
	return d.act("auth", action) && (!strings.HasPrefix(action, "334") || d.next() && d.do("challenged"))
}

func (d *dialogue) next() bool {
	line, err := d.r.ReadString('\n')
	d.mu.Lock()
	d.commands = append(d.commands, strings.TrimSpace(line))
	d.mu.Unlock()
	return err == nil
}

func (d *dialogue) handshake() bool {
	if action := d.reply("tls"); action != "" {
		_, _ = d.r.Peek(1) // the ClientHello
		return d.act("tls", action)
	}
	c := tls.Server(d.rw, d.tls)
	if c.Handshake() != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.ConnectionState().DidResume {
		d.resumed++
	}
	d.rw, d.r = c, bufio.NewReader(c)
	return true
}

func (d *dialogue) receive() bool {
	var mail []byte
	for {
		line, err := d.r.ReadBytes('\n')
		if err != nil {
			d.mu.Lock()
			d.half = append(mail, line...)
			d.mu.Unlock()
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		mail = append(mail, bytes.TrimPrefix(line, []byte("."))...)
	}
	d.mu.Lock()
	d.mails = append(d.mails, mail)
	d.dotAt = d.sent
	d.mu.Unlock()
	return true
}

func (d *dialogue) reply(step string) string {
	d.mu.Lock()
	action, ok := d.script[step]
	d.mu.Unlock()
	if ok {
		return action
	}
	if d.tooMany && step == "greeting" {
		d.gone()
		return "421 4.3.2 too many connections"
	}
	if d.chance != nil {
		if action := d.chance(step); action != "" {
			return action
		}
	}
	switch step {
	case "clear-ehlo":
		return multiline(250, `test.example\nSTARTTLS\n`+d.ehlo)
	case "ehlo":
		return multiline(250, `test.example\n`+d.ehlo)
	}
	return replies[step]
}

func multiline(code int, text string) string {
	lines := strings.Split(text, `\n`)
	for i := range lines {
		lines[i] = strconv.Itoa(code) + map[bool]string{true: " ", false: "-"}[i == len(lines)-1] + lines[i]
	}
	return strings.Join(lines, `\r\n`)
}

func (d *dialogue) do(step string) bool { return d.act(step, d.reply(step)) }

// act carries out an action and reports whether the dialogue goes on.
func (d *dialogue) act(step, action string) bool {
	raw, isRaw := strings.CutPrefix(action, "(raw)")
	switch {
	case action == "":
		return true
	case isRaw:
		return d.send(unescape(raw))
	case action == "(drop)":
		return false
	case strings.HasPrefix(action, "(gate)"):
		d.reached <- step
		<-d.gate
		return d.send(action[len("(gate)"):] + "\r\n")
	case action == "(stuck)":
		<-d.stuck
	case strings.HasPrefix(action, "(slowly)"):
		for _, b := range []byte(action[len("(slowly)"):] + "\r\n") {
			time.Sleep(time.Millisecond)
			if !d.send(string(b)) {
				return false
			}
		}
		return true
	case strings.HasPrefix(action, "(half)"):
		d.send(unescape(action[len("(half)"):]))
	case action == "(silence)":
		d.reached <- step
		_, _ = io.Copy(io.Discard, d.r)
		return false
	case action == "(drip)":
		for d.send("2") {
			time.Sleep(20 * time.Millisecond)
		}
	case action == "(endless)":
		for chunk := bytes.Repeat([]byte("250-more\r\n"), 100); d.write(chunk); {
		}
	case action == "(banner)":
		for chunk, n := bytes.Repeat([]byte("2"), 1<<16), 0; n < 1024 && d.write(chunk); n++ {
		}
	case action == "(garbage)":
		noise := make([]byte, 4096)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		return d.send(string(noise))
	case d.hold && (step == "mail" || step == "rcpt"):
		d.held = append(d.held, action)
		return true
	default:
		text := strings.Join(append(d.held, action), `\r\n`)
		d.held = nil
		return d.send(unescape(text) + "\r\n")
	}
	return false
}

func (d *dialogue) send(text string) bool { return d.write([]byte(text)) }

func (d *dialogue) write(text []byte) bool {
	d.mu.Lock()
	at := d.sent
	d.sent += len(text)
	d.mu.Unlock()
	if d.cut >= 0 && at+len(text) > d.cut {
		_, _ = d.rw.Write(text[:max(0, d.cut-at)])
		d.tcp.Close()
		return false
	}
	_, err := d.rw.Write(text)
	return err == nil
}

func unescape(s string) string {
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		panic(err)
	}
	return out
}
