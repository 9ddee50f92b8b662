package fastpath

import (
	"bytes"
	"context"
	"hash/maphash"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on what a connection remembers.
const (
	maxHeads      = 4
	maxHeadLength = 1 << 10 // bytes
)

// turn is after how many requests a connection lets others go first. One whose next request is always there already never
// waits for it, and would keep its processor until it is taken away, ten milliseconds later.
const turn = 64

// conn is a connection of the server.
type conn struct {
	*net.TCPConn
	f     *FastPath
	state atomic.Int32

	mu sync.Mutex // net/http reads a byte ahead in a goroutine of its own
	// Where in the request that net/http has in hand the connection is.
	head  []byte // a copy of the head, as net/http changes its own; empty where the request came in pieces
	begun int    // length of the head; 0: not known
	got   int64  // bytes that net/http has got
	whole int64  // bytes that the request has; -1: not known

	// The rest belongs to the goroutine that serves the connection.
	known []*known
	next  int              // the one to forget next
	seen  [maxHeads]uint64 // hashes of heads that came once
	turns int
}

// The states of a connection.
const (
	reading int32 = iota
	answering
	closing // once it has answered
)

// Read implements [net.Conn]. What can be answered fast is answered, and not returned.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 1 || !c.between() {
		n, err := c.TCPConn.Read(p)
		c.follow(p, n)
		return n, err
	}
	var renewed time.Time
	for {
		if c.turns++; c.turns%turn == 0 {
			runtime.Gosched()
		}
		n, err := c.TCPConn.Read(p)
		if err != nil {
			return n, err
		}
		k, body := c.find(p[:n])
		if k == nil {
			c.begin(p[:n])
			return n, nil
		}
		// Timers are not cheap enough to be set for each answer. The first one is due as net/http sets no time to write in
		// while it waits.
		if now := time.Now(); now.Sub(renewed) > c.f.renewal() {
			renewed = now
			_ = c.SetReadDeadline(now.Add(c.f.o.IdleTimeout)) // an error comes back from the next Read
			_ = c.SetWriteDeadline(now.Add(c.f.o.WriteTimeout))
		}
		answered, err := c.answer(k, body)
		if err != nil {
			return 0, err
		}
		if !answered {
			c.begin(p[:n])
			return n, nil
		}
	}
}

// renewal is how old deadlines become: so much less than its timeout may a client have.
func (f *FastPath) renewal() time.Duration {
	return min(time.Second, f.o.IdleTimeout/8, f.o.WriteTimeout/8)
}

// Close implements [net.Conn]. Servers that end close connections that are idle, as they see it: one that answers does so
// first. Closed again it does not wait.
func (c *conn) Close() error {
	if c.state.CompareAndSwap(answering, closing) {
		return nil
	}
	return c.TCPConn.Close()
}

// between reports whether what is read next begins a request.
func (c *conn) between() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got == c.whole
}

// begin notes the first part of a request, which net/http is to get.
func (c *conn) begin(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.got, c.whole = headLength(p), int64(len(p)), -1
	c.head = c.head[:0]
	if c.begun <= maxHeadLength {
		c.head = append(c.head, p[:c.begun]...)
	}
}

// follow notes another part of a request. The single byte that net/http reads ahead while a handler runs may begin the next one.
func (c *conn) follow(p []byte, n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(p) == 1 && c.got == c.whole:
		c.begun, c.whole, c.got = 0, -1, 0
	case c.got == 1 && c.whole < 0:
		if rest := headLength(p[:n]); rest > 0 {
			c.begun = 1 + rest
		}
	}
	c.head = c.head[:0]
	c.got += int64(n)
}

// frame notes how long the request is that net/http has parsed.
func (c *conn) frame(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun == 0 || r.ContentLength < 0 {
		return
	}
	c.whole = int64(c.begun) + r.ContentLength
	if c.got != c.whole {
		c.head = c.head[:0]
	}
}

// learn remembers the head of a request that was served fast, if it came before: a head that is never the same is not worth it.
func (c *conn) learn(r *http.Request) {
	c.mu.Lock()
	head := c.head
	c.mu.Unlock()
	if len(head) == 0 || r.Method != http.MethodPost || !r.ProtoAtLeast(1, 1) {
		return
	}
	before, after, ok := cut(head, r.ContentLength)
	if !ok {
		return
	}
	if hash := maphash.Bytes(seed, before)*3 + maphash.Bytes(seed, after); !slices.Contains(c.seen[:], hash) {
		c.seen[c.next] = hash
		c.next = (c.next + 1) % maxHeads
		return
	}
	k := &known{bytes.Clone(before), bytes.Clone(after), r.Clone(context.Background())}
	k.request.Body = nil
	k.request.Header.Del("Content-Length")
	if len(c.known) < maxHeads {
		c.known = append(c.known, k)
		return
	}
	c.known[c.next] = k
	c.next = (c.next + 1) % maxHeads
}

var seed = maphash.MakeSeed()

// find is what is known of a request, and its body.
func (c *conn) find(p []byte) (*known, []byte) {
	for _, k := range c.known {
		if body, ok := k.body(p); ok {
			return k, body
		}
	}
	return nil, nil
}

// answer serves a request, if that can be done fast. After an error the connection is of no more use.
func (c *conn) answer(k *known, body []byte) (answered bool, err error) {
	c.state.Store(answering)
	x := exchanges.Get().(*exchange)
	defer func() { // after a panic as well, as net/http then closes the connection
		x.release()
		if !c.state.CompareAndSwap(answering, reading) {
			_ = c.TCPConn.Close()
			err = net.ErrClosed
		}
	}()
	x.to = c.TCPConn
	x.body.Reset(body)
	k.request.Body, k.request.ContentLength = x, int64(len(body))
	if !c.f.o.Serve(x, k.request) {
		return false, nil
	}
	return true, x.finish()
}
