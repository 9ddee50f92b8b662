package gqlcache_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/gqlcache"
)

// running counts the fields that a batch would wait for.
type running struct{ atomic.Int64 }

// Expect implements [gqlcache.Counter].
func (r *running) Expect(_ context.Context, n int) { r.Add(int64(n)) }

// events is a schema with a subscription. As in gqlgen's code, no field resolves an event: its objects
// are marshaled when it comes.
type events struct {
	graphql.ExecutableSchema
	objects int
	resolve graphql.Resolver // of each field of an object
}

func (s *events) exec(ctx context.Context) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	root := graphql.CollectFields(oc, oc.Operation.SelectionSet, nil)[0]
	sent := make(chan int, 2)
	sent <- 1
	sent <- 2
	close(sent)
	next := graphql.ResolveFieldStream(ctx, oc, root,
		func(_ context.Context, f graphql.CollectedField) (*graphql.FieldContext, error) {
			return &graphql.FieldContext{Object: "Subscription", Field: f, IsMethod: true, IsResolver: true}, nil
		},
		func(context.Context) (any, error) { return (<-chan int)(sent), nil }, nil,
		func(ctx context.Context, sel ast.SelectionSet, _ int) graphql.Marshaler {
			if s.objects == 1 {
				return s.object(ctx, oc, sel)
			}
			list := make(graphql.Array, s.objects)
			var group sync.WaitGroup
			for i := range list {
				group.Go(func() {
					list[i] = s.object(graphql.WithFieldContext(ctx, &graphql.FieldContext{Index: &i}), oc, sel)
				})
			}
			group.Wait()
			return list
		}, false, true)
	return func(ctx context.Context) *graphql.Response {
		event := next(ctx)
		if event == nil {
			return nil
		}
		return &graphql.Response{Data: marshal(event)}
	}
}

func (s *events) object(ctx context.Context, oc *graphql.OperationContext, sel ast.SelectionSet) graphql.Marshaler {
	fields := graphql.CollectFields(oc, sel, []string{"Item"})
	out := graphql.NewFieldSet(fields)
	for i, f := range fields {
		out.Concurrently(i, func(ctx context.Context) graphql.Marshaler {
			return graphql.ResolveField(ctx, oc, f,
				func(_ context.Context, f graphql.CollectedField) (*graphql.FieldContext, error) {
					return &graphql.FieldContext{Object: "Item", Field: f, IsMethod: true, IsResolver: true}, nil
				}, s.resolve, nil,
				func(context.Context, ast.SelectionSet, any) graphql.Marshaler { return graphql.MarshalInt(1) }, false, false)
		})
	}
	out.Dispatch(ctx)
	return out
}

// The fields of an event count before any of them can load anything, so that they are loaded together.
func TestFieldsBelowAnEventAreCounted(t *testing.T) {
	t.Parallel()
	for name, objects := range map[string]int{"an object": 1, "a list": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
				type Query { number: Int } type Subscription { one: Item many: [Item] } type Item { a: Int b: Int }`})
			s := &events{objects: objects}
			s.ExecutableSchema = &graphql.ExecutableSchemaMock{
				SchemaFunc:     func() *ast.Schema { return schema },
				ComplexityFunc: func(context.Context, string, string, int, map[string]any) (int, bool) { return 0, false },
				ExecFunc:       s.exec,
			}
			now := new(running)
			var begun, read *sync.WaitGroup // until each field has begun, and has read the count
			s.resolve = func(context.Context) (any, error) {
				begun.Done()
				begun.Wait()
				if got := now.Load(); got != int64(2*objects) {
					t.Errorf("%d fields count, want %d", got, 2*objects)
				}
				read.Done()
				read.Wait()
				return 1, nil
			}
			exec := executor.New(s)
			exec.Use(&gqlcache.FieldCount{Of: func(context.Context) gqlcache.Counter { return now }})
			ctx := graphql.StartOperationTrace(t.Context())
			query := map[bool]string{true: `subscription { one { a b } }`, false: `subscription { many { a b } }`}[objects == 1]
			oc, errs := exec.CreateOperationContext(ctx, &graphql.RawParams{Query: query})
			if errs != nil {
				t.Fatal(errs)
			}
			next, ctx := exec.DispatchOperation(ctx, oc)
			for range 2 {
				begun, read = new(sync.WaitGroup), new(sync.WaitGroup)
				begun.Add(2 * objects)
				read.Add(2 * objects)
				if r := next(ctx); r == nil || !json.Valid(r.Data) {
					t.Fatalf("got %v, want an event", r)
				}
				if got := now.Load(); got != 0 {
					t.Errorf("after an event %d fields count, want 0", got)
				}
			}
		})
	}
}
