package gqlcache

import (
	"context"
	"reflect"
	"strings"
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
// The mutations of an operation run one after the other. Each is counted when it begins.
type FieldCount struct {
	// Of returns the operation's counter. If it is nil or returns nil, the operation is not counted.
	Of func(ctx context.Context) Counter

	schema *ast.Schema
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

// Validate implements gqlgen's extension. It reads the schema.
func (f *FieldCount) Validate(es graphql.ExecutableSchema) error {
	f.schema = es.Schema()
	f.satisfies = map[string][]string{}
	for name, def := range f.schema.Types {
		if def.Kind != ast.Object {
			continue
		}
		all := []string{name}
		for _, abstract := range f.schema.GetImplements(def) {
			all = append(all, abstract.Name)
		}
		f.satisfies[name] = all
	}
	return nil
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
	if first, _ := ctx.Value(firstKey{}).(*atomic.Bool); c != nil && first != nil && first.CompareAndSwap(true, false) {
		f.countRoot(ctx, oc, c)
	}
	return next(ctx)
}

// countRoot counts the root fields of a query.
func (f *FieldCount) countRoot(ctx context.Context, oc *graphql.OperationContext, c Counter) {
	if n := f.selected(oc, oc.Operation.SelectionSet, f.schema.Query.Name); n > 0 {
		c.Expect(ctx, n)
	}
}

// firstKey is the key under which a query's context says whether its first response is still to be
// computed: deferred parts come in later ones, and its root fields are not resolved again.
type firstKey struct{}

// InterceptOperation makes gqlgen count the fields of the operation. It replaces the function by
// which gqlgen runs field middleware. A field interceptor would be called through three more
// functions: fields that load run on their own goroutines, whose stacks would have to grow for
// each.
func (f *FieldCount) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if f.Of == nil {
		return next(ctx)
	}
	oc := graphql.GetOperationContext(ctx)
	alone := oc.ResolverMiddleware
	oc.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
		fc := graphql.GetFieldContext(ctx)
		c := f.begin(ctx, fc)
		if c == nil {
			return alone(ctx, next)
		}
		below := 0
		defer func() { c.Expect(ctx, below-1) }() // also when the resolver panics
		value, err := alone(ctx, next)
		if err == nil {
			below = f.below(oc, fc, value)
		}
		return value, err
	}
	if oc.Operation != nil && oc.Operation.Operation == ast.Query {
		first := new(atomic.Bool)
		first.Store(true)
		ctx = context.WithValue(ctx, firstKey{}, first)
	}
	return next(ctx)
}

// begin returns the counter of a field that is resolved, or nil if the field is not counted. A field of a mutation is
// counted when it begins.
//
//go:noinline
func (f *FieldCount) begin(ctx context.Context, fc *graphql.FieldContext) Counter {
	if strings.HasPrefix(fc.Object, "__") || strings.HasPrefix(fc.Field.Name, "__") {
		return nil
	}
	c := f.Of(ctx)
	if c != nil && f.schema.Mutation != nil && fc.Object == f.schema.Mutation.Name {
		c.Expect(ctx, 1)
	}
	return c
}

// below returns how many fields the objects in a field's value have.
func (f *FieldCount) below(oc *graphql.OperationContext, fc *graphql.FieldContext, value any) int {
	field := fc.Field
	if len(field.Selections) == 0 {
		return 0
	}
	def := f.schema.Types[field.Definition.Type.Name()]
	if def.Kind == ast.Object {
		if n := objects(reflect.ValueOf(value), nil); n > 0 {
			return n * f.selected(oc, field.Selections, def.Name)
		}
		return 0
	}
	n := 0
	objects(reflect.ValueOf(value), func(name string) {
		if _, ok := f.satisfies[name]; ok {
			n += f.selected(oc, field.Selections, name)
		}
	})
	return n
}

// selected returns how many fields of an object of the type are resolved.
func (f *FieldCount) selected(oc *graphql.OperationContext, set ast.SelectionSet, object string) int {
	if len(set) == 1 { // as in most operations: nothing must be merged or left out
		if field, ok := set[0].(*ast.Field); ok && len(field.Directives) == 0 {
			if strings.HasPrefix(field.Name, "__") {
				return 0
			}
			return 1
		}
	}
	n := 0
	for _, field := range graphql.CollectFields(oc, set, f.satisfies[object]) {
		if !strings.HasPrefix(field.Name, "__") {
			n++
		}
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
