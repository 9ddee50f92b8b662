// Package transport is GraphQL over HTTP in front of gqlgen's executor: [NewHandler] is where to start. It speaks
// both media types, and knows batches, persisted and trusted documents, whole answers that are cached, the headers
// that tell how long an answer may be, and an [Admission] that bounds how many operations run.
package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
	"fieldcache/cache/internal/operation"
	"fieldcache/cache/transport/internal/document"
)

// Options are what a [Handler] takes from clients, and what it asks others. The zero value works, and stores
// nothing. What is left out never makes a private answer visible to others: it makes fewer answers cached.
type Options struct {
	MaxBodyBytes int           // of a request. Default: 1 MiB
	MaxBatch     int           // operations in a request. Default: 10
	MaxTokens    int           // of a document; validation is bounded by it too. Default: 2000
	Timeout      time.Duration // for executing a request; its end has the cause [ErrTimeout]. Default: none

	// HideSchema keeps errors from saying what a client may have meant, which tells names of the schema.
	HideSchema bool

	// Admission lets requests in that are not answered from the cache; it may be shared by handlers. Default: all are
	// let in at once.
	Admission *Admission

	// Trusted documents are executed by their documentId.
	Trusted Trusted
	// TrustedOnly refuses every other document.
	TrustedOnly bool
	// DocumentBytes bounds what is kept of documents: those that are registered, and those that are parsed, with all
	// that is found out about their operations. Default: 64 MiB
	DocumentBytes uint64
	// Documents is where gateways share registered documents. Default: each keeps its own.
	Documents Documents

	// Answers keeps whole answers. Default: none are kept. How long an answer may be kept is what
	// [policy.OverallOf] says: an extension of the executor is to find it out.
	Answers *answers.Store
	// Viewer returns who asks, "" for nobody: private answers are stored for one viewer each. Where it returns ""
	// for a request with one of IdentityHeaders or a client certificate, it is not known who asks, and
	// nothing private is stored or served. Default: nil, which tells no viewers apart, so that nothing private
	// is ever stored.
	Viewer func(context.Context) string
	// IdentityHeaders name the headers that tell who asks. [Handler.ServeCached] does not answer a request that has
	// one of them, and private answers vary by them. Default, where it is nil: Authorization and Cookie. Name
	// every header that Viewer, the resolvers or what stands in front of them derive an identity from.
	IdentityHeaders []string
	// Watch notices statements that no source of the cache sends: an answer that may be made of their rows is
	// stored nowhere, here or on the way. Default: that of the cache of Answers.
	Watch *cache.Watch
	// Log is told once of each coordinate that keeps answers from being stored so. Default: slog.Default().
	Log *slog.Logger
	// Computed reports whether a request is to be computed in any case, such as one that asks for a report.
	// Default: none is.
	Computed func(http.Header) bool
	// CachedVary names what the answers of [Handler.ServeCached] vary by besides: the headers that are looked at
	// by what stands between it and the handler. Default: none.
	CachedVary string
	// TagHeader names the header that lists what an answer was made of, for caches on the way that purge by
	// it: Surrogate-Key, whose names are separated by spaces, or Cache-Tag, by commas. In the names, whatever is
	// no visible ASCII, and space, comma and % are percent-encoded. An answer whose names take more than 4 KiB has
	// no such header, and is private to caches on the way. Default: none.
	TagHeader string
	// Named is called before the response to an operation of a trusted document is written, with the operation's name and the request's
	// context; not for [Handler.ServeCached], which returns it. Nil: nobody wants to know.
	Named func(ctx context.Context, operation string)
}

// Limits of what is stored of documents.
const (
	defaultDocumentBytes = 64 << 20 // for all of it, unless [Options] say otherwise
	registeredPart       = 8        // one part in so many is for documents registered by their hash, as they came
)

// ErrTimeout is the cause of the end of a request that took longer than Timeout.
var ErrTimeout = errors.New("transport: the request took longer than the server allows")

// answer is the response to one operation.
type answer struct {
	// Context is the operation's, with all that its interceptors put in.
	Context  context.Context
	Response *graphql.Response

	name string // of the operation, if its document is trusted

	refused *refusal        // where it was not executed
	meaning []byte          // the operation and its variables in one form; nil unless the answer may be kept
	cached  *answers.Answer // what was kept for another request that means the same
}

// Handler answers GraphQL over HTTP: POST, and queries by GET and HEAD. It speaks both media types, and
// knows batches, automatic persisted queries, trusted documents and compression.
//
// A page of another origin can make a browser send a GET, a form or plain text without asking first: no such
// request runs a mutation here.
type Handler struct {
	exec       *executor.Executor
	o          Options
	documents  *documents
	parsed     document.Cache
	validation *document.Validator
	compressor *answers.Compressor
	header     *answers.Header
	meanings   meanings
	identity   []string  // canonical names of the headers that tell who asks
	cookies    bool      // whether Cookie is one of them
	rare       []string  // those that are neither Cookie nor Authorization
	varyOwn    string    // what private answers vary by besides
	cachedVary []string  // of what ServeCached answers
	buffers    sync.Pool // of *[]byte
	hits       atomic.Uint64
	saved      atomic.Uint64
	told       sync.Map // of coordinates, see tellUnknown
}

// NewHandler makes a handler of an executor, which has its extensions, error presenter and limits by
// gqlgen's own means. The handler parses and validates documents itself, within a budget that the operations
// of a request share, and gives the executor its cache of parsed documents, which is bounded by bytes.
// Options that cannot be meant are an error, which names every fault.
func NewHandler(exec *executor.Executor, o Options) (*Handler, error) {
	identity, err := o.check()
	if exec == nil {
		err = errors.Join(errors.New("no executor"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("transport: options of a handler: %w", err)
	}
	compressor, err := answers.NewCompressor()
	if err != nil {
		return nil, err
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = 1 << 20
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = 10
	}
	if o.DocumentBytes == 0 {
		o.DocumentBytes = defaultDocumentBytes
	}
	if o.Computed == nil {
		o.Computed = func(http.Header) bool { return false }
	}
	if o.Watch == nil && o.Answers != nil {
		o.Watch = o.Answers.Watch()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	cachedVary := []string{varies}
	if o.CachedVary != "" {
		cachedVary = append(cachedVary, o.CachedVary)
	}
	registered := o.DocumentBytes / registeredPart
	if o.MaxTokens == 0 {
		o.MaxTokens = 2000
	}
	parsed, values := document.NewCache(o.DocumentBytes-registered), new(values)
	exec.SetQueryCache(parsed)
	exec.SetParserTokenLimit(o.MaxTokens)
	exec.SetDisableSuggestion(o.HideSchema)
	exec.Use(values)
	return &Handler{
		validation: document.New(values.schema, o.MaxTokens, o.HideSchema),
		exec:       exec, o: o,
		documents:  newDocuments(o.Trusted, o.TrustedOnly, o.Documents, registered),
		parsed:     parsed,
		compressor: compressor,
		header:     answers.NewHeader(),
		identity:   identity,
		cookies:    slices.Contains(identity, "Cookie"),
		rare:       slices.DeleteFunc(slices.Clone(identity), func(name string) bool { return name == "Cookie" || name == "Authorization" }),
		varyOwn:    strings.Join(identity, ", "),
		cachedVary: cachedVary,
		buffers:    sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }},
	}, nil
}

// request is what was received before it is decoded: everything besides the data and the viewer
// that its response depends on.
type request struct {
	read     bool   // GET or HEAD
	body     []byte // of a POST; of a GET the query, as it is in the URL
	media    media
	encoding answers.Encoding
	asker    asker
	done     func() // tells that the answer was put, or will not be
	batch    bool   // known once it is decoded
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buffer := h.buffers.Get().(*[]byte)
	defer h.put(buffer)
	in, refused := h.accept(w, r, buffer)
	if refused != nil {
		h.refuse(w, in, refused)
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	in.asker = h.askerOf(r)
	wish := h.wishOf(r.Header)
	a, done := h.find(r.Context(), in.question(), wish)
	defer done()
	if in.done = done; a != nil {
		h.tellName(r.Context(), a.Operation())
		h.writeCached(w, r, in, a)
		return
	}
	began := graphql.Now()
	list, batch, refused := h.decode(in)
	if refused == nil && batch && wish.only {
		refused = notCached()
	}
	if refused != nil {
		h.refuse(w, in, refused)
		return
	}
	ctx := graphql.StartOperationTrace(r.Context())
	if h.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, h.o.Timeout, ErrTimeout)
		defer cancel()
	}
	leave, refused := h.o.Admission.enter(ctx, len(list))
	if refused != nil {
		h.refuse(w, in, refused)
		return
	}
	if leave == nil {
		h.refuse(w, in, late(ctx))
		return
	}
	defer leave()
	if wish.fresh() {
		ctx = cache.NoCache(ctx)
	}
	if wish.nothing {
		ctx = context.WithValue(ctx, noStoreKey{}, true)
	}
	if wish.bare {
		ctx = cache.NoStore(ctx)
	}
	ctx = context.WithValue(ctx, askerKey{}, in.asker)
	ctx, collector := h.o.Watch.Collect(ctx, operation.PlaceOf)
	read := graphql.TraceTiming{Start: began, End: graphql.Now()}
	in.batch = batch
	computed := h.execute(ctx, list, in, wish, r.Header, read)
	h.write(w, r, in, wish, reply{computed, batch, collector})
}

const allowed = "GET, HEAD, POST, OPTIONS"

// accept reads the request, and refuses what cannot be a GraphQL request, as far as its head tells.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, buffer *[]byte) (request, *refusal) {
	in := request{media: negotiateMedia(r.Header["Accept"]), encoding: negotiateEncoding(r.Header["Accept-Encoding"])}
	w.Header().Add("Vary", varies)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		in.read, in.body = true, append((*buffer)[:0], r.URL.RawQuery...)
		*buffer = in.body
	case http.MethodPost:
	case http.MethodOptions:
		w.Header().Set("Allow", allowed)
		return in, nil
	default:
		return in, notAllowed(allowed, apierror.BadMethod)
	}
	if in.media == noMedia {
		return in, refuse(apierror.BadAccept)
	}
	if in.read {
		return in, nil
	}
	if refused := checkContentType(r.Header["Content-Type"]); refused != nil {
		return in, refused
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		w.Header().Set("Accept-Encoding", "identity")
		return in, refuse(apierror.BadEncoding)
	}
	var refused *refusal
	in.body, refused = h.readAll(w, r, buffer)
	return in, refused
}

// readAll reads the body into the buffer.
func (h *Handler) readAll(w http.ResponseWriter, r *http.Request, buffer *[]byte) ([]byte, *refusal) {
	body, limit := (*buffer)[:0], h.o.MaxBodyBytes
	var err error
	for err == nil && r.ContentLength <= int64(limit) && len(body) <= limit {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		var n int
		n, err = r.Body.Read(body[len(body):min(cap(body), limit+1)])
		body = body[:len(body)+n]
	}
	*buffer = body
	switch {
	case r.ContentLength > int64(limit) || len(body) > limit:
		w.Header().Set("Connection", "close") // instead of reading the rest to discard it
		return nil, refuse(apierror.BodyTooLarge, limit)
	// The length is compared as well: a body of net/http that was read to an early end, as by ServeCached, reports
	// its end from then on.
	case err != io.EOF, r.ContentLength >= 0 && int64(len(body)) != r.ContentLength:
		return nil, refuse(apierror.BrokenBody)
	}
	return body, nil
}

// decode reads the operations of the request.
func (h *Handler) decode(in request) (list []params, batch bool, _ *refusal) {
	if !in.read {
		return readBody(in.body, h.o.MaxBatch)
	}
	p, refused := readURL(string(in.body))
	return []params{p}, false, refused
}

// DocumentBytes is about how much is kept of documents, once what is over the bound has been dropped.
func (h *Handler) DocumentBytes() uint64 {
	h.documents.registered.CleanUp()
	return h.parsed.Bytes() + h.documents.registered.WeightedSize()
}

// put returns a buffer to the pool, unless a rare large body made it large.
func (h *Handler) put(buffer *[]byte) {
	if cap(*buffer) <= 64<<10 {
		h.buffers.Put(buffer)
	}
}
