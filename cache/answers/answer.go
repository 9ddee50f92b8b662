package answers

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fieldcache/cache"
)

// Encoding is a content coding of HTTP.
type Encoding uint8

// The encodings of responses.
const (
	Identity Encoding = iota // uncompressed
	Gzip
	Brotli
	Zstd
	Encodings // the number of encodings
)

// String returns the name of the coding in headers.
func (e Encoding) String() string { return [Encodings]string{"identity", "gzip", "br", "zstd"}[e] }

// Computed is a computed response, from which [NewAnswer] makes an Answer.
type Computed struct {
	Status int
	// ContentType is the value of the header.
	ContentType string
	Body        []byte
	// MaxAge and Scope are what the policies of all its fields allow; with MaxAge 0 no cache stores it.
	MaxAge time.Duration
	Scope  cache.Scope
	// Deps is what it depends on.
	Deps cache.Deps
	// Vary is the value of the header.
	Vary string
	// TagHeader names the header that lists the names that the response depends on, for HTTP caches that purge by them;
	// "" for none. If the names take more than 4 KiB, the response has no such header and is private.
	TagHeader string
	// Operation is the name of the operation if its document is trusted, else "".
	Operation string
}

// Answer is a complete response, ready to be written. It is immutable.
type Answer struct {
	status   int
	maxAge   time.Duration
	scope    cache.Scope
	deps     cache.Deps
	ends     time.Time // when it may no longer be served from the store
	zero     time.Time // when its Age is 0
	created  time.Time // when its computation began
	variants [Encodings]*variant

	contentType, cacheControl, vary []string
	tagHeader                       string
	operation                       string
	tags                            []string
}

// variant is the response's content in one encoding.
type variant struct {
	body     []byte
	etag     string
	header   []string // its ETag
	encoding []string // its Content-Encoding; nil for none
	length   []string
}

// noStore is the Cache-Control header of a response that no cache may store.
const noStore = "no-store"

// NewAnswer returns the Answer for a response computed at now.
func NewAnswer(c Computed, now time.Time) *Answer {
	a := &Answer{
		status: c.Status, maxAge: c.MaxAge.Truncate(time.Second), scope: c.Scope, deps: c.Deps,
		contentType: []string{c.ContentType}, vary: []string{c.Vary}, tagHeader: c.TagHeader, operation: c.Operation,
	}
	if c.Deps.Stale || c.Deps.Passing || len(c.Deps.Unknown) > 0 || c.Status != http.StatusOK || a.maxAge <= 0 {
		a.maxAge = 0
	}
	a.cacheControl = []string{cacheControl(a.maxAge, a.scope)}
	end := now.Add(a.maxAge)
	a.ends = cache.WithClock(earlier(end, a.deps.Ends), now)
	if a.created = a.deps.Began; a.created.IsZero() {
		a.created = now
	}
	a.zero = cache.WithClock(earlier(end, a.deps.Until), now).Add(-a.maxAge)
	a.variants[Identity] = newVariant(c.Body, Identity, a.maxAge > 0)
	if a.tagHeader != "" && a.maxAge > 0 {
		separator := byte(' ')
		if a.tagHeader == "Cache-Tag" {
			separator = ','
		}
		if list, all := tagList(c.Deps.Names, separator); all {
			a.tags = []string{list}
		} else {
			// A cache that purges by tags would not purge it by the names that were left out.
			a.cacheControl = []string{cacheControl(a.maxAge, cache.Private)}
		}
	}
	return a
}

// cacheControl returns the header for a max age and a scope.
func cacheControl(maxAge time.Duration, scope cache.Scope) string {
	if maxAge <= 0 {
		return noStore
	}
	return "max-age=" + strconv.FormatInt(int64(maxAge/time.Second), 10) + ", " + scope.String()
}

func newVariant(body []byte, e Encoding, tagged bool) *variant {
	v := &variant{body: body, length: []string{strconv.Itoa(len(body))}}
	if e != Identity {
		v.encoding = []string{e.String()}
	}
	if tagged {
		sum := sha256.Sum256(body)
		v.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
		v.header = []string{v.etag}
	}
	return v
}

// maxTags limits the size of the header of tags, in bytes.
const maxTags = 4 << 10

// tagList lists names, the coarsest first: types and collections, then parts of entities, then entities. It
// reports whether the list is complete: names beyond maxTags are left out. Characters at which a list may be
// split, or that a header cannot contain, are percent-encoded: each part of the list, decoded, is the name.
func tagList(names []string, separator byte) (list string, all bool) {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return coarseness(a) - coarseness(b) })
	var b strings.Builder
	for _, n := range names {
		n = encodeTag(n)
		if b.Len()+1+len(n) > maxTags {
			return b.String(), false
		}
		if b.Len() > 0 {
			b.WriteByte(separator)
		}
		b.WriteString(n)
	}
	return b.String(), true
}

// encodeTag percent-encodes everything but visible ASCII, and also comma and % itself.
func encodeTag(name string) string {
	clean := func(c byte) bool { return c > ' ' && c < 0x7f && c != ',' && c != '%' }
	at := 0
	for at < len(name) && clean(name[at]) {
		at++
	}
	if at == len(name) {
		return name
	}
	b := []byte(name[:at])
	for ; at < len(name); at++ {
		if c := name[at]; clean(c) {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, "%%%02X", c)
		}
	}
	return string(b)
}

func coarseness(name string) int {
	switch inner, rest, ok := strings.Cut(strings.TrimPrefix(name, "{"), "}"); {
	case !strings.HasPrefix(name, "{") || !ok:
		return 3 // an entity
	case strings.Contains(inner, ":"):
		return 2 // part of an entity
	case rest != "":
		return 1
	}
	return 0
}

// Storable reports whether the store may store the Answer.
func (a *Answer) Storable() bool { return a.maxAge > 0 && a.deps.Unstorable == "" }

func (a *Answer) private() bool { return a.scope == cache.Private }

// Body returns the uncompressed content.
func (a *Answer) Body() []byte { return a.variants[Identity].body }

// MaxAge returns the max age that the policies allow; with 0 no cache stores the response.
func (a *Answer) MaxAge() time.Duration { return a.maxAge }

// Scope says whether the response is for one viewer only.
func (a *Answer) Scope() cache.Scope { return a.scope }

// Operation returns the Operation of its [Computed].
func (a *Answer) Operation() string { return a.operation }

// Statements returns the least number of statements that the response takes without a cache: one for each
// coordinate.
func (a *Answer) Statements() int { return len(a.deps.Asked) }

// As returns the same response for an operation with the same meaning and another name.
func (a *Answer) As(operation string) *Answer {
	if a.operation == operation {
		return a
	}
	other := *a
	other.operation = operation
	return &other
}

// Deps returns what the response depends on.
func (a *Answer) Deps() cache.Deps { return a.deps }

// Has reports whether the Answer has its content in an encoding.
func (a *Answer) Has(e Encoding) bool { return a.variants[e] != nil }

// In returns the Answer with its content in an encoding as well. If compression saves nothing, it uses the
// uncompressed content for that encoding.
func (a *Answer) In(e Encoding, c *Compressor) *Answer {
	if a.variants[e] != nil {
		return a
	}
	more := *a
	if body, got := c.Compress(a.Body(), e); got == e {
		more.variants[e] = newVariant(body, e, a.maxAge > 0)
	} else {
		more.variants[e] = a.variants[Identity]
	}
	return &more
}

// Age returns the age of the response at now, in whole seconds. Max age minus age is the shortest time that
// any of its parts has left.
func (a *Answer) Age(now time.Time) int { return int(max(0, -cache.Left(now, a.zero)) / time.Second) }

// TTL returns for how long the response may still be served from the store, in whole seconds.
func (a *Answer) TTL(now time.Time) int { return int(max(0, cache.Left(now, a.ends)) / time.Second) }

// earlier returns the earlier of two times, ignoring zero ones.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
