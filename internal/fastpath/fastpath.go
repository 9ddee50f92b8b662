// Package fastpath answers requests on a connection that stays open without having net/http parse the same head
// again and again.
//
// Most clients send the same head with each request: only the body differs. net/http makes strings, maps,
// a context and a goroutine of it each time, which costs several times what a cached answer does. Here
// the bytes of a head are remembered once net/http has parsed them and what they asked for was served fast. When the
// next request on the connection comes in one piece and begins with exactly these bytes, but for the body's length, it means the
// same, so it is served at once. Everything else is handed to net/http as it came: what a request is, only net/http decides.
//
// Between two requests net/http waits in Read for the next one, and that is where it is answered. For that a connection has to
// know that a request begins where it reads. It follows the requests by their lengths, and where it is not sure of one, net/http has
// the connection for itself from there on.
package fastpath

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"time"
)

// Options say what is served, and how long a client may take.
type Options struct {
	// Serve answers a request if it can do so fast, and reports whether it did; a request that it does not
	// answer goes on as it came. Answers need a Content-Length. It must not keep the request. Required.
	Serve func(http.ResponseWriter, *http.Request) bool
	// Next answers what Serve does not. It must not hijack connections. Required.
	Next http.Handler
	// IdleTimeout and WriteTimeout are those of the server.
	IdleTimeout, WriteTimeout time.Duration
}

// FastPath is a server's handler and listener. As a handler alone it answers the same, by net/http.
type FastPath struct{ o Options }

// New makes the fast path of a server, whose handler it has to be; the server takes [FastPath.Listener] and
// [FastPath.ConnContext] as well.
func New(o Options) *FastPath { return &FastPath{o} }

// ServeHTTP implements [http.Handler].
func (f *FastPath) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c != nil {
		c.frame(r)
	}
	switch {
	case !f.o.Serve(w, r):
		f.o.Next.ServeHTTP(w, r)
	case c != nil:
		c.learn(r)
	}
}

// connKey marks the context of a connection's requests with the connection.
type connKey struct{}

// ConnContext is for the field of that name of [http.Server].
func (f *FastPath) ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// Listener makes the connections of l take the fast path.
func (f *FastPath) Listener(l net.Listener) net.Listener { return listener{l, f} }

type listener struct {
	net.Listener
	f *FastPath
}

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if c, ok := c.(*net.TCPConn); ok {
		return &conn{TCPConn: c, f: l.f}, nil
	}
	return c, err
}

// known is a head that net/http has parsed. Another length of the body makes no other head of it.
type known struct {
	before, after []byte        // the length
	request       *http.Request // as net/http understood it, without the body and its length
}

// cut finds the length of the body in a head. It is not ok where the length is missing, or is named in a way of its own.
func cut(head []byte, length int64) (before, after []byte, ok bool) {
	const field = "Content-Length:"
	at := 0
	for line := range bytes.SplitAfterSeq(head, []byte("\r\n")) {
		at += len(line)
		if len(line) < len(field) || !bytes.EqualFold(line[:len(field)], []byte(field)) {
			continue
		}
		value := bytes.TrimLeft(line[len(field):], " ")
		n, digits := number(value)
		if ok || int64(n) != length || len(value) != digits+len("\r\n") {
			return nil, nil, false
		}
		before, after, ok = head[:at-len(value)], head[at-len("\r\n"):], true
	}
	return before, after, ok
}

// body is the body of a request with this head, and whether p is one, and all of it.
func (k *known) body(p []byte) ([]byte, bool) {
	if !bytes.HasPrefix(p, k.before) {
		return nil, false
	}
	p = p[len(k.before):]
	length, digits := number(p)
	if digits == 0 || !bytes.HasPrefix(p[digits:], k.after) {
		return nil, false
	}
	p = p[digits+len(k.after):]
	return p, len(p) == length
}

// number reads the number that p begins with, and tells how many digits it has: 0 if it is none, or more than comes in one piece.
func number(p []byte) (n, digits int) {
	for digits < len(p) && '0' <= p[digits] && p[digits] <= '9' {
		if digits == maxDigits {
			return 0, 0
		}
		n = 10*n + int(p[digits]-'0')
		digits++
	}
	return n, digits
}

// maxDigits is how many digits the length of a body may have.
const maxDigits = 6

// headLength is the length of the head that p begins with, the blank line included. It is 0 where p has not all of it, and
// where its end is not plain to see: net/http takes lines that end by LF alone, and skips empty ones before a request.
func headLength(p []byte) int {
	if p[0] == '\r' || p[0] == '\n' {
		return 0
	}
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	end += 4
	if bytes.Count(p[:end], []byte("\n")) != bytes.Count(p[:end], []byte("\r\n")) {
		return 0
	}
	return end
}
