// Package transport serves GraphQL over HTTP in front of gqlgen's executor. Start with [NewHandler]. It supports both
// media types, batches, persisted and trusted documents, and cached responses with the headers that say how long they
// may be cached. An [Admission] limits how many operations run.
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

// Options are the options of a [Handler]. The zero value works, and stores nothing. Leaving out an option never makes a
// private response visible to others: fewer responses are cached.
type Options struct {
	MaxBodyBytes int // of a request. Default: 1 MiB
	MaxBatch     int // operations in a request. Default: 10
	// RequestBytes limits the memory of requests that are read, decoded or executed, estimated from
	// their bodies, and of computed responses while they are sent. A request beyond the limit is
	// refused at once, like those that Admission refuses. Requests that decode to more than a
	// megabyte, and responses, leave a quarter of it to smaller requests.
	// Default: 256 MiB, or four times MaxBodyBytes if that is more.
	RequestBytes int64
	MaxTokens    int           // of a document; also limits the cost of validation. Default: 2000
	Timeout      time.Duration // of the execution of a request, whose context then ends with the cause [ErrTimeout]. Default: none

	// HideSchema omits suggestions from errors, which show names of the schema.
	HideSchema bool

	// Admission admits requests that are not served from the cache. Handlers may share it. Default: all are admitted at
	// once.
	Admission *Admission

	// Trusted documents are executed by their documentId.
	Trusted Trusted
	// TrustedOnly refuses every other document.
	TrustedOnly bool
	// DocumentBytes limits the memory of documents: of registered ones, and of parsed ones, with everything computed
	// for their operations. Default: 64 MiB
	DocumentBytes uint64
	// Documents shares registered documents between gateways. Default: each gateway has its own.
	Documents Documents

	// Answers stores responses. Handlers may share it, and serve only their own. Default: none are stored. [policy.OverallOf] says how long a response may be cached; an
	// extension of the executor must determine it.
	Answers *answers.Store
	// Viewer returns the viewer, "" for an anonymous one. Private responses are stored for one viewer each. If it
	// returns "" for a request with one of IdentityHeaders or a client certificate, the viewer is unknown, and nothing
	// private is stored or served. Default: nil, which distinguishes no viewers, so that nothing private is ever
	// stored.
	Viewer func(context.Context) string
	// IdentityHeaders name the headers that identify the viewer. [Handler.ServeCached] does not serve a request that
	// has one of them, and private responses vary by them. Default, if nil: Authorization and Cookie. List every header
	// from which Viewer, the resolvers or middleware in front of them derive an identity.
	IdentityHeaders []string
	// Watch notices statements that no source of the cache sends. A response that may depend on their rows is not
	// stored, neither here nor by an HTTP cache. Default: the Watch of the cache of Answers.
	Watch *cache.Watch
	// Log receives one message for each coordinate that prevents responses from being stored in this way. Default:
	// slog.Default().
	Log *slog.Logger
	// Computed reports whether a request must always be computed, such as one that requests a report. Default: none
	// must.
	Computed func(http.Header) bool
	// CachedVary names further headers that the responses of [Handler.ServeCached] vary by: those that are read by
	// middleware between it and the handler. Default: none.
	CachedVary string
	// TagHeader names the header that lists the names that a response depends on, for HTTP caches that purge by them:
	// Surrogate-Key, whose names are separated by spaces, or Cache-Tag, by commas. In the names, everything but visible
	// ASCII, and comma and % are percent-encoded. A response whose names take more than 4 KiB has no such header, and
	// is private for HTTP caches. Default: none.
	TagHeader string
	// Named is called before the response to an operation of a trusted document is written, with the operation's name and
	// the request's context; not for [Handler.ServeCached], which returns the name. May be nil.
	Named func(ctx context.Context, operation string)
}

// Limits of the memory of documents.
const (
	defaultDocumentBytes = 64 << 20 // in all, unless [Options] say otherwise
	registeredPart       = 8        // 1/registeredPart of it is for documents registered by their hash, as text
)

// ErrTimeout is the cause of the end of a request that took longer than Timeout.
var ErrTimeout = errors.New("transport: the request took longer than the server allows")

// answer is the response to one operation.
type answer struct {
	// Context is the context of the operation, with the values that interceptors added.
	Context  context.Context
	Response *graphql.Response

	name string // of the operation, if its document is trusted

	refused *refusal        // if it was not executed
	meaning []byte          // the canonical form of the operation and its variables; nil unless the response may be stored
	cached  *answers.Answer // the stored response to another request with the same meaning
}

// Handler serves GraphQL over HTTP: POST, and queries by GET and HEAD. It supports both media types, batches, automatic
// persisted queries, trusted documents and compression.
//
// A page of another origin can make a browser send a GET, a form or plain text without a preflight: the Handler never
// executes a mutation for such a request.
type Handler struct {
	exec       *executor.Executor
	o          Options
	server     uint32 // its number in the store of responses
	documents  *documents
	parsed     document.Cache
	validation *document.Validator
	compressor *answers.Compressor
	header     *answers.Header
	meanings   meanings
	identity   []string // canonical names of the headers that identify the viewer
	cookies    bool     // whether Cookie is one of them
	rare       []string // the ones other than Cookie and Authorization
	varyOwn    string   // further headers that private responses vary by
	cachedVary []string // the Vary of ServeCached
	memory     memoryLimit
	bodies     sync.Pool // of *[]byte, for bodies of at most lightBytes
	buffers    sync.Pool // of *[]byte, for responses
	hits       atomic.Uint64
	saved      atomic.Uint64
	logged     sync.Map // coordinates that were logged, see logUnknown
}

// NewHandler returns a Handler for an executor, whose extensions, error presenter and limits are set as usual with
// gqlgen. The Handler parses and validates documents itself, within a budget that the operations of a request share,
// and gives the executor its cache of parsed documents, which is limited by bytes. For invalid options it returns an
// error that lists every fault.
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
	if o.RequestBytes == 0 {
		o.RequestBytes = max(defaultRoom, 4*int64(o.MaxBodyBytes))
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
	var server uint32
	if o.Answers != nil {
		server = o.Answers.NewServer()
	}
	return &Handler{
		server:     server,
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
		memory:     memoryLimit{limit: o.RequestBytes},
		bodies:     sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }},
		buffers:    sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }},
	}, nil
}

// request is a request before it is decoded: everything except the data and the viewer that its
// response depends on.
type request struct {
	read     bool   // GET or HEAD
	body     []byte // the body of a POST, or the raw query of a GET
	media    media
	encoding answers.Encoding
	sender   sender
	done     func() // reports that the response was stored, or will not be
	batch    bool   // set once it is decoded
	leave    func() // ends its turn; may be called twice
	memory   *requestMemory
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buffer := h.bodies.Get().(*[]byte)
	defer h.putBody(buffer)
	memory := requestMemory{all: &h.memory}
	defer memory.release()
	in, refused := h.accept(w, r, buffer, &memory)
	if refused != nil {
		h.refuse(w, in, refused)
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	in.sender = h.senderOf(r)
	wish := h.wishOf(r.Header)
	a, done := h.find(r.Context(), in.question(), wish)
	defer done()
	if in.done = done; a != nil {
		h.reportName(r.Context(), a.Operation())
		h.writeCached(w, r, in, a)
		return
	}
	began := graphql.Now()
	list, batch, refused := h.decode(r.Context(), in, &memory)
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
	in.leave, in.memory = sync.OnceFunc(leave), &memory
	defer in.leave()
	if wish.fresh() {
		ctx = cache.NoCache(ctx)
	}
	if wish.nothing {
		ctx = context.WithValue(ctx, noStoreKey{}, true)
	}
	if wish.bare {
		ctx = cache.NoStore(ctx)
	}
	ctx = context.WithValue(ctx, senderKey{}, in.sender)
	if batch {
		ctx = cache.Together(ctx) // loaders of middleware may hold what other operations of the batch have read
	}
	ctx, collector := h.o.Watch.Collect(ctx, operation.PlaceOf)
	read := graphql.TraceTiming{Start: began, End: graphql.Now()}
	in.batch = batch
	computed := h.execute(ctx, list, in, wish, r.Header, read)
	h.write(w, r, in, wish, reply{computed, batch, collector})
}

const allowed = "GET, HEAD, POST, OPTIONS"

// accept reads the request, and refuses it if its headers show that it cannot be a GraphQL request.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, buffer *[]byte, memory *requestMemory) (request, *refusal) {
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
	if encoded(r.Header) {
		w.Header().Set("Accept-Encoding", "identity")
		return in, refuse(apierror.BadEncoding)
	}
	var refused *refusal
	in.body, refused = h.readAll(w, r, buffer, memory)
	return in, refused
}

// encoded reports whether a header names a coding of the content, in any of its lines.
func encoded(header http.Header) bool {
	for _, line := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// readAll reads the body into the buffer. What a client has not sent takes no memory.
func (h *Handler) readAll(w http.ResponseWriter, r *http.Request, buffer *[]byte, memory *requestMemory) ([]byte, *refusal) {
	body, limit := (*buffer)[:0], h.o.MaxBodyBytes
	var err error
	for err == nil && r.ContentLength <= int64(limit) && len(body) <= limit {
		if len(body) == cap(body) {
			var ok bool
			if body, ok = grow(body, limit+1, memory); !ok {
				w.Header().Set("Connection", "close") // as below
				return nil, h.full(r.Context())
			}
		}
		var n int
		n, err = r.Body.Read(body[len(body):min(cap(body), limit+1)])
		body = body[:len(body)+n]
	}
	*buffer = body
	switch {
	case r.ContentLength > int64(limit) || len(body) > limit:
		w.Header().Set("Connection", "close") // instead of reading and discarding the rest
		return nil, refuse(apierror.BodyTooLarge, limit)
	// The length is compared as well: if a body of net/http ended early in an earlier read, as by ServeCached, later
	// reads report a regular end.
	case err != io.EOF, r.ContentLength >= 0 && int64(len(body)) != r.ContentLength:
		return nil, refuse(apierror.BrokenBody)
	}
	return body, nil
}

// decode reads the operations of the request.
func (h *Handler) decode(ctx context.Context, in request, memory *requestMemory) (list []params, batch bool, _ *refusal) {
	weight := weigh
	if in.read {
		weight = weighURL
	}
	if !memory.reserve(memory.weight + weight(in.body)) {
		return nil, false, h.full(ctx)
	}
	if !in.read {
		return readBody(in.body, h.o.MaxBatch)
	}
	p, refused := readURL(string(in.body))
	return []params{p}, false, refused
}

// DocumentBytes returns the approximate memory of documents, after those beyond the limit have been
// dropped.
func (h *Handler) DocumentBytes() uint64 {
	h.documents.registered.CleanUp()
	return h.parsed.Bytes() + h.documents.registered.WeightedSize()
}

// pooledBytes is the size from which on memory of one request is not used again for others.
const pooledBytes = 64 << 10

// putBody returns the buffer of a body to the pool, unless the body has made it large: a buffer that is used again is not
// weighed.
func (h *Handler) putBody(buffer *[]byte) {
	if cap(*buffer) <= lightBytes {
		h.bodies.Put(buffer)
	}
}

// put returns a buffer to the pool, unless a large response has made it large.
func (h *Handler) put(buffer *[]byte) {
	if cap(*buffer) <= pooledBytes {
		h.buffers.Put(buffer)
	}
}
