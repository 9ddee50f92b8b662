package transport

import (
	"bytes"
	"context"
	"net/url"
	"sync/atomic"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
)

// memoryLimit limits the memory of all requests together, estimated from their bodies. It never waits:
// see [Options.RequestBytes].
type memoryLimit struct {
	limit int64
	taken atomic.Int64
}

const (
	defaultRoom = 256 << 20
	// lightBytes is the size up to which a body's buffer is not weighed: such bodies are read into
	// memory that is used again.
	lightBytes = 8 << 10
	// smallWeight is the weight up to which a request may use the whole limit. Larger ones leave a
	// quarter of it, so that large requests never crowd out ordinary ones.
	smallWeight = 1 << 20
)

// requestMemory is the memory that one request has reserved.
type requestMemory struct {
	all    *memoryLimit
	weight int64
}

// reserve raises the memory of a request to weight, and reports whether there is enough. A request
// reserves at most half of the limit for large requests, so that the largest ones are executed when
// there are few.
func (m *requestMemory) reserve(weight int64) bool {
	limit := m.all.limit
	if weight > smallWeight {
		limit -= limit / 4
		weight = min(weight, limit/2)
	}
	more := weight - m.weight
	if more <= 0 {
		return true
	}
	if m.all.taken.Add(more) > limit {
		m.all.taken.Add(-more)
		return false
	}
	m.weight = weight
	return true
}

// grow returns a full buffer of a body with twice the room, but at most with room for most bytes. ok
// is false if there is not enough memory.
func grow(body []byte, most int, memory *requestMemory) (_ []byte, ok bool) {
	more := min(2*cap(body), most)
	if more > lightBytes && !memory.reserve(2*int64(more)) {
		return body, false
	}
	return append(make([]byte, 0, more), body...), true
}

// keep replaces the reservation by one of weight for a response that is being sent, which may take
// as long as its client likes, and reports whether there is enough memory. Responses leave a quarter
// of the limit to requests.
func (m *requestMemory) keep(weight int64) bool {
	more := weight - m.weight
	if taken := m.all.taken.Add(more); more > 0 && taken > m.all.limit-m.all.limit/4 {
		m.all.taken.Add(-more)
		return false
	}
	m.weight = weight
	return true
}

// release ends the reservation.
func (m *requestMemory) release() {
	if m.weight > 0 {
		m.all.taken.Add(-m.weight)
		m.weight = 0
	}
}

// weigh returns an upper bound of the memory that a body takes until its request ends: the text,
// copies of its strings, and the decoded values. An empty object of two bytes takes a map; a number
// is a string behind an interface; the decoder compares the names of an object by its own map. Text
// inside a string counts as if it were syntax.
func weigh(body []byte) int64 {
	const (
		perByte    = 4
		perObject  = 320
		perMember  = 160
		perElement = 80
	)
	count := func(c string) int64 { return int64(bytes.Count(body, []byte(c))) }
	return perByte*int64(len(body)) + perObject*count("{") + perMember*count(":") + perElement*count(",") + perElement*count("[")
}

// weighURL is weigh for the query of a URL.
func weighURL(query []byte) int64 {
	text, err := url.QueryUnescape(string(query))
	if err != nil {
		return weigh(query) // it will be refused
	}
	return int64(len(query)) + weigh([]byte(text))
}

// full returns the refusal of a request for which there is not enough memory.
func (h *Handler) full(ctx context.Context) *refusal {
	if h.o.Admission != nil {
		return h.o.Admission.refuse(ctx)
	}
	f := refuse(apierror.Overloaded)
	f.cache, f.retryAfter = answers.Overloaded, "1"
	return f
}
