package gqlcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/cache/policy"
	"fieldcache/cache/transport"
)

// Directives is the SDL of the directives that this package reads, for a schema that has none of
// them. The file directives.graphqls beside it, which gqlgen.yml can list, has the same text. None
// of them needs code: set skip_runtime: true for each under directives in gqlgen.yml.
const Directives = policy.Directives

// Gateway caches the responses of a gqlgen schema. It is made by [Open], and safe for concurrent
// use.
type Gateway struct {
	o       Options
	plan    *FieldPlan
	cache   *cache.Cache
	answers *answers.Store
	hints   *Hints
	fields  *Fields

	mu       sync.Mutex
	fronts   []*transport.Front            // guarded by mu
	handlers map[http.Handler]http.Handler // by the handler behind; guarded by mu
	many     bool                          // whether there were more than maxServers; guarded by mu
	twice    atomic.Bool                   // whether a server with two Gateways was reported

	used  atomic.Int64 // how often Use was called with it
	early atomic.Bool  // whether its handler served before Use

	closes []func() error // the newest part last
	once   sync.Once
	closed error
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
	graphql.ResponseInterceptor
} = (*Gateway)(nil)

// ExtensionName implements gqlgen's extension.
func (*Gateway) ExtensionName() string { return "fieldcache" }

// Validate implements gqlgen's extension, whose Use panics with its error. It refuses another
// schema than the opened one, a schema that another open Gateway is used with, and a server that
// has served without the Gateway. It warns of a server with other resolvers than [Open] was given.
func (g *Gateway) Validate(es graphql.ExecutableSchema) error {
	if es.Schema() != g.plan.schema {
		return errors.New("gqlcache: this Gateway was opened for another schema: give Open the schema that the server has")
	}
	if g.early.Load() {
		return errors.New("gqlcache: the server has served already: call its Use before it serves, since gqlgen changes it without a lock")
	}
	if err := errors.Join(g.hints.Validate(es), g.fields.Validate(es)); err != nil {
		return err
	}
	// A project may make a server for each request.
	if g.used.Load() < maxServers && reflect.TypeOf(es).Comparable() { // as gqlgen makes it
		if first, _ := inUse.LoadOrStore(es, g); first != g {
			return errors.New("gqlcache: another Gateway is used with this schema: Use one for all servers of a schema, or Close the other one first")
		}
	}
	if !gotype.SameResolvers(es, g.plan.executable) {
		g.o.Log.Warn("a server with other resolvers than Open was given shares the cached values of this Gateway: open one Gateway for each set of resolvers, or give Open the value that handler.New gets")
	}
	g.used.Add(1)
	return nil
}

// maxServers bounds how many servers and handlers a Gateway remembers.
const maxServers = 100

// inUse maps each executable schema of a server to the Gateway it uses. An extension sees only the
// schema of its server, so only this map shows a second Gateway.
var inUse sync.Map // of graphql.ExecutableSchema, to *Gateway

type (
	gatewayKey    struct{}
	respondingKey struct{}
)

// laterKey is the key under which a mutation's context has the evictions to execute after the
// commit.
type laterKey struct{}

type laterEvictions struct {
	mu sync.Mutex
	ev cache.Eviction
}

func (l *laterEvictions) add(ev cache.Eviction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ev.Add(ev)
}

// take returns the evictions that were added, once.
func (l *laterEvictions) take() cache.Eviction {
	l.mu.Lock()
	defer l.mu.Unlock()
	ev := l.ev
	l.ev = cache.Eviction{}
	return ev
}

// InterceptOperation implements gqlgen's extension. gqlgen calls the handler that it returns around
// all response interceptors, whichever extension was used first: writes of a mutation are evicted
// after a transaction that one of them commits.
func (g *Gateway) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	if first, _ := ctx.Value(gatewayKey{}).(*Gateway); first != nil {
		if first != g && !g.twice.Swap(true) { // using the same Gateway twice has no further effect
			g.o.Log.ErrorContext(ctx, "a server uses this Gateway beside one that was closed, which is the one that caches: make a new server for it")
		}
		return next(ctx)
	}
	ctx = context.WithValue(ctx, gatewayKey{}, g)
	if oc.Operation == nil || oc.Operation.Operation == ast.Subscription {
		return next(ctx)
	}
	mutates := oc.Operation.Operation == ast.Mutation
	later := &laterEvictions{}
	if mutates {
		// Its fields may see uncommitted rows, and must see their own writes.
		ctx = context.WithValue(cache.NoStore(cache.NoCache(ctx)), laterKey{}, later)
	}
	responses := g.hints.InterceptOperation(ctx, func(ctx context.Context) graphql.ResponseHandler {
		return g.fields.InterceptOperation(ctx, next)
	})
	return func(ctx context.Context) *graphql.Response {
		r := func() *graphql.Response {
			if mutates {
				defer func() { // also if an extension panics
					g.evictLater(ctx, later)
					g.catchUp(ctx)
				}()
			}
			return responses(ctx)
		}()
		if r != nil {
			executed := transport.Executed{Mutation: mutates, Viewer: g.viewer(ctx)}
			if len(r.Extensions) == 0 && len(r.Errors) == 0 && resolvedAny(ctx) && !introspects(ctx) {
				executed.Overall = policy.OverallOf(ctx)
			}
			transport.Tell(ctx, executed)
		}
		return r
	}
}

// InterceptResponse implements gqlgen's extension.
func (g *Gateway) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if ctx.Value(gatewayKey{}) != any(g) {
		return next(ctx)
	}
	if g.used.Load() > 1 { // by several servers, or twice by one
		if ctx.Value(respondingKey{}) == any(g) {
			return next(ctx)
		}
		ctx = context.WithValue(ctx, respondingKey{}, g)
	}
	return g.hints.InterceptResponse(ctx, func(ctx context.Context) *graphql.Response {
		return g.fields.InterceptResponse(ctx, next)
	})
}

func (g *Gateway) viewer(ctx context.Context) string {
	if g.o.Viewer == nil {
		return ""
	}
	return g.o.Viewer(ctx)
}

// evictLater evicts what the directives of a mutation name.
func (g *Gateway) evictLater(ctx context.Context, later *laterEvictions) {
	if ev := later.take(); !ev.Empty() {
		if err := g.Evict(context.WithoutCancel(ctx), ev); err != nil {
			g.o.Log.WarnContext(ctx, "eviction after a mutation is delayed", "error", err)
		}
	}
}

// catchUp evicts what was committed until now.
func (g *Gateway) catchUp(ctx context.Context) {
	if err := g.cache.CatchUp(ctx); err != nil {
		g.o.Log.WarnContext(ctx, "eviction after a mutation is delayed", "error", err)
	}
}

// Handler returns a handler in front of the project's own gqlgen server. It adds an ETag and the
// headers that say for how long a response may be cached, and serves repeated requests from memory.
// It passes requests that are not GraphQL over HTTP (websockets, server-sent events, uploads, the
// page of a playground) to next unchanged. The server behind next must Use the Gateway.
//
// Middleware that authenticates may be in front of the handler or behind it. Middleware that
// refuses requests belongs in front of it: a public response in memory is served to every request
// that reaches the handler. So does middleware that sets headers of its own, such as CORS: a
// response with further headers is not stored. Middleware that commits a transaction around a
// mutation belongs behind it: a commit in front of it comes after the evictions, and other requests
// may read the old entries until the next poll, for a lease at most.
//
// Handler panics if next is nil. It may be called for several servers of one schema, each of which
// has its own responses in memory. They share the values of fields. A server that is made for each
// request never finds a response there.
func (g *Gateway) Handler(next http.Handler) http.Handler {
	g.mu.Lock()
	defer g.mu.Unlock()
	if next == nil || !reflect.ValueOf(next).Comparable() {
		return g.newHandler(next)
	}
	h := g.handlers[next] // a project may call Handler for each request
	if h == nil {
		h = g.newHandler(next)
		if g.handlers == nil {
			g.handlers = map[http.Handler]http.Handler{}
		}
		if !g.many {
			g.handlers[next] = h
		}
	}
	return h
}

// newHandler makes a handler in front of next. The caller holds mu.
func (g *Gateway) newHandler(next http.Handler) http.Handler {
	if inner := next; inner != nil {
		next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g.used.Load() == 0 && !g.early.Swap(true) {
				g.o.Log.ErrorContext(r.Context(), "nothing is cached: the server behind Handler does not Use the Gateway")
			}
			// A field's value may depend on what middleware behind this handler reads, and on what loaders have read
			// for other operations of a batch, or of a websocket since it was opened.
			inner.ServeHTTP(w, r.WithContext(g.cache.Begin(r.Context())))
		})
	}
	options := transport.FrontOptions{
		Answers: g.answers, Viewer: g.o.Viewer, IdentityHeaders: g.o.IdentityHeaders, Watch: g.cache.Watch(), Log: g.o.Log,
		Written: g.catchUp, Vary: g.o.Vary,
	}
	if g.o.Variant != nil {
		options.Variant = func(ctx context.Context) string { v, _ := variantOf(ctx); return v }
	}
	front, err := transport.NewFront(next, options)
	if err != nil {
		panic(fmt.Sprintf("gqlcache: Handler: %v", err)) // only next can be wrong: Open checked the options
	}
	if len(g.fronts) < maxServers {
		g.fronts = append(g.fronts, front)
	} else if !g.many {
		g.many = true
		g.o.Log.Error("Handler was called for a new server again and again: call it once, and not for each request; no response is served from memory otherwise", "times", len(g.fronts)+1)
	}
	if g.o.Variant == nil {
		return front
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		front.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), variantKey{}, g.o.Variant(r))))
	})
}

// variantKey is the key under which the context of a request has its variant.
type variantKey struct{}

// variantOf returns the variant of a request. It is unknown for one that did not pass [Gateway.Handler].
func variantOf(ctx context.Context) (variant string, known bool) {
	variant, known = ctx.Value(variantKey{}).(string)
	return variant, known
}

// statementsSaved returns the sum over its handlers.
func (g *Gateway) statementsSaved() (n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.fronts {
		n += f.StatementsSaved()
	}
	return n
}

// Evict evicts values that became stale without a write to the database, in this process and,
// through the outbox and Redis, in all others. It is for other services, jobs and files: writes to
// tables are noticed anyway. If the eviction names the value of a field that is being resolved,
// that value is not stored. An error means that the eviction may take until the next poll, or is
// lost if there is no database. [cache.Named] and [cache.Type] return tags.
func (g *Gateway) Evict(ctx context.Context, ev cache.Eviction) error {
	_, err := g.cache.EvictByHand(ctx, ev)
	return err
}

// Warnings returns every age in the schema that has no effect, with its coordinate and the reason.
func (g *Gateway) Warnings() []string { return g.plan.Warnings() }

// Close stops following the database and closes what [Open] opened, but not the database. It waits
// for loads in flight. The server must not serve requests after Close. Later calls return the
// result of the first one.
func (g *Gateway) Close() error {
	g.once.Do(func() {
		inUse.Range(func(es, of any) bool {
			if of == g {
				inUse.Delete(es)
			}
			return true
		})
		var errs []error
		for i := len(g.closes) - 1; i >= 0; i-- {
			errs = append(errs, g.closes[i]())
		}
		g.closed = errors.Join(errs...)
	})
	return g.closed
}

func (g *Gateway) closing(close func() error) { g.closes = append(g.closes, close) }

// orDefault returns log, or the default logger if log is nil.
func orDefault(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.Default()
	}
	return log
}
