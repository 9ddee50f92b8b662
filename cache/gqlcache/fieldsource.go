package gqlcache

import (
	"context"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/internal/operation"
)

// fieldCall is a field to be resolved.
type fieldCall struct {
	*cachedField
	ctx      context.Context // the context that the resolver gets
	run      *fieldRun       // the response that it is for
	receiver reflect.Value
	args     map[string]any
	// selection is the digest of the selection, if it is part of the key; else "".
	selection string
	alone     atomic.Bool // whether the resolver was called for it, and for nothing else
	called    atomic.Bool // whether the resolver was called for it
}

// fieldSource resolves the fields of all coordinates.
type fieldSource struct{ f *Fields }

// Load implements [cache.Source]. All resolvers run concurrently, so that loaders behind them batch their requests. A
// batch resolver is called once for all objects that it can resolve together.
func (s *fieldSource) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	groups := together(requests)
	var wg sync.WaitGroup
	for i, g := range groups {
		if i == len(groups)-1 {
			s.resolve(ctx, g, values)
		} else {
			wg.Go(func() { s.resolve(ctx, g, values) })
		}
	}
	wg.Wait()
	return values, cache.Snapshot{}, nil
}

// callGroup is calls that share one call of a resolver, and their indexes among the requests.
type callGroup struct {
	calls []*fieldCall
	at    []int
}

// together groups calls of batch resolvers by response, coordinate and arguments. Other calls form
// their own groups. Calls of several responses are not grouped, since they may belong to different
// viewers.
func together(requests []cache.Request) []callGroup {
	groups := make([]callGroup, 0, len(requests))
	for i, r := range requests {
		call := r.Arg.(*fieldCall)
		at := -1
		if call.resolver.Batch {
			at = slices.IndexFunc(groups, func(g callGroup) bool { return g.calls[0].joins(call) })
		}
		if at < 0 {
			at = len(groups)
			groups = append(groups, callGroup{})
		}
		g := &groups[at]
		g.calls, g.at = append(g.calls, call), append(g.at, i)
	}
	return groups
}

// joins reports whether one call of a batch resolver may resolve both.
func (c *fieldCall) joins(other *fieldCall) bool {
	return c.cachedField == other.cachedField && c.run == other.run && c.selection == other.selection && reflect.DeepEqual(c.args, other.args)
}

// Also implements [cache.Source].
func (*fieldSource) Also(cache.Request) []cache.Request { return nil }

// Decode implements [cache.Source].
func (*fieldSource) Decode(r cache.Request, data []byte) (any, error) {
	return r.Arg.(*fieldCall).codec.Decode(data)
}

// Shape implements [cache.Shaper].
func (*fieldSource) Shape(r cache.Request) string { return r.Arg.(*fieldCall).codec.Shape() }

// resolve calls a resolver, determines how its values may be stored, and puts them into values, at
// their indexes.
func (s *fieldSource) resolve(ctx context.Context, g callGroup, values []any) {
	loaded := make([]cache.Loaded, len(g.calls))
	for i, at := range g.at {
		values[at] = &loaded[i]
	}
	since := cache.BeganAt(g.calls[0].ctx)
	// If the request of the calls has ended, so may have what belongs to it and the resolver reads by: a
	// transaction that middleware rolls back, or loaders with its context. That is no error of others.
	failed := func(err error) cache.Loaded {
		call := g.calls[0]
		return cache.Loaded{Err: err, Since: since, Alone: call.ctx.Err() != nil || s.f.viewerChanged(call)}
	}
	fail := func(err error) {
		for i := range loaded {
			loaded[i] = failed(err)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			s.f.o.Log.ErrorContext(ctx, "a resolver panicked", "coordinate", g.calls[0].coordinate, "panic", p, "stack", string(stack))
			fail(&cache.PanicError{Value: p, Stack: stack})
		}
	}()
	for _, c := range g.calls {
		c.called.Store(true)
	}
	call := g.calls[0]
	ctx = cache.LoadContext(ctx, call.ctx)
	collect, observed := s.f.o.Cache.Watch().CollectApart, s.f.o.Observer != nil && !call.follows
	if observed {
		collect = s.f.o.Cache.Watch().CollectStatements
	}
	ctx, collector := collect(ctx, operation.PlaceOf)
	notes := new(resolverNotes)
	ctx = context.WithValue(ctx, resolverNotesKey{}, notes)
	errorsBefore := len(graphql.GetErrors(call.ctx))
	looking := &operation.Looking{Context: ctx}
	results, errs, err := g.call(looking)
	if looking.Looked() && call.selection == "" {
		call.selective.Store(true)
	}
	call.alone.Store(len(g.calls) == 1)
	if err != nil {
		fail(err)
		return
	}
	deps := collector.Deps()
	foreign := len(deps.Unknown) > 0
	if deps.Unknown = nil; call.follows && deps.Unstorable == cache.UnknownReason {
		deps.Unstorable = "" // the field's own statements are declared
	}
	if observed && len(deps.Statements) > 0 && deps.Unstorable == "" {
		tags, unknown := s.f.o.Observer.Observe(ctx, deps.Statements)
		deps.Unstorable = unknown
		notes.tags = append(notes.tags, tags...)
	}
	if deps.Standby {
		call.logOnce(s.f.o.Log, "a field's values are not stored", cache.StandbyReason)
	}
	erred, unstored := len(graphql.GetErrors(call.ctx)) != errorsBefore, ""
	another := s.f.viewerChanged(call)
	if erred {
		call.run.erred.Store(true)
	}
	switch {
	case another:
		unstored = "the viewer changed while it was resolved"
	case observed && call.run.connected:
		unstored = "its loaders may hold what earlier operations of the connection read"
	case call.selection == "" && call.selective.Load():
		unstored = "its resolver looks at what is selected"
	case erred:
		unstored = "there were errors beside it"
	case notes.hinted:
		unstored = "its resolver says itself how long it may be stored"
	case len(deps.Names) > 0 && !foreign && len(notes.tags) == 0:
		call.passes.Store(true)
		unstored = "its parts are cached by themselves"
	default:
		unstored = deps.Unstorable
	}
	for i := range loaded {
		if errs != nil && errs[i] != nil {
			loaded[i] = failed(errs[i])
			continue
		}
		loaded[i].Deps, loaded[i].Unstored, loaded[i].Since = &deps, unstored, since
		loaded[i].Alone = erred || notes.hinted || another // the response to another request would lack the errors and the hints
		s.take(&loaded[i], call.cachedField, results[i], notes.tags)
	}
}

// viewerChanged reports whether a private field was, or may have been, resolved for another viewer
// than that of its key: somebody else may sign in on a connection whose context has the session.
func (f *Fields) viewerChanged(call *fieldCall) bool {
	return call.private && f.o.Viewer(call.ctx) != call.run.viewer
}

// call calls the resolver.
func (g callGroup) call(ctx context.Context) (values []reflect.Value, errs []error, err error) {
	call := g.calls[0]
	if call.resolver.Batch {
		parents := make([]reflect.Value, len(g.calls))
		for i, c := range g.calls {
			parents[i] = c.receiver
		}
		return call.resolver.CallBatch(ctx, parents, call.args)
	}
	v, err := call.resolver.Call(ctx, call.receiver, call.args)
	return []reflect.Value{v}, nil, err
}

// take turns a value into the result of the source: it adds the tags of its objects, and whether it
// may leave this process.
func (s *fieldSource) take(loaded *cache.Loaded, c *cachedField, v reflect.Value, tags []cache.Tag) {
	box := c.codec.Box(v.Interface())
	loaded.Value = box
	var named bool
	loaded.Tags, named = c.appendHeld(slices.Clip(tags), v)
	switch {
	case loaded.Unstored != "":
	case !named:
		loaded.Unstored = "what it holds cannot be named"
	default:
		if err := c.codec.Survives(box); err != nil {
			loaded.Local = err.Error()
			c.logOnce(s.f.o.Log, "a field's values stay in this process: they do not survive JSON", loaded.Local)
		}
	}
}

// logOnce logs a message about a coordinate once.
func (c *cachedField) logOnce(log *slog.Logger, message, why string) {
	if _, logged := c.logged.LoadOrStore(message, struct{}{}); !logged {
		log.Warn(message, "coordinate", c.coordinate, "reason", why)
	}
}
