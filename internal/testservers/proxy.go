package testservers

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy is a connection to a server that a test can disturb, for the clients that use its URL. Its
// methods are safe for concurrent use. It ends with the test.
type Proxy struct {
	url      string
	listener net.Listener
	pumps    sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	server  string
	changed chan struct{}
	closed  bool
	cut     bool
	hung    bool
	delay   time.Duration
	deaf    []byte
	hold    *Hold // the Hold that has caught nothing yet
	conns   map[*proxied]bool
}

// NewProxy starts an undisturbed proxy to the server at a URL.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal("testservers:", err)
	}
	p := &Proxy{server: u.Host, listener: l, changed: make(chan struct{}), conns: map[*proxied]bool{}}
	u.Host = l.Addr().String()
	p.url = u.String()
	p.pumps.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // only makes accept return
		p.change(func() { p.closed = true; p.drop() })
		p.pumps.Wait()
	})
	return p
}

// URL returns the server's URL with the proxy's address.
func (p *Proxy) URL() string { return p.url }

// Cut breaks every connection, and each new one at once.
func (p *Proxy) Cut() { p.change(func() { p.cut = true; p.drop() }) }

// Drop breaks every connection; new ones are served.
func (p *Proxy) Drop() { p.change(p.drop) }

// Redirect breaks every connection, and connects new ones to the server at another URL.
func (p *Proxy) Redirect(t testing.TB, server string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	p.change(func() { p.server = u.Host; p.drop() })
}

// Hang accepts and keeps connections, but passes nothing in either direction.
func (p *Proxy) Hang() { p.change(func() { p.hung = true }) }

// Delay delays what passes by d, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.change(func() { p.delay = d }) }

// Deafen drops requests that contain the word, and whatever follows on the same connection.
// Existing connections are broken.
func (p *Proxy) Deafen(word string) { p.change(func() { p.deaf = []byte(word); p.drop() }) }

// Mend ends the effect of Cut, Hang, Delay and Deafen. What hung is passed on.
func (p *Proxy) Mend() {
	p.change(func() { p.cut, p.hung, p.delay, p.deaf = false, false, 0, nil })
}

// Hold holds the response to one request.
type Hold struct {
	word     []byte
	caught   chan struct{}
	released chan struct{}
	release  sync.Once
}

// HoldAnswer passes the next request that contains the word, and holds its response and whatever
// follows on its connection until [Hold.Release].
func (p *Proxy) HoldAnswer(word string) *Hold {
	h := &Hold{word: []byte(word), caught: make(chan struct{}), released: make(chan struct{})}
	p.change(func() { p.hold = h })
	return h
}

// Caught is closed when the response has arrived: the server has executed the request.
func (h *Hold) Caught() <-chan struct{} { return h.caught }

// Release passes the response. Releasing twice does nothing.
func (h *Hold) Release() { h.release.Do(func() { close(h.released) }) }

// change sets the proxy's state and wakes those that wait for it.
func (p *Proxy) change(set func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set()
	close(p.changed)
	p.changed = make(chan struct{})
}

// drop breaks every connection. p.mu is held.
func (p *Proxy) drop() {
	for c := range p.conns {
		c.end()
	}
}

func (p *Proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.pumps.Go(func() { p.serve(from) })
	}
}

// proxied is one connection.
type proxied struct {
	from, to net.Conn
	broken   chan struct{}
	end      func() // closes it once

	mu   sync.Mutex // guards the fields below
	hold *Hold      // holds what the server sends
	deaf bool       // nothing from the client is passed on any more
}

func (p *Proxy) serve(from net.Conn) {
	p.mu.Lock()
	refuse, server := p.cut || p.closed, p.server
	p.mu.Unlock()
	if refuse {
		_ = from.Close() // this is the fault
		return
	}
	to, err := net.Dial("tcp", server)
	if err != nil {
		_ = from.Close() // as the server would do
		return
	}
	c := &proxied{from: from, to: to, broken: make(chan struct{})}
	c.end = sync.OnceFunc(func() {
		close(c.broken)
		_, _ = from.Close(), to.Close() // both directions notice it by their own errors
	})
	p.mu.Lock()
	if p.cut || p.closed {
		c.end()
	}
	p.conns[c] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, to, from, p.forward) })
	both.Go(func() { p.pump(c, from, to, p.answer) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// pump passes on what src sends, if pass allows it, until the connection ends. tail is the end of
// what came before, in which a word may have begun.
func (p *Proxy) pump(c *proxied, dst, src net.Conn, pass func(c *proxied, tail, chunk []byte) bool) {
	defer c.end()
	const overlap = 256
	buffer := make([]byte, 64<<10)
	var tail []byte
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			if !p.wait(c) {
				return
			}
			if pass(c, tail, buffer[:n]) {
				if _, err := dst.Write(buffer[:n]); err != nil {
					return
				}
			}
			tail = append(tail, buffer[:n]...)
			tail = append([]byte(nil), tail[max(0, len(tail)-overlap):]...)
		}
		if err != nil {
			return
		}
	}
}

// wait returns true when data may pass, or false when the connection is broken.
func (p *Proxy) wait(c *proxied) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-c.broken:
			return false
		}
	}
	for {
		p.mu.Lock()
		hung, changed := p.hung, p.changed
		p.mu.Unlock()
		if !hung {
			return true
		}
		select {
		case <-changed:
		case <-c.broken:
			return false
		}
	}
}

// forward decides whether to pass what the client sends.
func (p *Proxy) forward(c *proxied, tail, chunk []byte) bool {
	sent := append(append([]byte(nil), tail...), chunk...)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.deaf != nil && bytes.Contains(sent, p.deaf) {
		c.deaf = true
	}
	if p.hold != nil && bytes.Contains(sent, p.hold.word) {
		c.hold, p.hold = p.hold, nil
	}
	return !c.deaf
}

// answer decides whether to pass what the server sends.
func (p *Proxy) answer(c *proxied, _, _ []byte) bool {
	c.mu.Lock()
	h := c.hold
	c.hold = nil
	c.mu.Unlock()
	if h == nil {
		return true
	}
	close(h.caught)
	select {
	case <-h.released:
		return true
	case <-c.broken:
		return false
	}
}
