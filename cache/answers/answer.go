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

// The codings that answers have.
const (
	Identity Encoding = iota // as it is
	Gzip
	Brotli
	Zstd
	Encodings // how many there are
)

// String is the coding's name in headers.
func (e Encoding) String() string { return [Encodings]string{"identity", "gzip", "br", "zstd"}[e] }

// Computed is what an answer is made from.
type Computed struct {
	Status int
	// ContentType is the whole header.
	ContentType string
	Body        []byte
	// MaxAge and Scope are what the policy of all its fields allows; 0 keeps it out of every cache.
	MaxAge time.Duration
	Scope  cache.Scope
	// Deps is what it was made of.
	Deps cache.Deps
	// Vary is the header's value.
	Vary string
	// TagHeader names the header that lists what the answer was made of, for caches on the way that purge
	// by it; "" for none. Where the names take more than 4 KiB the answer is written without it, as private.
	TagHeader string
	// Operation is the name of the operation if its document is trusted, else "".
	Operation string
}

// Answer is the answer to a request, ready to be written. It is never changed once made.
type Answer struct {
	status   int
	maxAge   time.Duration
	scope    cache.Scope
	deps     cache.Deps
	ends     time.Time // when it may no longer be served from here
	zero     time.Time // when its Age is 0
	created  time.Time
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

// noStore is the header of what no cache may store.
const noStore = "no-store"

// NewAnswer makes an answer at a moment.
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
	a.ends = earlier(end, a.deps.Ends)
	a.created = now
	a.zero = earlier(end, a.deps.Until).Add(-a.maxAge)
	a.variants[Identity] = newVariant(c.Body, Identity, a.maxAge > 0)
	if a.tagHeader != "" && a.maxAge > 0 {
		separator := byte(' ')
		if a.tagHeader == "Cache-Tag" {
			separator = ','
		}
		if list, all := tagList(c.Deps.Names, separator); all {
			a.tags = []string{list}
		} else {
			// A cache that purges by tags would miss it by the names that are left out.
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

// maxTags limits the header of tags, in bytes.
const maxTags = 4 << 10

// tagList lists names, the coarsest first: types and collections, then what belongs to one entity, then
// entities, and reports whether the list is complete: what is over the bound is left out. A name is percent-encoded where it has a character that a list may
// be split at or a header cannot hold: decoded, each part is the name again.
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

// encodeTag percent-encodes all but visible ASCII, and space, comma and % itself.
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
		return 2 // a part of one
	case rest != "":
		return 1
	}
	return 0
}

// Storable reports whether the answer may be kept here.
func (a *Answer) Storable() bool { return a.maxAge > 0 && a.deps.Unstorable == "" }

func (a *Answer) private() bool { return a.scope == cache.Private }

// Body is the answer's content as it is.
func (a *Answer) Body() []byte { return a.variants[Identity].body }

// MaxAge is what the answer's policy allows; 0 keeps it out of every cache.
func (a *Answer) MaxAge() time.Duration { return a.maxAge }

// Scope says whether the answer is for one viewer only.
func (a *Answer) Scope() cache.Scope { return a.scope }

// Operation is what [Computed] said.
func (a *Answer) Operation() string { return a.operation }

// Statements is how many statements the answer takes at least where nothing is cached: one for each coordinate that was asked for.
func (a *Answer) Statements() int { return len(a.deps.Asked) }

// As is the answer to an operation that means the same and has another name.
func (a *Answer) As(operation string) *Answer {
	if a.operation == operation {
		return a
	}
	other := *a
	other.operation = operation
	return &other
}

// Deps is what the answer was made of.
func (a *Answer) Deps() cache.Deps { return a.deps }

// Has reports whether the answer is there in an encoding.
func (a *Answer) Has(e Encoding) bool { return a.variants[e] != nil }

// In is the answer with its content in an encoding as well, made by the compressor. Where that would save
// nothing it is the content as it is.
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

// Age is how old the answer's parts are at a moment, in whole seconds: max age less age is the least time
// that one of them has left.
func (a *Answer) Age(now time.Time) int { return int(max(0, now.Sub(a.zero)) / time.Second) }

// TTL is how long the answer may still be served from here, in whole seconds.
func (a *Answer) TTL(now time.Time) int { return int(max(0, a.ends.Sub(now)) / time.Second) }

// earlier returns the earlier of a and b; a zero time does not count.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
