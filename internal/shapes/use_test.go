package shapes_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/internal/shapes/starwars"
)

// own is an extension of a project that wraps everything: it changes names to upper case, refuses
// one field, and responds to some operations by itself.
type own struct{}

func (own) ExtensionName() string                   { return "Own" }
func (own) Validate(graphql.ExecutableSchema) error { return nil }

// called reports whether the operation has a name. A refused operation has no Operation.
func called(ctx context.Context, name string) bool {
	oc := graphql.GetOperationContext(ctx)
	return oc.Operation != nil && oc.Operation.Name == name
}

func (own) InterceptField(ctx context.Context, next graphql.Resolver) (any, error) {
	fc := graphql.GetFieldContext(ctx)
	if fc.Field.Name == "mass" {
		return nil, errors.New("nobody is told")
	}
	v, err := next(ctx)
	if name, ok := v.(string); ok && fc.Field.Name == "name" {
		return strings.ToUpper(name), err
	}
	return v, err
}

func (own) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if called(ctx, "Mine") {
		return graphql.OneShot(&graphql.Response{Data: []byte(`{"character":{"name":"mine"}}`)})
	}
	return next(ctx)
}

func (own) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if called(ctx, "Late") {
		return &graphql.Response{Data: []byte(`{"character":{"name":"late"}}`)}
	}
	r := next(ctx)
	if r != nil && called(ctx, "Told") {
		r.Extensions = map[string]any{"told": true}
	}
	return r
}

// outer commits a transaction around a whole mutation.
type outer struct{ db *sql.DB }

func (outer) ExtensionName() string                   { return "Outer" }
func (outer) Validate(graphql.ExecutableSchema) error { return nil }
func (o outer) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if graphql.GetOperationContext(ctx).Operation.Operation != ast.Mutation {
		return next(ctx)
	}
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return graphql.OneShot(graphql.ErrorResponse(ctx, "begin: %v", err))
	}
	responses := next(starwars.WithTx(ctx, tx))
	return func(ctx context.Context) *graphql.Response {
		r := responses(ctx)
		if err := tx.Commit(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			return graphql.ErrorResponse(ctx, "commit: %v", err)
		}
		return r
	}
}

// permutations returns all orders of a list.
func permutations[T any](list []T) (all [][]T) {
	if len(list) < 2 {
		return [][]T{list}
	}
	for i := range list {
		for _, rest := range permutations(slices.Delete(slices.Clone(list), i, i+1)) {
			all = append(all, append([]T{list[i]}, rest...))
		}
	}
	return all
}

// In whatever order extensions are used, and wherever the error presenter and recover function are
// set, the responses equal those without the cache, and what can be cached is.
func TestOrderOfUseDoesNotMatter(t *testing.T) {
	t.Parallel()
	shape := shapes["starwars"]
	queries := []string{
		`{character(id:"1000"){name friends{name}}}`,
		`query Told{character(id:"1000"){name}}`,
		`query Mine{character(id:"1000"){name}}`,
		`query Late{character(id:"1000"){name}}`,
		`{human(id:"1001"){name mass}}`,
		`{human(id:"2000"){name}}`,
		`{nonsense}`,
		`{__schema{queryType{name}}}`,
		`{search(text:"a"){... on Human{friends{friends{friends{friends{friends{name}}}}}}}}`, // too complex
		`{"query":"{hero{name}}","extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}}`,
	}
	p := shape.open(t, shape.database(t, "sqlite", lite(t)), "")
	schema, _ := shape.build(p.db)
	named := map[string]graphql.HandlerExtension{
		"gateway": p.gateway, "introspection": extension.Introspection{}, "persisted": extension.AutomaticPersistedQuery{Cache: lru.New[string](100)},
		"complexity": extension.FixedComplexityLimit(6), "own": own{}, "outer": outer{p.db},
	}
	build := func(order []string, presenterFirst, cached bool) http.Handler {
		srv := handler.New(schema)
		present := func() {
			srv.SetErrorPresenter(func(ctx context.Context, err error) *gqlerror.Error {
				e := graphql.DefaultErrorPresenter(ctx, err)
				e.Message = "presented: " + e.Message
				return e
			})
			srv.SetRecoverFunc(func(context.Context, any) error { return errors.New("recovered") })
		}
		if presenterFirst {
			present()
		}
		for _, name := range order {
			if name != "gateway" || cached {
				srv.Use(named[name])
			}
		}
		srv.AddTransport(transport.GET{})
		srv.AddTransport(transport.POST{})
		if !presenterFirst {
			present()
		}
		return srv
	}
	orders := permutations([]string{"gateway", "introspection", "persisted", "complexity", "own", "outer"})
	if len(orders) != 720 {
		t.Fatalf("got %d orders, want 720", len(orders))
	}
	for i, order := range orders {
		plain, fields := build(order, i%2 == 0, false), build(order, i%2 == 0, true)
		whole := p.gateway.Handler(fields)
		for _, q := range []string{queries[0], queries[1+i%(len(queries)-1)]} {
			want, _ := request(t, plain, q)
			for name, h := range map[string]http.Handler{"the field cache": fields, "a whole response": whole} {
				for range 2 {
					if got, header := request(t, h, q); got != want {
						t.Fatalf("%v: %s with %s (%s): got %+v, want %+v", order, q, name, header.Get("Cache-Status"), got, want)
					} else if strings.Contains(q, "query ") && strings.Contains(header.Get("Cache-Status"), "hit") {
						t.Fatalf("%v: %s is cached, but an extension responds to it", order, q)
					}
				}
			}
		}
		if i%20 != 0 {
			continue // a mutation evicts what all orders share
		}
		eventually(t, func() string {
			if _, header := request(t, whole, queries[0]); !strings.Contains(header.Get("Cache-Status"), "hit") {
				return fmt.Sprintf("%v: nothing is stored: %s", order, header.Get("Cache-Status"))
			}
			return ""
		})
		name := fmt.Sprintf("LUKE %d", i)
		request(t, whole, fmt.Sprintf(`mutation{rename(id:"1000",name:%q){name}}`, name))
		if got, header := request(t, whole, queries[0]); !strings.Contains(got.Body, name) {
			t.Fatalf("%v: after a mutation got %s: %s, want the new name", order, header.Get("Cache-Status"), got.Body)
		}
	}
}
