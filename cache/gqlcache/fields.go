package gqlcache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/cache/internal/operation"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// FieldsOptions are the options of [NewFields].
type FieldsOptions struct {
	// Cache stores the values. Required.
	Cache *cache.Cache
	// Plan is the plan of the schema. Required.
	Plan *FieldPlan
	// Rows names the tags of the rows of [FieldPlan.Rows]. If nil, writes to rows are not followed,
	// and a field that depends on rows is not cached.
	Rows *outbox.RowTags
	// Viewer returns the viewer, or "" for an anonymous one. If nil, private fields are not cached.
	Viewer func(context.Context) string
	// Variant returns the variant of the request, and reports whether it is known: see [Options]. A
	// request of an unknown variant is served nothing cached. If nil, there are no variants.
	Variant func(context.Context) (variant string, known bool)
	// Observer determines what the statements of resolvers and their loaders read that no directive
	// declares. The Watch of the Cache reports the statements. If nil, a value that depends on such
	// a statement is not stored.
	Observer *outbox.Observer
	// RequestLoaders says that no loader reads for two requests at once: see [Options].
	RequestLoaders bool
	// CatchUp reads from the outbox, after each field of a mutation, what it wrote. If false, the
	// resolvers evict what they write.
	CatchUp bool
	// Batch returns the batch of a response, whose fields are counted elsewhere, for example by
	// [FieldCount]. If nil, each response gets its own batch, and its fields are counted here.
	Batch func(context.Context) *cache.Batch
	// Nobody returns ctx as the context of an anonymous viewer, for audits of public fields. If
	// nil, only gqlgen's own values of ctx remain.
	Nobody func(ctx context.Context) context.Context
	// Log receives, once for each coordinate, a message about values that cannot be shared. Default: slog.Default().
	Log *slog.Logger
}

// Fields is a gqlgen extension that caches the value of every field that has a resolver and an age.
// The cache is innermost: other middleware of a field, such as an access check, runs for hits as
// well.
type Fields struct {
	o       FieldsOptions
	fields  map[string]map[string]*cachedField
	source  *fieldSource
	forms   operation.Memo[ast.Field, string] // see selectionText
	count   *FieldCount                       // nil if FieldsOptions.Batch is given
	directs bool                              // whether any directive has code
	methods sync.Map                          // of bool by modelMethod: whether it takes a context
	strict  bool                              // a statement outside of the field cache prevents the whole response from being stored
}

// cachedField is a planned field with the tags of its rows.
type cachedField struct {
	*plannedField
	rows    []boundRows
	objects map[string]boundHeld
	// passes says that the resolver reads only through the cache: then the field itself is not stored.
	passes atomic.Bool
	// barred says that an audit found a fault: the field is not cached until an operator evicts its coordinate.
	barred atomic.Bool
	// selective says that the resolver reads the selection of its field: then the selection is part of the key.
	selective atomic.Bool
	item      cache.Item // without its key and tags
	logged    sync.Map   // reasons that have been logged
}

type boundRows struct {
	tag      *outbox.RowTag
	values   []reference
	optional []bool         // see dependency
	fewer    *outbox.RowTag // of the rows without optional conditions
}

type boundHeld struct {
	dependsOn []boundRows
	whole     []*outbox.RowTag
	tags      []compiledText
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
	graphql.ResponseInterceptor
} = (*Fields)(nil)

// NewFields returns a field cache.
func NewFields(o FieldsOptions) (*Fields, error) {
	if o.Cache == nil || o.Plan == nil {
		return nil, errors.New("gqlcache: FieldsOptions needs Cache and Plan")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	f := &Fields{o: o, fields: map[string]map[string]*cachedField{}}
	f.source = &fieldSource{f}
	f.directs = len(o.Plan.coded) > 0 || o.Plan.types.Directs()
	if o.Observer != nil {
		o.Cache.Watch().RememberStatements(o.RequestLoaders)
	}
	if o.Batch == nil {
		f.count = new(FieldCount)
	}
	var faults []error
	var unseen, unfollowed []string // coordinates
	for object, fields := range o.Plan.fields {
		f.fields[object] = map[string]*cachedField{}
		for name, planned := range fields {
			if planned.private && o.Viewer == nil {
				unseen = append(unseen, planned.coordinate)
				continue
			}
			if o.Rows == nil && planned.ofRows() {
				unfollowed = append(unfollowed, planned.coordinate)
				continue
			}
			c, err := f.bind(planned)
			if err != nil {
				faults = append(faults, err)
			} else {
				c.item = cache.Item{
					MaxAge: c.maxAge, StaleWhileRevalidate: c.revalidate, StaleIfError: c.ifError, Meter: o.Cache.Meter(c.coordinate),
				}
				f.fields[object][name] = c
			}
		}
	}
	for because, fields := range map[string][]string{
		"private fields are not cached: no Viewer is set":                           unseen,
		"fields are not cached: they are made of rows, and no database is followed": unfollowed,
	} {
		if len(fields) > 0 {
			slices.Sort(fields)
			o.Log.Warn(because, "coordinates", fields)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return f, err
	}
	o.Cache.OnOthers(f.evictedByOthers) // before bars are read, so that none is missed
	return f, f.readBars()
}

// ofRows reports whether the field's value, or an object in it, depends on rows.
func (fl *plannedField) ofRows() bool {
	for _, h := range fl.held {
		if len(h.dependsOn) > 0 {
			return true
		}
	}
	return len(fl.dependsOn) > 0
}

// bind finds the tags of a field's rows.
func (f *Fields) bind(p *plannedField) (*cachedField, error) {
	c := &cachedField{plannedField: p, objects: map[string]boundHeld{}}
	rows := func(list []dependency) (bound []boundRows, err error) {
		for _, m := range list {
			tag := f.o.Rows.Of(m.rows)
			if n := tag.Len(); n != len(m.values) {
				return nil, fmt.Errorf("%s: the primary key of %s has %d columns: add match", m.rows.Of, m.rows.Table, n)
			}
			b := boundRows{tag: tag, values: m.values, optional: m.optional}
			if m.fewer != nil {
				b.fewer = f.o.Rows.Of(*m.fewer)
			}
			bound = append(bound, b)
		}
		return bound, nil
	}
	var err error
	if c.rows, err = rows(p.dependsOn); err != nil {
		return nil, err
	}
	for name, h := range p.held {
		b := boundHeld{tags: h.tags}
		if b.dependsOn, err = rows(h.dependsOn); err != nil {
			return nil, err
		}
		for _, w := range h.whole {
			b.whole = append(b.whole, f.o.Rows.Of(w))
		}
		c.objects[name] = b
	}
	return c, nil
}

// Plan returns the plan of the schema.
func (f *Fields) Plan() *FieldPlan { return f.o.Plan }

// ExtensionName implements gqlgen's extension.
func (*Fields) ExtensionName() string { return "Fields" }

// Validate implements gqlgen's extension. It refuses another schema than the planned one.
func (f *Fields) Validate(es graphql.ExecutableSchema) error {
	if es.Schema() != f.o.Plan.schema {
		return errors.New("gqlcache: the field cache was made for another schema")
	}
	if f.count != nil {
		return f.count.Validate(es)
	}
	return nil
}

type fieldRunKey struct{}

// fieldRun is one response.
type fieldRun struct {
	batch   *cache.Batch
	viewer  string
	variant string
	unkeyed bool        // the variant is unknown: its values have no keys
	own     cache.Batch // which batch points to unless FieldsOptions.Batch gives one
	inUse   atomic.Bool // whether a response uses own
	erred   atomic.Bool // whether the resolver of a field added errors beside its value
	// resolved says that a field of the operation was resolved, in any response.
	resolved atomic.Bool
	deferral *deferral
	event    *countedEvent // nil unless it is the response to an event of a subscription
	begins   bool          // whether it is a request of its own, which began at began
	// connected says that it is one of several on a connection, and that it is unknown when that
	// began. Middleware that gives each request its loaders gives one set of them to a websocket.
	connected bool
	began     cache.RequestState
}

// runContext is a context that contains its run, so that both take one allocation.
type runContext struct {
	context.Context
	run fieldRun
}

// Value implements [context.Context].
func (c *runContext) Value(key any) any {
	if key == (fieldRunKey{}) {
		return &c.run
	}
	if c.run.begins && cache.IsRequestKey(key) {
		return &c.run.began
	}
	return c.Context.Value(key)
}

func runOf(ctx context.Context) *fieldRun {
	run, _ := ctx.Value(fieldRunKey{}).(*fieldRun)
	return run
}

// InterceptResponse gives a response its batch. The first response uses the batch of the operation,
// which costs least.
func (f *Fields) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if !graphql.HasOperationContext(ctx) || len(graphql.GetErrors(ctx)) > 0 {
		return next(ctx) // the operation was refused: no field is resolved
	}
	run := runOf(ctx)
	first := run != nil && run.inUse.CompareAndSwap(false, true)
	if !first {
		own := &runContext{Context: ctx}
		run, ctx = &own.run, own
	}
	if f.o.Viewer != nil {
		run.viewer = f.o.Viewer(ctx)
	}
	if f.o.Variant != nil {
		var known bool
		run.variant, known = f.o.Variant(ctx)
		run.unkeyed = !known
	}
	if f.o.Batch != nil {
		run.batch = f.o.Batch(ctx)
	}
	if run.batch != nil {
		return next(ctx)
	}
	run.batch = &run.own
	f.o.Cache.PrepareBatch(run.batch)
	run.batch.NoCache, run.batch.NoStore = cache.IsNoCache(ctx), cache.IsNoStore(ctx)
	if f.count == nil || len(graphql.GetErrors(ctx)) > 0 { // the operation was refused: no field is resolved
		return next(ctx)
	}
	switch oc := graphql.GetOperationContext(ctx); {
	case oc.Operation == nil:
	case oc.Operation.Operation == ast.Subscription:
		run.event = new(countedEvent)
	case first && oc.Operation.Operation == ast.Query:
		f.count.countRoot(ctx, oc, run.batch, run.deferral)
	}
	defer run.batch.Forget()
	return next(ctx)
}

// InterceptOperation puts the cache in front of the resolvers.
func (f *Fields) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	if oc.Operation == nil {
		return next(ctx)
	}
	around, kind := oc.ResolverMiddleware, oc.Operation.Operation
	if name := f.o.Plan.coding(oc.Operation.Directives); name != "" {
		cache.CollectorOf(ctx).Distrust("@" + name + " runs for each request")
	}
	if kind != ast.Subscription && cache.AreTogether(ctx) {
		ctx = f.o.Cache.Begin(ctx)
	}
	own := &runContext{Context: ctx}
	if kind != ast.Subscription && cache.BeganAt(ctx) == nil {
		own.run.begins = true
		if own.run.connected = operation.OpensWebsocket(oc.Headers); !own.run.connected {
			f.o.Cache.BeginRequest(&own.run.began)
		} // else the zero moment: loaders may hold rows since any time
	}
	if f.count != nil && kind != ast.Subscription {
		own.run.deferral = deferralOf(oc)
	}
	oc.ResolverMiddleware = func(ctx context.Context, resolve graphql.Resolver) (any, error) {
		if !own.run.resolved.Load() {
			own.run.resolved.Store(true)
		}
		fc := graphql.GetFieldContext(ctx)
		if f.count != nil {
			return f.counted(ctx, oc, fc, around, resolve)
		}
		return f.field(ctx, fc, kind, around, resolve)
	}
	if kind != ast.Subscription {
		ctx = own
	}
	return next(ctx)
}

// resolvedAny reports whether any field of an operation was resolved: an extension may return a
// response of its own.
func resolvedAny(ctx context.Context) bool {
	run := runOf(ctx)
	return run != nil && run.resolved.Load()
}

// counted resolves a field, counted as [FieldCount] does.
func (f *Fields) counted(ctx context.Context, oc *graphql.OperationContext, fc *graphql.FieldContext, around graphql.FieldMiddleware, resolve graphql.Resolver) (any, error) {
	operation, run := oc.Operation.Operation, runOf(ctx)
	if run == nil || run.batch == nil || strings.HasPrefix(fc.Object, "__") || strings.HasPrefix(fc.Field.Name, "__") {
		return f.field(ctx, fc, operation, around, resolve)
	}
	f.count.beginIn(ctx, oc, fc, run.batch, run.deferral, run.event)
	var below fieldsBelow
	defer func() { run.batch.Expect(ctx, run.deferral.done(below)) }() // also when the resolver panics
	v, err := f.field(ctx, fc, operation, around, resolve)
	if err == nil {
		below = f.count.below(oc, fc, v, run.deferral)
	}
	return v, err
}

// field resolves a field, from the cache if it is cached.
func (f *Fields) field(ctx context.Context, fc *graphql.FieldContext, operation ast.Operation, around graphql.FieldMiddleware, resolve graphql.Resolver) (any, error) {
	if operation == ast.Mutation && fc.Object == f.o.Plan.mutation {
		return f.mutate(ctx, fc, around, resolve)
	}
	if f.directs {
		name := f.o.Plan.coded[fc.Object][fc.Field.Name]
		if name == "" {
			name = f.o.Plan.coding(fc.Field.Directives)
		}
		if name != "" { // it may decide who gets the value, or change it
			cache.CollectorOf(ctx).Distrust("@" + name + " runs for each request")
			return around(ctx, resolve)
		}
	}
	c := f.fields[fc.Object][fc.Field.Name]
	if c == nil || c.passes.Load() || operation == ast.Subscription {
		if f.strict && c == nil && fc.IsResolver && operation != ast.Subscription {
			cache.CollectorOf(ctx).Distrust("a field of it is not cached")
		}
		if f.strict && c == nil && fc.IsMethod && !fc.IsResolver && f.o.Observer == nil && f.takesContext(fc) {
			cache.CollectorOf(ctx).Distrust("a method of a model may read what is not declared")
		}
		return around(ctx, resolve)
	}
	if c.barred.Load() {
		cache.CollectorOf(ctx).Distrust("an audit found a fault of " + c.coordinate)
		return around(ctx, resolve)
	}
	return around(ctx, func(ctx context.Context) (any, error) { return f.resolve(ctx, c, fc, resolve) })
}

// modelMethod is the method that resolves a field, of a type of models.
type modelMethod struct {
	object, field string
	typ           reflect.Type
}

// takesContext reports whether the method of the parent that resolves a field takes a context. It
// may then read the database, as the edges of ent's models do, and only a [cache.Watch] would show
// that.
func (f *Fields) takesContext(fc *graphql.FieldContext) bool {
	if fc.Parent == nil {
		return true
	}
	typ := gotype.TypeOf(fc.Parent.Result)
	of := modelMethod{fc.Object, fc.Field.Name, typ}
	takes, ok := f.methods.Load(of)
	if !ok {
		takes, _ = f.methods.LoadOrStore(of, typ == nil || gotype.TakesContext(typ, fc.Field.Definition))
	}
	return takes.(bool)
}

// mutate resolves a field of a mutation and evicts what it changed before anything below it is
// read. A mutation that failed may have written as well, also one whose resolver panics.
func (f *Fields) mutate(ctx context.Context, fc *graphql.FieldContext, around graphql.FieldMiddleware, resolve graphql.Resolver) (v any, err error) {
	err = errPanicked // unless around returns
	defer func() { f.mutated(ctx, fc, v, err) }()
	v, err = around(ctx, resolve)
	return v, err
}

// errPanicked is the error of a mutation whose resolver panics.
var errPanicked = errors.New("gqlcache: the resolver of a mutation panicked")

// mutated evicts what a field of a mutation changed.
func (f *Fields) mutated(ctx context.Context, fc *graphql.FieldContext, v any, err error) {
	ev := f.evicted(ctx, fc, v, err)
	if later, ok := ctx.Value(laterKey{}).(*laterEvictions); ok {
		later.add(ev)
	} else if !ev.Empty() {
		// A client that disconnects does not undo what the mutation did.
		if _, err := f.o.Cache.EvictByHand(context.WithoutCancel(ctx), ev); err != nil {
			f.o.Log.WarnContext(ctx, "eviction after a mutation is delayed", "coordinate", fc.Object+"."+fc.Field.Name, "error", err)
		}
	}
	if f.o.CatchUp {
		if err := f.o.Cache.CatchUp(ctx); err != nil {
			f.o.Log.WarnContext(ctx, "eviction after a mutation is delayed", "coordinate", fc.Object+"."+fc.Field.Name, "error", err)
		}
	}
	if run := runOf(ctx); run != nil && run.batch != nil {
		run.batch.Forget()
	}
}

// evicted returns what a mutation's @cacheEvict names. If it failed, it may have written before, and
// there may be no result that names an object: then all objects of the type are evicted.
func (f *Fields) evicted(ctx context.Context, fc *graphql.FieldContext, v any, err error) (ev cache.Eviction) {
	for _, e := range f.o.Plan.evicts[fc.Field.Name] {
		viewer := ""
		if f.o.Viewer != nil {
			viewer = f.o.Viewer(ctx)
		}
		tag, ok := e.tag(func(r reference) (string, bool) {
			switch r.origin {
			case policy.Args:
				return r.getter.Text(fc.Args)
			case policy.Viewer:
				return viewer, true
			}
			text, known := r.getter.Text(v)
			return text, known && (err == nil || text != cache.Null)
		})
		switch {
		case ok:
		case e.typeName == "":
			f.o.Log.WarnContext(ctx, "a tag of a mutation is not evicted: what it is made of cannot be determined", "coordinate", fc.Object+"."+fc.Field.Name)
			continue
		case err != nil:
			tag = cache.Named(e.typeName)
		default:
			f.o.Log.WarnContext(ctx, "evicting a whole type: the object that a mutation names cannot be determined", "coordinate", fc.Object+"."+fc.Field.Name, "type", e.typeName)
			tag = cache.Named(e.typeName)
		}
		ev.Tags = append(ev.Tags, tag)
	}
	return ev
}

// keyBuffers are buffers in which keys are built.
var keyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// resolve returns a field's value from memory, or loads it. gqlgen's own resolver is called only
// for a field without a key. A source cannot call it, since that resolver passes its context down
// to the fields below.
func (f *Fields) resolve(ctx context.Context, c *cachedField, fc *graphql.FieldContext, resolve graphql.Resolver) (any, error) {
	run := runOf(ctx)
	if run == nil || run.batch == nil {
		return f.pass(ctx, resolve)
	}
	if run.unkeyed {
		c.logOnce(f.o.Log, "a field is not always cached", "the variant of a request is unknown: put Handler in front of the server")
		return f.pass(ctx, resolve)
	}
	var parent any
	if fc.Parent != nil {
		parent = fc.Parent.Result
	}
	buffer := keyBuffers.Get().(*[]byte)
	defer keyBuffers.Put(buffer)
	key, ok := c.keys.append((*buffer)[:0], parent, fc, graphql.GetOperationContext(ctx).Variables)
	if !ok {
		c.logOnce(f.o.Log, "a field is not always cached", "its parent or an argument has no form that a key could show")
		return f.pass(ctx, resolve)
	}
	selection := ""
	if c.selective.Load() {
		if selection = f.selection(ctx, fc); selection == "" {
			return f.pass(ctx, resolve) // a variable has no canonical form
		}
		key = append(append(key, '$'), selection...)
	}
	if run.variant != "" {
		key = cache.AppendEscaped(append(key, ';'), run.variant)
	}
	if c.private {
		if run.viewer == "" {
			return f.pass(ctx, resolve) // viewers without a name may be different people
		}
		key = cache.AppendEscaped(append(key, '@'), run.viewer)
	}
	*buffer = key
	item, audit := c.item, false
	item.Key = cache.Key(key)
	if !run.batch.NoCache && !run.batch.Observed() {
		var hit cache.Result
		if hit, ok, audit = f.o.Cache.PeekSettled(item); ok {
			if collector := cache.CollectorOf(ctx); collector != nil {
				item.Tags, _ = c.appendTags(nil, parent, fc.Args, run.viewer)
				collector.Hit(item, hit)
			}
			return unbox(ctx, hit.Value), nil
		}
	}
	return f.load(ctx, c, fc, run, cache.Request{Item: item, Audit: audit}, parent, selection, resolve)
}

// selection returns a digest of the selection of a field, with the values of the variables; "" if they have no
// canonical form.
func (f *Fields) selection(ctx context.Context, fc *graphql.FieldContext) string {
	text := selectionText(ctx, &f.forms, fc.Field)
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// load loads a field's value through the response's batch.
//
//go:noinline
func (f *Fields) load(ctx context.Context, c *cachedField, fc *graphql.FieldContext, run *fieldRun, request cache.Request, parent any, selection string, resolve graphql.Resolver) (any, error) {
	call := &fieldCall{cachedField: c, ctx: ctx, run: run, args: fc.Args, selection: selection}
	ok := true
	if c.resolver.Parent != nil {
		call.receiver, ok = c.resolver.Receiver(parent)
	}
	if ok {
		request.Tags, ok = c.appendTags(nil, parent, fc.Args, run.viewer)
	}
	if !ok {
		c.logOnce(f.o.Log, "a field is not always cached", "its parent is not what its resolver takes, or holds nothing that names its rows")
		return f.pass(ctx, resolve)
	}
	request.Source, request.Arg = f.source, call
	results, err := run.batch.Load(ctx, []cache.Request{request})
	if err != nil {
		return nil, err
	}
	if selection == "" && c.selective.Load() && !call.alone.Load() {
		return f.resolve(ctx, c, fc, resolve) // the value may be that of another selection
	}
	if !call.called.Load() && run.erred.Load() {
		return f.pass(ctx, resolve) // the same field under another alias has errors of its own
	}
	if err := results[0].Err; err != nil {
		if p, ok := err.(*cache.PanicError); ok { //nolint:errorlint // one that a resolver wraps is an error of its own
			panic(p.Value) // the project's RecoverFunc makes the error of it
		}
		err = errorFor(err)
		if c.resolver.Batch { // in gqlgen's words
			at, _ := graphql.BatchParentIndex(ctx)
			graphql.AddBatchError(ctx, int(at), err)
			return nil, nil
		}
		return nil, err
	}
	return unbox(ctx, results[0].Value), nil
}

// pass resolves a field that has no key, or none for this viewer.
func (f *Fields) pass(ctx context.Context, resolve graphql.Resolver) (any, error) {
	if f.strict {
		cache.CollectorOf(ctx).Distrust("a field of it is not cached")
	}
	return resolve(ctx)
}

// unbox returns the value in a box, as gqlgen's marshalers take it.
func unbox(_ context.Context, v any) any {
	b, _ := v.(*gotype.Box)
	if b == nil {
		return nil
	}
	return b.Value
}
