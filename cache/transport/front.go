package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/internal/operation"
	"fieldcache/cache/policy"
)

// FrontOptions are the options of a [Front]. [Options] documents those that it has as well.
type FrontOptions struct {
	// Answers is required. It and the fields below are as in [Options]. Fronts may share it, and serve only their own
	// responses.
	Answers         *answers.Store
	Viewer          func(context.Context) string
	IdentityHeaders []string
	Watch           *cache.Watch
	Log             *slog.Logger
	// Variant returns what else of a request its response depends on: requests of different variants are different. May be
	// nil.
	Variant func(context.Context) string
	// Vary are the headers from which Variant follows.
	Vary []string
	// MaxBodyBytes is the largest request whose response may be stored; larger ones are passed on. Default: 64 KiB
	MaxBodyBytes int
	// Written is called before the response to a mutation is sent to the client. May be nil.
	Written func(context.Context)
}

// Front stands in front of a GraphQL handler that executes operations itself, such as gqlgen's own. It serves repeated
// requests from the store, with an ETag and the headers that say how long a response may be cached, and passes on all
// others. A request that is not GraphQL over HTTP (a websocket, server-sent events, multipart in either direction) is
// passed on unchanged, with the original ResponseWriter.
//
// The handler behind it must report by [Tell] what it executed; a response that is not reported is not stored.
type Front struct {
	stored *Handler // serves stored responses; it has no executor, and is not exported
	next   http.Handler
	o      FrontOptions
	vary   string // the headers that every response varies by

	sees  atomic.Bool // whether any request had a viewer here: authentication runs in front
	blind atomic.Bool // whether a request whose sender seemed anonymous had a viewer behind
}

// NewFront returns a Front of next. It returns an error for invalid options.
func NewFront(next http.Handler, o FrontOptions) (*Front, error) {
	options := Options{Answers: o.Answers, Viewer: o.Viewer, IdentityHeaders: o.IdentityHeaders, Watch: o.Watch, Log: o.Log}
	identity, err := options.check()
	if err != nil {
		return nil, fmt.Errorf("transport: options of a front: %w", err)
	}
	if err := CheckVary(o.Vary); err != nil {
		return nil, fmt.Errorf("transport: options of a front: %w", err)
	}
	if next == nil || o.Answers == nil {
		return nil, fmt.Errorf("transport: NewFront needs a handler and FrontOptions.Answers")
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = plainBytes
	}
	if options.Watch == nil {
		options.Watch = o.Answers.Watch()
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	options.Computed = func(http.Header) bool { return false }
	compressor, err := answers.NewCompressor()
	if err != nil {
		return nil, err
	}
	return &Front{next: next, o: o, vary: strings.Join(append([]string{varies}, o.Vary...), ", "), stored: &Handler{
		o: options, server: o.Answers.NewServer(), compressor: compressor, header: answers.NewHeader(),
		identity: identity, varyOwn: strings.Join(identity, ", "),
	}}, nil
}

// StatementsSaved is [Handler.StatementsSaved] for the responses that the Front did not pass on unchanged.
func (f *Front) StatementsSaved() uint64 { return f.stored.saved.Load() }

// Executed is the report of an executed operation: see [Tell].
type Executed struct {
	Overall  policy.Overall // how the response may be kept
	Viewer   string         // for whom it was executed
	Mutation bool
}

// Tell reports an executed operation to the [Front] that ctx passed, if any. Call it when the response is complete. It
// is safe for concurrent use.
func Tell(ctx context.Context, e Executed) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.executed = append(x.executed, e)
}

type exchangeKey struct{}

// exchange is a request that was passed on to be executed.
type exchange struct {
	mu       sync.Mutex
	executed []Executed
}

// mutates reports whether a mutation was executed.
func (x *exchange) mutates() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.executed {
		if e.Mutation {
			return true
		}
	}
	return false
}

// overall returns how the response to a may be cached.
func (x *exchange) overall(a sender) policy.Overall {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.executed) != 1 || x.executed[0].Mutation {
		return policy.Overall{}
	}
	e := x.executed[0]
	if e.Overall.Scope == cache.Private && e.Viewer != a.viewer {
		return policy.Overall{} // the viewer was determined behind the front
	}
	return e.Overall
}

// ServeHTTP implements [http.Handler].
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in, ok := f.take(r)
	if !ok {
		f.passOn(w, r)
		return
	}
	in.sender = f.senderOf(r)
	wish := f.stored.wishOf(r.Header)
	a, done := f.stored.find(r.Context(), in.question(), wish)
	defer done()
	if in.done = done; a != nil {
		w.Header().Add("Vary", f.vary)
		f.stored.writeCached(w, r, in, a)
		return
	}
	if wish.only {
		w.Header().Add("Vary", f.vary)
		in.media = negotiateMedia(r.Header["Accept"])
		f.stored.refuse(w, in, notCached())
		return
	}
	ctx := r.Context()
	if wish.fresh() {
		ctx = cache.NoCache(ctx)
	}
	if wish.bare {
		ctx = cache.NoStore(ctx)
	}
	ctx, collector := f.stored.o.Watch.Collect(ctx, operation.PlaceOf)
	x := &exchange{}
	held := &heldResponse{ResponseWriter: w, before: w.Header().Clone(), passing: in.done}
	f.next.ServeHTTP(held, r.WithContext(context.WithValue(ctx, exchangeKey{}, x)))
	f.learn(ctx, x, in.sender)
	mutates := x.mutates()
	if mutates && f.o.Written != nil {
		f.o.Written(ctx) // evicts what was committed around the operation, too
	}
	if held.passed {
		return
	}
	f.finish(w, r, in, wish, held, x, collector.Deps(), mutates)
}

// senderOf returns the sender of a request. One without a viewer is only taken for anonymous if authentication is known
// to run in front: else it may run behind, by something that is not known to identify anyone.
func (f *Front) senderOf(r *http.Request) sender {
	a := f.stored.senderOf(r)
	if a.viewer != "" && !f.sees.Load() {
		f.sees.Store(true)
	}
	a.anonymous = a.anonymous && f.sees.Load() && !f.blind.Load()
	return a
}

// learn notices that a sender who seemed anonymous has a viewer behind the front.
func (f *Front) learn(ctx context.Context, x *exchange, a sender) {
	if !a.anonymous {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if slices.ContainsFunc(x.executed, func(e Executed) bool { return e.Viewer != "" }) && !f.blind.Swap(true) {
		f.stored.o.Log.WarnContext(ctx, "a request has a viewer whom only the server behind knows, so that private responses to anonymous viewers are not stored: "+
			"authenticate in front of the handler, or name the header in IdentityHeaders")
	}
}

// passOn passes on a request that the front does not handle, with the original ResponseWriter.
func (f *Front) passOn(w http.ResponseWriter, r *http.Request) {
	if f.o.Written == nil || operation.OpensWebsocket(r.Header) { // a websocket reports operations for as long as it is open
		f.next.ServeHTTP(w, r)
		return
	}
	x := &exchange{}
	f.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	if x.mutates() {
		f.o.Written(r.Context())
	}
}

// finish stores and writes a response that was buffered.
func (f *Front) finish(w http.ResponseWriter, r *http.Request, in request, wish wish, held *heldResponse, x *exchange, deps cache.Deps, mutates bool) {
	header := w.Header()
	overall := x.overall(in.sender)
	if !held.isJSON(header) || header.Get("Cache-Control") != "" {
		if overall.MaxAge > 0 && held.isJSON(header) {
			f.logHeader(r.Context(), "Cache-Control")
		}
		held.pass() // other code says how it may be cached
		return
	}
	f.stored.saved.Add(uint64(deps.Saved)) //nolint:gosec // a count
	if held.status != http.StatusOK || overall.MaxAge > 0 && !dataAlone(held.body.Bytes()) {
		overall = policy.Overall{} // no HTTP cache may store it either
	}
	if overall.MaxAge > 0 && len(deps.Unknown) > 0 {
		f.stored.logUnknown(r.Context(), deps, overall.Scope, in.sender)
		overall = policy.Overall{}
	}
	computed := answers.Computed{
		Status: held.status, ContentType: header.Get("Content-Type"), Body: bytes.Clone(held.body.Bytes()),
		MaxAge: overall.MaxAge, Scope: overall.Scope, Deps: deps,
	}
	if overall.MaxAge > 0 && overall.Scope == cache.Private {
		computed.Vary = f.stored.varyOwn
	}
	now := time.Now()
	a := answers.NewAnswer(computed, now).In(in.encoding, f.stored.compressor)
	stored := overall.MaxAge > 0 && !wish.nothing
	if own := held.ownHeader(); stored && own != "" {
		stored = false
		f.logHeader(r.Context(), own)
	}
	if stored {
		stored = f.o.Answers.Put(in.question(), a)
	}
	in.done()
	header.Del("Content-Length")
	if held.status != http.StatusOK {
		header.Set("Cache-Control", "no-store")
		held.pass()
		return
	}
	header.Add("Vary", f.vary)
	f.stored.header.WriteComputed(w, r, a, in.encoding, statusOf(deps, stored, mutates || wish.nothing), now)
}

// logHeader logs, once for each header, that a response was not stored because of it.
func (f *Front) logHeader(ctx context.Context, name string) {
	if _, logged := f.stored.logged.LoadOrStore("header "+name, nil); !logged {
		f.stored.o.Log.WarnContext(ctx, "responses are not stored: other code than the cache sets a header of theirs", "header", name)
	}
}

// dataAlone reports whether a body has data and nothing else, so that it is the response that [Tell] reported: an error or
// an extension that was added afterwards belongs to one request.
func dataAlone(body []byte) bool {
	only := false
	r := newJSONReader(body)
	defer r.close()
	err := r.object(func(name string) error {
		only = name == "data"
		if !only {
			return errKind
		}
		return r.SkipValue()
	})
	return only && err == nil && r.end() == nil
}

// take reads a request that may be served from the store. It leaves a request that it does not take unchanged. Clients that
// support several transports list them all in each request: such a request is taken, and a handler that streams shows it by
// Flush or its Content-Type.
func (f *Front) take(r *http.Request) (in request, ok bool) {
	in = request{encoding: negotiateEncoding(r.Header["Accept-Encoding"]), done: func() {}}
	accept := strings.Join(r.Header["Accept"], ",")
	streams := strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "multipart/")
	if operation.OpensWebsocket(r.Header) || streams && !strings.Contains(accept, "application/json") && !strings.Contains(accept, "application/graphql-response+json") {
		return in, false
	}
	var text bytes.Buffer
	// Middleware behind the front may distinguish origins by headers of the response, which a stored response does not
	// have.
	origin := strings.Join(r.Header["Origin"], ",")
	if f.o.Variant != nil {
		text.WriteString(strconv.Quote(f.o.Variant(r.Context())))
	}
	text.WriteString(r.Method + "\x00" + r.URL.Path + "\x00" + accept + "\x00" + origin + "\x00")
	switch r.Method {
	case http.MethodGet:
		if query := r.URL.Query(); !query.Has("query") && !query.Has("extensions") {
			return in, false
		}
	case http.MethodPost:
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || kind != "application/json" && kind != "application/graphql-response+json" || encoded(r.Header) ||
			r.ContentLength <= 0 || r.ContentLength > int64(f.o.MaxBodyBytes) {
			return in, false
		}
		text.WriteString(kind + "\x00")
	default:
		return in, false
	}
	text.WriteString(r.URL.RawQuery + "\x00")
	if r.Method == http.MethodPost {
		begin := text.Len()
		_, err := io.CopyN(&text, r.Body, r.ContentLength)
		body := bytes.Clone(text.Bytes()[begin:])
		rest := r.Body
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), rest), rest}
		if err != nil {
			return in, false
		}
	}
	in.body = text.Bytes()
	return in, true
}
