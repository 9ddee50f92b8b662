package fastpath

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// exchange is a request and its response, as in net/http's response. It is reused for the next
// request, only for its memory.
type exchange struct {
	request http.Request
	url     url.URL
	fields  http.Header
	values  [maxFields]string
	body    bytes.Reader

	to     net.Conn
	header http.Header
	head   []byte // made of the header, not sent yet
	answer
}

// answer is the state of a response.
type answer struct {
	began   bool // the head was made
	last    bool // the connection ends with it
	length  int  // of the content, according to the header
	written int
	err     error
}

var exchanges = sync.Pool{New: func() any { return &exchange{fields: make(http.Header), header: make(http.Header)} }}

// maxCopy is the length up to which content is copied behind the head instead of being sent by
// itself.
const maxCopy = 8 << 10

// Read implements [io.Reader] for the request's body.
func (x *exchange) Read(p []byte) (int, error) { return x.body.Read(p) }

// Close implements [io.Closer] for the request's body.
func (x *exchange) Close() error { return nil }

// Header implements [http.ResponseWriter].
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	if x.began {
		return
	}
	x.began = true
	if x.length, x.err = strconv.Atoi(x.header.Get("Content-Length")); x.err != nil {
		return
	}
	if x.length < 0 || len(x.header["Content-Length"]) > 1 || x.header["Transfer-Encoding"] != nil ||
		status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
		x.err = errFraming
		return
	}
	x.last = x.header["Connection"] != nil
	head := append(x.head[:0], "HTTP/1.1 "...)
	head = append(strconv.AppendInt(head, int64(status), 10), ' ')
	head = append(append(head, http.StatusText(status)...), "\r\n"...)
	head = appendFields(head, x.header)
	head = append(head, dateField(time.Now())...)
	x.head = append(head, "\r\n"...)
}

// Write implements [http.ResponseWriter].
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	if x.err == nil && x.written+len(p) > x.length {
		x.err = http.ErrContentLength
	}
	if x.err != nil {
		return 0, x.err
	}
	x.written += len(p)
	x.send(p)
	return len(p), x.err
}

// send sends what is left of the head, and p.
func (x *exchange) send(p []byte) {
	switch {
	case len(x.head) == 0:
		_, x.err = x.to.Write(p)
	case len(p) <= maxCopy:
		x.head = append(x.head, p...)
		_, x.err = x.to.Write(x.head)
	default:
		both := net.Buffers{x.head, p}
		_, x.err = both.WriteTo(x.to)
	}
	x.head = x.head[:0]
}

var (
	// errShort is the error of a response that is shorter than its header says.
	errShort = errors.New("fastpath: less content than Content-Length")
	// errFraming is the error of a response whose end is determined by something other than its only Content-Length.
	errFraming = errors.New("fastpath: a response needs one Content-Length, and a status that allows content")
	// errLast says that a response was sent, and closes the connection according to its header.
	errLast = errors.New("fastpath: the response has a Connection header")
)

// finish sends the rest. After an error the connection is of no more use.
func (x *exchange) finish() error {
	x.WriteHeader(http.StatusOK)
	if x.err == nil && x.written < x.length {
		x.err = errShort
	}
	if x.err == nil && len(x.head) > 0 {
		x.send(nil)
	}
	if x.err == nil && x.last {
		return errLast
	}
	err := x.err
	clear(x.header)
	x.answer = answer{}
	return err
}

// release returns x to the pool.
func (x *exchange) release() {
	clear(x.fields)
	clear(x.header)
	clear(x.values[:])
	*x = exchange{fields: x.fields, header: x.header, head: x.head[:0]}
	exchanges.Put(x)
}

var (
	_ io.ReadCloser       = (*exchange)(nil)
	_ http.ResponseWriter = (*exchange)(nil)
)
