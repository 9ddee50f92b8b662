// Package fastpath answers requests on a connection that stays open without net/http, where a connection and a request are as plain
// as can be.
//
// net/http makes strings, maps, a context and a goroutine of each request and sets a dozen deadlines, which costs several times
// what a cached answer does. Between two requests it waits in Read for the next one, and that is where it is answered. What is
// not plain is handed to net/http as it came, and the connection with it, for good.
//
// # Why no content is ever taken for a request
//
// By induction over the requests of a connection: each read that may be answered here begins a request.
//
//  1. The first read of a connection begins one.
//  2. What a read returns is looked at only if it is, from its first byte to its last, one request of a small subset of HTTP/1.1, for
//     which RFC 9112 leaves one reading of where it ends (see [exchange.parse]). Otherwise the connection is given up: a flag
//     is set that nothing resets, and every later read goes to net/http unseen.
//  3. If the request is answered here, it is used up, whole: the next read begins the next one.
//  4. If it is handed to net/http, then it is handed whole and alone. net/http has nothing to read for it any more. The next read is looked
//     at only if the handler was called, once, with the same length; if net/http then said, by [http.Server.ConnState], that it has finished the request and
//     waits for the next one; and if its buffer is empty, as the room that it offers shows. Otherwise the connection is given up.
//
// No length, position or head is carried from one request to the next: the only things that outlive a request are the flag, which takes the
// fast path away, and a byte that net/http may have read ahead, which is given to the next read as its first.
package fastpath

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Options say what is served, and how long a client may take.
type Options struct {
	// Serve answers a request if it can do so fast, and reports whether it did; a request that it does not
	// answer goes on as it came. Answers need a Content-Length. It must not keep the request, whose context is empty. Required.
	Serve func(http.ResponseWriter, *http.Request) bool
	// Next answers what Serve does not. It must not hijack connections. Required.
	Next http.Handler
	// IdleTimeout and WriteTimeout are those of the server.
	IdleTimeout, WriteTimeout time.Duration
}

// FastPath is a server's handler and listener. As a handler alone it answers the same, by net/http.
type FastPath struct{ o Options }

// New makes the fast path of a server; see [FastPath.Attach].
func New(o Options) *FastPath { return &FastPath{o} }

// ServeHTTP implements [http.Handler].
func (f *FastPath) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && c.serving(r) || !f.o.Serve(w, r) {
		f.o.Next.ServeHTTP(w, r)
	}
}

// connKey marks the context of a connection's requests with the connection.
type connKey struct{}

// Attach makes s take the fast path for the connections of the listener that it returns: it sets the server's Handler, ConnContext
// and ConnState.
func (f *FastPath) Attach(s *http.Server, l net.Listener) net.Listener {
	s.Handler = f
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*conn); ok && state == http.StateIdle {
			c.finished()
		}
	}
	return listener{l, f}
}

type listener struct {
	net.Listener
	f *FastPath
}

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	s, ok := c.(stream)
	if !ok {
		return c, err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c, nil //nolint:nilerr // it is of no use, as net/http finds out
	}
	return &conn{stream: s, f: l.f, raw: raw}, nil
}
