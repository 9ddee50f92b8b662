package answers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"fieldcache/cache"
)

// Status is the value of the Cache-Status header (RFC 9211) of a response that did not come from
// the store.
type Status string

// The ways in which a response is computed or refused.
const (
	Miss        Status = "fieldcache; fwd=miss"
	MissStored  Status = "fieldcache; fwd=miss; stored"
	Partial     Status = "fieldcache; fwd=partial"
	PartStored  Status = "fieldcache; fwd=partial; stored"
	Bypass      Status = "fieldcache; fwd=bypass"
	StaleAnswer Status = "fieldcache; fwd=stale"
	// Revalidating is for a response of which parts have expired and are being loaded again; nothing was computed.
	Revalidating     Status = "fieldcache; hit; detail=swr"
	PartRevalidating Status = "fieldcache; fwd=partial; detail=swr"
	// LateByRelay and LateByLease are for a mutation whose evictions Redis did not execute in time. They name
	// what allowed the acknowledgement: see [cache.Deps].
	LateByRelay Status = "fieldcache; fwd=bypass; detail=relay"
	LateByLease Status = "fieldcache; fwd=bypass; detail=lease"
	// NotForwarded is for a refusal to compute a response, as the client requested by only-if-cached.
	NotForwarded Status = "fieldcache; detail=only-if-cached"
	// Overloaded is for a refusal to compute a response during an overload.
	Overloaded Status = "fieldcache; detail=overloaded"
)

// Header writes headers. It holds prepared strings for values in seconds, so that they cost no
// allocation.
type Header struct {
	age [][]string
	hit [][]string
}

// prepared is up to how many seconds the values are prepared: an hour.
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

// WriteHit writes a stored Answer. The Answer must have its content in the encoding.
func (h *Header) WriteHit(w http.ResponseWriter, r *http.Request, a *Answer, e Encoding, now time.Time) {
	header := w.Header()
	header["Cache-Status"] = h.hitOf(a.TTL(now))
	h.write(w, header, r, a, e, now)
}

// WriteComputed writes an Answer that was computed for this request.
func (h *Header) WriteComputed(w http.ResponseWriter, r *http.Request, a *Answer, e Encoding, s Status, now time.Time) {
	header := w.Header()
	header["Cache-Status"] = []string{string(s)}
	h.write(w, header, r, a, e, now)
}

func (h *Header) write(w http.ResponseWriter, header http.Header, r *http.Request, a *Answer, e Encoding, now time.Time) {
	v := a.variants[e]
	header["Cache-Control"] = a.cacheControl
	if a.maxAge > 0 && len(header["Set-Cookie"]) > 0 { // a shared cache would give one client's cookie to all
		header["Cache-Control"] = []string{cacheControl(a.maxAge, cache.Private)}
	}
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
		_, _ = w.Write(v.body) // the client may have disconnected
	}
}

// matches reports whether an If-None-Match header lists the tag. The comparison is weak, as RFC 9110 requires for this
// header: an HTTP cache may have made the tag of the same content weak.
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
