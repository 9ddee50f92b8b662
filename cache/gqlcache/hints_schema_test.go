package gqlcache_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/gqlcache"
	"fieldcache/cache/internal/schematest"
	"fieldcache/cache/policy"
)

var schema = schematest.Load

// world executes operations on any schema, with the same functions of gqlgen that generated code
// calls for each object, field and list.
type world struct {
	schema *ast.Schema
	// data is the value of the operation's root. An object is a map with a __typename and the value
	// of each field under the alias of the field. A missing value is made up: a value for a scalar,
	// an object, or a list of one.
	data map[string]any
	// resolvers are called, by coordinate, when a field is resolved.
	resolvers map[string]func(context.Context) error
	// each is called for every field that is resolved.
	each func(context.Context)
}

// typeOf is the TypeOf of [gqlcache.Hints].
func typeOf(value any) string {
	name, _ := value.(map[string]any)["__typename"].(string)
	return name
}

// fails marks a value whose resolver fails.
const fails = "__fails"

func (w *world) executable() graphql.ExecutableSchema {
	return &graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema { return w.schema },
		ExecFunc: func(ctx context.Context) graphql.ResponseHandler {
			oc := graphql.GetOperationContext(ctx)
			root := map[ast.Operation]*ast.Definition{
				ast.Query: w.schema.Query, ast.Mutation: w.schema.Mutation, ast.Subscription: w.schema.Subscription,
			}[oc.Operation.Operation]
			answered := false
			return func(ctx context.Context) *graphql.Response {
				if answered {
					return nil
				}
				answered = true
				ctx = graphql.WithFieldContext(ctx, &graphql.FieldContext{Object: root.Name})
				return &graphql.Response{Data: marshal(w.object(ctx, oc, root, oc.Operation.SelectionSet, w.data))}
			}
		},
	}
}

func (w *world) object(ctx context.Context, oc *graphql.OperationContext, def *ast.Definition, set ast.SelectionSet, data map[string]any) graphql.Marshaler {
	satisfies := []string{def.Name}
	for _, t := range w.schema.GetImplements(def) {
		satisfies = append(satisfies, t.Name)
	}
	fields := graphql.CollectFields(oc, set, satisfies)
	out := graphql.NewFieldSet(fields)
	deferred := graphql.NewDeferredGroup(ctx)
	for i, f := range fields {
		switch f.Name {
		case "__typename":
			out.Values[i] = graphql.MarshalString(def.Name)
		case "__schema", "__type":
			out.Values[i] = graphql.MarshalString("…")
		default:
			out.ResolveConcurrently(oc, &deferred, i, true, f.Definition.Type.NonNull, func(ctx context.Context) graphql.Marshaler {
				return w.field(ctx, oc, def, f, data)
			})
		}
	}
	out.Dispatch(ctx)
	if out.Invalids > 0 {
		return graphql.Null
	}
	return out
}

func (w *world) field(ctx context.Context, oc *graphql.OperationContext, parent *ast.Definition, f graphql.CollectedField, data map[string]any) graphql.Marshaler {
	def := parent.Fields.ForName(f.Name)
	return graphql.ResolveField(ctx, oc, f,
		func(_ context.Context, f graphql.CollectedField) (*graphql.FieldContext, error) {
			return &graphql.FieldContext{Object: parent.Name, Field: f}, nil
		},
		func(ctx context.Context) (any, error) {
			if w.each != nil {
				w.each(ctx)
			}
			if resolve := w.resolvers[parent.Name+"."+f.Name]; resolve != nil {
				if err := resolve(ctx); err != nil {
					return nil, err
				}
			}
			value, ok := data[f.Alias]
			if !ok {
				value = w.fakeValue(def.Type)
			}
			if value == fails {
				return nil, errors.New("it fails")
			}
			return value, nil
		}, nil,
		func(ctx context.Context, set ast.SelectionSet, value any) graphql.Marshaler {
			return w.value(ctx, oc, set, value)
		}, true, def.Type.NonNull)
}

func (w *world) value(ctx context.Context, oc *graphql.OperationContext, set ast.SelectionSet, value any) graphql.Marshaler {
	switch value := value.(type) {
	case nil:
		return graphql.Null
	case []any:
		return graphql.MarshalSliceConcurrently(ctx, len(value), 0, false, func(ctx context.Context, i int) graphql.Marshaler {
			return w.value(ctx, oc, set, value[i])
		})
	case map[string]any:
		return w.object(ctx, oc, w.schema.Types[typeOf(value)], set, value)
	}
	return graphql.MarshalAny(value)
}

func (w *world) fakeValue(t *ast.Type) any {
	if t.Elem != nil {
		return []any{w.fakeValue(t.Elem)}
	}
	if def := w.schema.Types[t.NamedType]; def.Kind != ast.Scalar && def.Kind != ast.Enum {
		return map[string]any{"__typename": w.schema.GetPossibleTypes(def)[0].Name}
	}
	return "1"
}

// outcome is the result of a request.
type outcome struct {
	overall policy.Overall
	errors  gqlerror.List
	data    string
}

// run executes a request as a transport does.
func run(t testing.TB, w *world, p graphql.RawParams) outcome {
	t.Helper()
	return execute(t, server(w), p)
}

func server(w *world, more ...graphql.HandlerExtension) *executor.Executor {
	e := executor.New(w.executable())
	e.Use(&gqlcache.Hints{TypeOf: typeOf})
	e.Use(extension.Introspection{})
	for _, m := range more {
		e.Use(m)
	}
	return e
}

func execute(t testing.TB, e *executor.Executor, p graphql.RawParams) outcome {
	t.Helper()
	ctx := graphql.StartOperationTrace(t.Context())
	oc, errs := e.CreateOperationContext(ctx, &p)
	if errs != nil {
		ctx = graphql.WithOperationContext(ctx, oc)
		return outcome{policy.OverallOf(ctx), e.DispatchError(ctx, errs).Errors, ""}
	}
	next, ctx := e.DispatchOperation(ctx, oc)
	if before := policy.OverallOf(ctx); before != (policy.Overall{}) {
		t.Errorf("got policy %+v before the response, want none", before)
	}
	r := next(ctx)
	return outcome{policy.OverallOf(ctx), r.Errors, string(r.Data)}
}

func marshal(m graphql.Marshaler) []byte {
	var b bytes.Buffer
	m.MarshalGQL(&b)
	return b.Bytes()
}
