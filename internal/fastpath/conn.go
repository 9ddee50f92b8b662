package fastpath

import (
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// turn is after how many requests a connection yields. A connection whose next request is always
// there already never blocks, and would keep its processor until it is preempted, ten milliseconds
// later.
const turn = 64

// stream is what a connection must implement: *net.TCPConn does.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// conn is a connection of the server.
type conn struct {
	stream
	f    *FastPath
	raw  syscall.RawConn
	busy atomic.Int32 // see [conn.Close]

	// plain is set once anything about the connection is uncertain, and never reset: from then on it belongs to
	// net/http.
	plain atomic.Bool

	// The byte that net/http read ahead. Its goroutine has ended when any other one reads.
	held    byte
	holding bool

	// The rest belongs to the goroutine that serves the connection.
	stage  stage
	size   int    // of net/http's buffer
	method string // of the request that net/http has, or had last
	length int64  // of its content
	tried  bool   // Serve did not answer the request that net/http has
	remote string
	turns  int
}

// stage is the state of a connection's current request.
type stage uint8

const (
	opened stage = iota // nothing was read
	handed              // net/http has all of a request of the subset, and nothing else
	served              // its handler has been called with it
	idle                // net/http has finished it, and waits for the next one
)

// The values of busy.
const (
	reading int32 = iota
	answering
	closing // once it has responded
)

// Read implements [net.Conn]. What can be answered fast is answered, and not returned.
//
// Each read that may be answered begins a request. That is known from the request before it alone: it came by itself, in one
// piece, had one possible length, and net/http says that it has finished it; or it was answered here. See the package's comment.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case c.plain.Load():
		return c.read(p)
	case len(p) == 1:
		return c.ahead(p)
	case c.stage == opened:
		c.size = len(p)
	case c.stage != idle || len(p) != c.size:
		// It wants more than the request has, or left something unread.
		c.plain.Store(true)
		return c.read(p)
	}
	var renewed time.Time
	for {
		n, err := c.read(p)
		if n == 0 || err != nil {
			c.plain.Store(true)
			return n, err
		}
		// Setting a timer for each response would cost too much. The first response sets one, since net/http sets no
		// write deadline while it waits.
		if now := time.Now(); c.stage == idle && now.Sub(renewed) > c.f.renewal() {
			renewed = now
			_ = c.SetReadDeadline(now.Add(c.f.o.IdleTimeout)) // the next Read returns the error
			_ = c.SetWriteDeadline(now.Add(c.f.o.WriteTimeout))
		}
		answered, err := c.take(p[:n])
		if err != nil {
			return 0, err
		}
		if !answered {
			return n, nil
		}
		if c.turns++; c.turns%turn == 0 {
			runtime.Gosched()
		}
	}
}

// take answers what was read, or passes it to net/http: as a request, or with the connection.
func (c *conn) take(p []byte) (answered bool, err error) {
	x := exchanges.Get().(*exchange)
	defer x.release()
	if !x.parse(p) {
		c.plain.Store(true)
		return false, nil
	}
	// net/http gets the first request: its deadlines and states are right for what follows once it has had one. It
	// skips empty lines after a POST, so it must have seen the method of the last request.
	tried := c.stage == idle && x.request.Method == c.method
	if tried {
		if answered, err = c.answer(x); answered || err != nil {
			return answered, err
		}
	}
	c.stage, c.method, c.length, c.tried = handed, x.request.Method, x.request.ContentLength, tried
	return false, nil
}

// read reads what comes next, beginning with the byte that was read ahead.
func (c *conn) read(p []byte) (int, error) {
	if !c.holding || len(p) == 0 {
		return c.stream.Read(p)
	}
	p[0], c.holding = c.held, false
	if len(p) == 1 {
		return 1, nil
	}
	n, err := c.stream.Read(p[1:])
	return 1 + n, err
}

// ahead is the read by which net/http, while a handler runs, learns that the client has gone. If a
// byte of the next request comes instead, it is held back until the next read, since only then
// net/http has certainly finished with this one: a fast client may send its next request before
// net/http, which has sent the response, ends this read by a deadline that has passed.
func (c *conn) ahead(p []byte) (int, error) {
	if !c.holding {
		n, err := c.stream.Read(p)
		if n == 0 || c.plain.Load() {
			return n, err
		}
		c.held, c.holding = p[0], true
	}
	return 0, c.raw.Read(func(uintptr) bool { return false })
}

// serving records that net/http calls the handler, and reports whether Serve was called for the
// request already.
func (c *conn) serving(r *http.Request) (tried bool) {
	if c.plain.Load() {
		return false
	}
	if c.stage != handed || r.ContentLength != c.length || r.Close || !r.ProtoAtLeast(1, 1) {
		c.plain.Store(true)
		return false
	}
	c.stage = served
	return c.tried
}

// finished records that net/http has finished a request and waits for the next one.
func (c *conn) finished() {
	if c.stage != served {
		c.plain.Store(true)
		return
	}
	c.stage = idle
}

// renewal is the age at which deadlines are renewed: a client may have that much less than its
// timeout.
func (f *FastPath) renewal() time.Duration {
	return min(time.Second, f.o.IdleTimeout/8, f.o.WriteTimeout/8)
}

// Close implements [net.Conn]. Servers that end close connections that are idle, as they see it: one that answers does so
// first. Closed again it does not wait.
func (c *conn) Close() error {
	if c.busy.CompareAndSwap(answering, closing) {
		return nil
	}
	return c.stream.Close()
}

// answer serves a request if Serve can. After an error the connection is of no more use.
func (c *conn) answer(x *exchange) (answered bool, err error) {
	if c.remote == "" {
		c.remote = c.RemoteAddr().String()
	}
	x.request.RemoteAddr = c.remote
	c.busy.Store(answering)
	defer func() { // after a panic as well, since net/http then closes the connection
		if !c.busy.CompareAndSwap(answering, reading) {
			_ = c.stream.Close()
			err = net.ErrClosed
		}
		if err != nil {
			c.plain.Store(true)
		}
	}()
	x.to = c.stream
	if !c.f.o.Serve(x, &x.request) {
		return false, nil
	}
	return true, x.finish()
}
