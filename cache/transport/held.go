package transport

import (
	"bufio"
	"bytes"
	"mime"
	"net"
	"net/http"
	"slices"
)

// heldResponse buffers a response until it is complete, or until the handler streams.
type heldResponse struct {
	http.ResponseWriter
	before      http.Header // headers that were set before
	status      int
	body        bytes.Buffer
	wroteHeader bool
	passed      bool   // nothing is buffered any longer
	passing     func() // called by pass before anything is sent
}

// WriteHeader implements [http.ResponseWriter]. Informational responses, such as early hints, are sent at once.
func (h *heldResponse) WriteHeader(status int) {
	switch {
	case h.passed || status < http.StatusOK:
		h.ResponseWriter.WriteHeader(status)
	case !h.wroteHeader:
		h.status, h.wroteHeader = status, true
		if header := h.Header(); header.Get("Content-Type") != "" && !jsonKind(header) {
			h.pass() // it is not stored, and may be long
		}
	}
}

// Write implements [http.ResponseWriter].
func (h *heldResponse) Write(b []byte) (int, error) {
	if h.passed {
		return h.ResponseWriter.Write(b)
	}
	if h.WriteHeader(http.StatusOK); h.passed {
		return h.ResponseWriter.Write(b)
	}
	return h.body.Write(b)
}

// Unwrap lets an [http.ResponseController] set deadlines and full duplex, which affect the connection.
func (h *heldResponse) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Flush implements [http.Flusher]: the response is a stream.
func (h *heldResponse) Flush() {
	h.pass()
	_ = http.NewResponseController(h.ResponseWriter).Flush() // if the writer supports it
}

// Hijack implements [http.Hijacker].
func (h *heldResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		h.passed = true
		h.passing()
	}
	return c, rw, err
}

// pass sends the buffered part. Everything later is sent at once.
func (h *heldResponse) pass() {
	if h.passed {
		return
	}
	h.passed = true
	h.passing()
	if h.wroteHeader {
		h.ResponseWriter.WriteHeader(h.status)
	}
	if h.body.Len() > 0 {
		_, _ = h.ResponseWriter.Write(h.body.Bytes()) // the client may have disconnected
	}
}

// isJSON reports whether the buffer has a complete response in JSON without a content encoding.
func (h *heldResponse) isJSON(header http.Header) bool { return h.body.Len() > 0 && jsonKind(header) }

// jsonKind reports whether headers announce JSON without a content encoding.
func jsonKind(header http.Header) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && header.Get("Content-Encoding") == "" && (kind == "application/json" || kind == "application/graphql-response+json")
}

// ownHeader returns the name of a header that stored responses do not have, so that the response
// cannot be one of them; "" if there is none.
func (h *heldResponse) ownHeader() string {
	for name, values := range h.ResponseWriter.Header() {
		switch name {
		case "Content-Type", "Content-Length", "X-Content-Type-Options", "Date":
		default:
			if !slices.Equal(values, h.before[name]) {
				return name
			}
		}
	}
	return ""
}
