package fastpath

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// segment is what a client sends in one write.
type segment struct {
	text []byte
	late bool // arrives only when the client has all responses, so that reading ahead does not find it
}

// pipe is a connection whose client sends segments. Each segment arrives by itself.
type pipe struct {
	name string
	done chan struct{} // closed when the server has finished with the connection

	mu       sync.Mutex // guards the rest
	changed  sync.Cond
	segments []segment
	open     bool // more may be sent
	ahead    bool // a single byte has been read
	deadline time.Time
	expired  bool // the deadline has passed
	timer    *time.Timer
	closed   bool
	ended    bool // done is closed
	out      bytes.Buffer
}

func newPipe(name string, segments []segment) *pipe {
	p := &pipe{name: name, done: make(chan struct{})}
	for _, s := range segments {
		if len(s.text) > 0 {
			p.segments = append(p.segments, s)
		}
	}
	p.changed.L = &p.mu
	return p
}

// Read implements [net.Conn].
func (p *pipe) Read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, net.ErrClosed
		case p.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p.segments) == 0 && !p.open:
			return 0, io.EOF
		case len(p.segments) > 0 && (len(to) > 1 || !p.segments[0].late):
			s := &p.segments[0]
			n := copy(to, s.text)
			s.text, s.late = s.text[n:], false
			if len(s.text) == 0 {
				p.segments = p.segments[1:]
			}
			if len(to) == 1 {
				p.ahead = true
				p.changed.Broadcast()
			}
			return n, nil
		}
		p.changed.Wait()
	}
}

// awaitAhead waits until a byte has been read ahead.
func (p *pipe) awaitAhead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ahead && !p.closed {
		p.changed.Wait()
	}
	p.ahead = false
}

// SyscallConn implements [syscall.Conn].
func (p *pipe) SyscallConn() (syscall.RawConn, error) { return rawPipe{p}, nil }

// rawPipe waits for the deadline.
type rawPipe struct{ p *pipe }

func (r rawPipe) Read(func(uintptr) bool) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	for !r.p.expired && !r.p.closed {
		r.p.changed.Wait()
	}
	return os.ErrDeadlineExceeded
}
func (r rawPipe) Write(func(uintptr) bool) error { return nil }
func (r rawPipe) Control(func(uintptr)) error    { return nil }

// Write implements [net.Conn].
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	return p.out.Write(b)
}

// Close implements [net.Conn].
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.end()
	return nil
}

// net/http calls CloseWrite half a second before Close, when it no longer reads or writes.
func (p *pipe) CloseWrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	return nil
}

// end signals that the server has finished with the connection. The caller holds mu.
func (p *pipe) end() {
	if !p.ended {
		p.ended = true
		if p.timer != nil {
			p.timer.Stop()
		}
		close(p.done)
	}
	p.changed.Broadcast()
}

// SetReadDeadline implements [net.Conn].
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.deadline, p.expired = t, false
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		p.expired = true
	default:
		p.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.deadline.Equal(t) {
				p.expired = true
				p.changed.Broadcast()
			}
		})
	}
	p.changed.Broadcast()
	return nil
}

// send appends a segment.
func (p *pipe) send(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = append(p.segments, segment{[]byte(text), true})
	p.changed.Broadcast()
}

// answered returns all that the server has written.
func (p *pipe) answered() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
func (p *pipe) LocalAddr() net.Addr              { return pipeAddr("server") }
func (p *pipe) RemoteAddr() net.Addr             { return pipeAddr(p.name) }

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

// pipes is a listener of pipes.
type pipes struct {
	accept chan net.Conn
	ended  chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), ended: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.ended) }); return nil }
func (l *pipes) Addr() net.Addr { return pipeAddr("server") }
