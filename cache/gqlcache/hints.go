package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Hints is a gqlgen extension that finds out how the answer to each operation may be kept; [OverallOf]
// tells. Each field that was resolved counts by the hint of the type it returns, overlaid by its own, and
// what a resolver says by [SetHint] and [Restrict]; the least age of all counts, and one that is private
// makes the whole private. What Apollo Server's cache control allows is the most that is allowed here.
//
// Use it as one of the first extensions, so that it sees the errors that others add to an answer.
type Hints struct {
	// TypeOf names the object type of a value behind an interface or a union. Default: the name of its Go
	// type. A name that is none of the types that are possible counts as the strictest of them.
	TypeOf func(value any) string

	schema  *ast.Schema
	objects map[string]*object
	plans   plans
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
	graphql.ResponseInterceptor
} = (*Hints)(nil)

// ExtensionName implements gqlgen's extension.
func (*Hints) ExtensionName() string { return "Hints" }

// Validate implements gqlgen's extension: it reads the schema, and refuses hints that contradict
// themselves as [ReadPolicies] does.
func (h *Hints) Validate(es graphql.ExecutableSchema) error {
	h.schema = es.Schema()
	all, err := readHints(h.schema)
	if err != nil {
		return err
	}
	h.objects = readObjects(h.schema, all)
	return nil
}

// collectorKey is where an operation's context has its collector.
type collectorKey struct{}

// InterceptOperation gives the operation a collector. gqlgen resolves each field by what the operation's
// context holds as its middleware: an operation whose answer may not be kept in any case runs as without
// this extension, and nobody looks for the collector of another.
func (h *Hints) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	c := &collector{hints: h}
	c.plan = h.plans.get(oc.Operation, func() *plan { return newPlan(h.schema, h.objects, oc.Operation) })
	c.unkept = c.plan.unkept || c.plan.defers(oc)
	if !c.unkept {
		c.age.Store(int64(unbounded))
		alone := oc.ResolverMiddleware
		oc.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
			value, err := alone(ctx, next)
			c.resolved(ctx, value)
			return value, err
		}
	}
	return next(context.WithValue(ctx, collectorKey{}, c))
}

// InterceptResponse notes whether there is an answer, and whether it is whole.
func (h *Hints) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if c, ok := ctx.Value(collectorKey{}).(*collector); ok && r != nil {
		c.answered = true
		c.unkept = c.unkept || len(r.Errors) > 0 || r.HasNext != nil
	}
	return r
}

// OverallOf is how the answer to an operation may be kept. ctx is the operation's; ask when the answer is
// made. The zero value, which says that it may not be kept, is told of an operation that is no query, was
// not executed, was not answered yet, or was answered with errors or in parts.
func OverallOf(ctx context.Context) Overall {
	c, ok := ctx.Value(collectorKey{}).(*collector)
	if !ok || c.unkept || !c.answered {
		return Overall{}
	}
	return c.bound().overall()
}
