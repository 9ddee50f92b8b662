package transport

import (
	"bytes"
	"context"
	"net/url"
	"sync/atomic"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
)

// room limits the memory that all requests take together, by what their bodies weigh. It never waits: see
// [Options.RequestBytes].
type room struct {
	limit int64
	taken atomic.Int64
}

const (
	defaultRoom = 256 << 20
	// lightBytes is what a body weighs at most whose buffer is not weighed: bodies of this size are read into memory that
	// is used again.
	lightBytes = 8 << 10
	// smallWeight is the weight up to which a request may use all of the room. Larger ones leave a quarter of it, so that
	// ordinary requests find room whatever the large ones do.
	smallWeight = 1 << 20
)

// load is the weight of one request.
type load struct {
	room   *room
	weight int64
}

// raise raises the weight of a request, and reports whether there is room for it. Half of what large requests may take is
// enough for every request, so that the largest ones are executed when there are few.
func (l *load) raise(weight int64) bool {
	limit := l.room.limit
	if weight > smallWeight {
		limit -= limit / 4
		weight = min(weight, limit/2)
	}
	more := weight - l.weight
	if more <= 0 {
		return true
	}
	if l.room.taken.Add(more) > limit {
		l.room.taken.Add(-more)
		return false
	}
	l.weight = weight
	return true
}

// end ends the request.
func (l *load) end() {
	if l.weight > 0 {
		l.room.taken.Add(-l.weight)
		l.weight = 0
	}
}

// weigh returns what a body takes at most until its request ends: the text, copies of its strings, and the values that it
// is decoded to. An empty object of two bytes takes a map; a number is a string behind an interface; the decoder compares
// the names of an object by a map of its own. What is only text in a string counts as well.
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

// full returns the refusal of a request for which there is no room.
func (h *Handler) full(ctx context.Context) *refusal {
	if h.o.Admission != nil {
		return h.o.Admission.refuse(ctx)
	}
	f := refuse(apierror.Overloaded)
	f.cache, f.retryAfter = answers.Overloaded, "1"
	return f
}
