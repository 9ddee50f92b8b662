package answers

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status is the value of the Cache-Status header (RFC 9211) of an answer that was made, not kept.
type Status string

// How an answer was made.
const (
	Miss        Status = "fieldcache; fwd=miss"
	MissStored  Status = "fieldcache; fwd=miss; stored"
	Partial     Status = "fieldcache; fwd=partial"
	PartStored  Status = "fieldcache; fwd=partial; stored"
	Bypass      Status = "fieldcache; fwd=bypass"
	StaleAnswer Status = "fieldcache; fwd=stale"
	// Revalidating is of an answer of which parts have ended and are loaded anew, and nothing was computed.
	Revalidating     Status = "fieldcache; hit; detail=swr"
	PartRevalidating Status = "fieldcache; fwd=partial; detail=swr"
	// LateByRelay and LateByLease are of a mutation whose evictions Redis did not execute in time, by what allowed its answer: see
	// [cache.Deps].
	LateByRelay Status = "fieldcache; fwd=bypass; detail=relay"
	LateByLease Status = "fieldcache; fwd=bypass; detail=lease"
	// NotForwarded is of a refusal to make what is not there, as the client wanted.
	NotForwarded Status = "fieldcache; detail=only-if-cached"
	// Overloaded is of a refusal to make it now.
	Overloaded Status = "fieldcache; detail=overloaded"
)

// Header writes the headers of values that are counted in seconds without making a string for each.
type Header struct {
	age [][]string
	hit [][]string
}

// prepared is for how many seconds the values are prepared: an hour.
const prepared = 3600

// NewHeader prepares the values.
func NewHeader() *Header {
	h := &Header{age: make([][]string, prepared), hit: make([][]string, prepared)}
	for n := range prepared {
		h.age[n], h.hit[n] = []string{strconv.Itoa(n)}, []string{hitStatus(n)}
	}
	return h
}

func hitStatus(ttl int) string { return "fieldcache; hit; ttl=" + strconv.Itoa(ttl) }

func (h *Header) ageOf(n int) []string {
	if n < len(h.age) {
		return h.age[n]
	}
	return []string{strconv.Itoa(n)}
}

func (h *Header) hitOf(ttl int) []string {
	if ttl < len(h.hit) {
		return h.hit[ttl]
	}
	return []string{hitStatus(ttl)}
}

// WriteHit writes an answer that was kept. The encoding must be one that the answer has.
func (h *Header) WriteHit(w http.ResponseWriter, r *http.Request, a *Answer, e Encoding, now time.Time) {
	header := w.Header()
	header["Cache-Status"] = h.hitOf(a.TTL(now))
	h.write(w, header, r, a, e, now)
}

// WriteComputed writes an answer that was made for this request.
func (h *Header) WriteComputed(w http.ResponseWriter, r *http.Request, a *Answer, e Encoding, s Status, now time.Time) {
	header := w.Header()
	header["Cache-Status"] = []string{string(s)}
	h.write(w, header, r, a, e, now)
}

func (h *Header) write(w http.ResponseWriter, header http.Header, r *http.Request, a *Answer, e Encoding, now time.Time) {
	v := a.variants[e]
	header["Cache-Control"] = a.cacheControl
	if a.vary[0] != "" {
		if old := header["Vary"]; len(old) == 0 {
			header["Vary"] = a.vary
		} else {
			header["Vary"] = append(old[:len(old):len(old)], a.vary[0])
		}
	}
	if a.maxAge > 0 {
		header["Age"] = h.ageOf(a.Age(now))
		header["Etag"] = v.header
		if a.tags != nil {
			header[a.tagHeader] = a.tags
		}
		if none := r.Header["If-None-Match"]; len(none) > 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) && matches(none, v.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	header["Content-Type"] = a.contentType
	header["Content-Length"] = v.length
	if v.encoding != nil {
		header["Content-Encoding"] = v.encoding
	}
	if a.status != http.StatusOK {
		w.WriteHeader(a.status)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(v.body) // to a client who may be gone
	}
}

// matches reports whether an If-None-Match header names the tag. Comparison is weak, as RFC 9110 has it for
// this header: what a cache on the way made weak is the same content.
func matches(header []string, etag string) bool {
	for _, line := range header {
		for _, one := range strings.Split(line, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == etag {
				return true
			}
		}
	}
	return false
}
