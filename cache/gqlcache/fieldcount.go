package gqlcache

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Counter counts how many fields of an operation may still request something.
type Counter interface {
	// Expect says that n more fields are about to be resolved, or -n fewer if n is negative. ctx is the context of the
	// field.
	Expect(ctx context.Context, n int)
}

// Forgetter is a [Counter] that remembers what it loaded, as [cache.Batch] does. Forget is called
// when a response begins, so that a Counter of a whole operation does not serve later events of a
// subscription from the first one.
type Forgetter interface {
	Counter
	// Forget makes later requests load again.
	Forget()
}

// FieldCount is a gqlgen extension that lets dataloaders know when a batch is complete: it counts
// the fields that gqlgen is about to resolve or is resolving. When a field is resolved, FieldCount
// first counts the fields below it, the number of objects in its value times the fields selected of
// each, and only then stops counting the field itself. So the count is never too low while
// goroutines are starting.
//
// gqlgen resolves the fields of an object without resolvers first, with everything below them, and
// only then begins those with resolvers. If a field without a resolver has fields below it that
// load something, the count is too high for a while, and the batch waits for as long as the
// patience of its loaders. Give such a field a resolver.
//
// The mutations of an operation run one after the other. Each is counted when it begins. gqlgen
// calls no extension between an event of a subscription and the fields below it: those of an object
// are counted together when the first of them begins. A field under @defer, which gqlgen resolves
// after the other fields of its object, is counted when it begins, or when all other fields are
// resolved.
type FieldCount struct {
	// Of returns the operation's counter. If it is nil or returns nil, the operation is not counted.
	Of func(ctx context.Context) Counter

	oneSchema
	// satisfies lists for each object type the names that fragments on it may have.
	satisfies map[string][]string
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
	graphql.ResponseInterceptor
} = (*FieldCount)(nil)

// ExtensionName implements gqlgen's extension.
func (*FieldCount) ExtensionName() string { return "FieldCount" }

// Validate implements gqlgen's extension. It reads the schema, and refuses a server of another one. Servers of one
// schema may use the same FieldCount, also while others of them serve.
func (f *FieldCount) Validate(es graphql.ExecutableSchema) error {
	return f.read(es, func(schema *ast.Schema) error {
		f.satisfies = map[string][]string{}
		for name, def := range schema.Types {
			if def.Kind != ast.Object {
				continue
			}
			all := []string{name}
			for _, abstract := range schema.GetImplements(def) {
				all = append(all, abstract.Name)
			}
			f.satisfies[name] = all
		}
		return nil
	})
}

// InterceptResponse counts the root fields of a query.
func (f *FieldCount) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if f.Of == nil || !graphql.HasOperationContext(ctx) || len(graphql.GetErrors(ctx)) > 0 {
		return next(ctx) // the operation was refused: no field is resolved
	}
	oc := graphql.GetOperationContext(ctx)
	if oc.Operation == nil || oc.Operation.Operation == ast.Mutation {
		return next(ctx) // the only response of a mutation, whose fields are counted as they begin
	}
	c := f.Of(ctx)
	if m, ok := c.(Forgetter); ok {
		defer m.Forget()
	}
	if oc.Operation != nil && oc.Operation.Operation == ast.Subscription {
		return next(context.WithValue(ctx, eventKey{}, new(countedEvent)))
	}
	if q, _ := ctx.Value(queryKey{}).(*countedQuery); c != nil && q != nil && q.begun.CompareAndSwap(false, true) {
		f.countRoot(ctx, oc, c, q.deferral)
	}
	return next(ctx)
}

// countRoot counts the root fields of a query.
func (f *FieldCount) countRoot(ctx context.Context, oc *graphql.OperationContext, c Counter, d *deferral) {
	if n := f.selected(oc, oc.Operation.SelectionSet, f.schema.Query.Name, d); n.now > 0 {
		d.announce(n.now)
		c.Expect(ctx, n.now)
	}
}

// eventKey is the key under which the context of an event's response has its countedEvent.
type eventKey struct{}

// countedEvent is an event of a subscription, or a list of objects that is one.
type countedEvent struct {
	mu    sync.Mutex
	begun map[*graphql.FieldContext]bool // objects whose fields count, by the parent of the fields
}

// begins reports whether a field is the first one that begins of an object.
func (e *countedEvent) begins(object *graphql.FieldContext) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.begun[object] {
		return false
	}
	if e.begun == nil {
		e.begun = map[*graphql.FieldContext]bool{}
	}
	e.begun[object] = true
	return true
}

// belowEvent reports whether a field is one of the event's objects. gqlgen's context of an event has
// no parent, and that of an object in a list only the index.
func belowEvent(oc *graphql.OperationContext, fc *graphql.FieldContext) bool {
	if oc.Operation == nil || oc.Operation.Operation != ast.Subscription {
		return false
	}
	for p := fc.Parent; p != nil; p = p.Parent {
		if p.Index == nil {
			return false
		}
	}
	return true
}

// beginInEvent counts the fields of an event's object when the first of them begins. Without e, each
// counts when it begins.
func (f *FieldCount) beginInEvent(ctx context.Context, oc *graphql.OperationContext, fc *graphql.FieldContext, c Counter, d *deferral, e *countedEvent) {
	n := 1
	if e != nil && d == nil {
		if n = 0; e.begins(fc.Parent) {
			for _, root := range graphql.CollectFields(oc, oc.Operation.SelectionSet, []string{f.schema.Subscription.Name}) {
				n += f.selected(oc, root.Selections, fc.Object, nil).now
			}
		}
	}
	if n > 0 {
		d.announce(n)
		c.Expect(ctx, n)
	}
}

// queryKey is the key under which a query's context has its countedQuery.
type queryKey struct{}

// countedQuery is a query whose fields are counted.
type countedQuery struct {
	// begun says that the first response is computed, or was: deferred parts come in later ones, and
	// the root fields are not resolved again.
	begun    atomic.Bool
	deferral *deferral
}

// InterceptOperation makes gqlgen count the fields of the operation. It replaces the function by
// which gqlgen runs field middleware. A field interceptor would be called through three more
// functions: fields that load run on their own goroutines, whose stacks would have to grow for
// each.
func (f *FieldCount) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if f.Of == nil {
		return next(ctx)
	}
	oc := graphql.GetOperationContext(ctx)
	alone, later := oc.ResolverMiddleware, deferralOf(oc)
	oc.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
		fc := graphql.GetFieldContext(ctx)
		c := f.begin(ctx, oc, fc, later)
		if c == nil {
			return alone(ctx, next)
		}
		var below fieldsBelow
		defer func() { c.Expect(ctx, later.done(below)) }() // also when the resolver panics
		value, err := alone(ctx, next)
		if err == nil {
			below = f.below(oc, fc, value, later)
		}
		return value, err
	}
	if oc.Operation != nil && oc.Operation.Operation == ast.Query {
		ctx = context.WithValue(ctx, queryKey{}, &countedQuery{deferral: later})
	}
	return next(ctx)
}

// begin returns the counter of a field that is resolved, or nil if the field is not counted.
//
//go:noinline
func (f *FieldCount) begin(ctx context.Context, oc *graphql.OperationContext, fc *graphql.FieldContext, d *deferral) Counter {
	if strings.HasPrefix(fc.Object, "__") || strings.HasPrefix(fc.Field.Name, "__") || f.schema.Subscription != nil && fc.Object == f.schema.Subscription.Name {
		return nil
	}
	c := f.Of(ctx)
	if c != nil {
		var e *countedEvent
		if oc.Operation != nil && oc.Operation.Operation == ast.Subscription { // a look-up in the context costs as much as all else here
			e, _ = ctx.Value(eventKey{}).(*countedEvent)
		}
		f.beginIn(ctx, oc, fc, c, d, e)
	}
	return c
}

// beginIn counts a field that begins, unless it was counted before. e is nil for a query.
func (f *FieldCount) beginIn(ctx context.Context, oc *graphql.OperationContext, fc *graphql.FieldContext, c Counter, d *deferral, e *countedEvent) {
	switch {
	case f.schema.Subscription != nil && belowEvent(oc, fc):
		f.beginInEvent(ctx, oc, fc, c, d, e)
	case f.schema.Mutation != nil && fc.Object == f.schema.Mutation.Name && oc.Operation.Operation == ast.Mutation:
		d.announce(1)
		c.Expect(ctx, 1)
	case d != nil && f.deferred(fc.Object, &fc.Field) && d.begin():
		c.Expect(ctx, 1)
	}
}

// deferred reports whether gqlgen may resolve a field after the other fields of its object. It
// never does so with a root field.
func (f *FieldCount) deferred(object string, field *graphql.CollectedField) bool {
	return field.IsDeferred() && object != f.schema.Query.Name
}

// fieldsBelow is how many fields the objects in a value have.
type fieldsBelow struct {
	now   int // that are resolved at once
	later int // that are deferred
}

// below returns how many fields the objects in a field's value have.
func (f *FieldCount) below(oc *graphql.OperationContext, fc *graphql.FieldContext, value any, d *deferral) (all fieldsBelow) {
	field := fc.Field
	if len(field.Selections) == 0 {
		return all
	}
	def := f.schema.Types[field.Definition.Type.Name()]
	if def.Kind == ast.Object {
		if n := objects(reflect.ValueOf(value), nil); n > 0 {
			each := f.selected(oc, field.Selections, def.Name, d)
			all = fieldsBelow{n * each.now, n * each.later}
		}
		return all
	}
	objects(reflect.ValueOf(value), func(name string) {
		if _, ok := f.satisfies[name]; ok {
			each := f.selected(oc, field.Selections, name, d)
			all.now, all.later = all.now+each.now, all.later+each.later
		}
	})
	return all
}

// selected returns how many fields of an object of the type are resolved.
func (f *FieldCount) selected(oc *graphql.OperationContext, set ast.SelectionSet, object string, d *deferral) (n fieldsBelow) {
	if len(set) == 1 { // as in most operations: nothing must be merged or left out
		if field, ok := set[0].(*ast.Field); ok && len(field.Directives) == 0 {
			if !strings.HasPrefix(field.Name, "__") {
				n.now = 1
			}
			return n
		}
	}
	for _, field := range graphql.CollectFields(oc, set, f.satisfies[object]) {
		switch {
		case strings.HasPrefix(field.Name, "__"):
		case d != nil && f.deferred(object, &field):
			n.later++
		default:
			n.now++
		}
	}
	return n
}

// deferral counts the fields of an operation with @defer. gqlgen resolves the deferred fields of an
// object after its others. If they counted from the beginning, the others would wait for them. So
// they count when they begin; or, once no other field is left, all together, so that they are
// loaded together. A nil deferral is that of an operation that defers nothing. It is safe for
// concurrent use.
type deferral struct {
	mu      sync.Mutex
	open    int // fields that count, and are not resolved yet
	held    int // deferred fields that do not count yet
	counted int // deferred fields that count, and have not begun
}

// deferralOf returns the deferral of an operation.
func deferralOf(oc *graphql.OperationContext) *deferral {
	if !strings.Contains(oc.RawQuery, "defer") {
		return nil
	}
	return new(deferral)
}

// announce records that n fields count.
func (d *deferral) announce(n int) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open += n
}

// begin records that a deferred field begins. It reports whether the field counts from now on.
func (d *deferral) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counted > 0 {
		d.counted--
		return false
	}
	d.held--
	d.open++
	return true
}

// done records that a field is resolved. It returns how many more fields count.
func (d *deferral) done(below fieldsBelow) int {
	n := below.now - 1
	if d == nil {
		return n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open += n
	d.held += below.later
	if d.open <= 0 && d.held > 0 {
		n += d.held
		d.open += d.held
		d.counted += d.held
		d.held = 0
	}
	return n
}

// objects counts the objects in a value, which may be a list of lists, and calls each with the name
// of its Go type, which gqlgen's models share with the schema's.
func objects(v reflect.Value, each func(name string)) int {
	switch v.Kind() {
	case reflect.Invalid:
		return 0
	case reflect.Slice, reflect.Array:
		n := 0
		for i := range v.Len() {
			n += objects(v.Index(i), each)
		}
		return n
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return objects(v.Elem(), each)
	}
	if each != nil {
		each(v.Type().Name())
	}
	return 1
}
