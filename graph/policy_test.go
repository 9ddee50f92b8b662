package graph_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"

	"fieldcache/cache/gqlcache"
	"fieldcache/cache/policy"
	"fieldcache/graph"
)

// policyOf returns a function that runs operations on the shop and returns their Cache-Control.
func policyOf(t *testing.T) func(v graph.Viewer, operation string) string {
	s := open(t, sqlite(t), "")
	schema := graph.NewSchema(s.db, slog.New(slog.NewTextHandler(io.Discard, nil)))
	plan, err := planOf(schema, s.db)
	if err != nil {
		t.Fatal(err)
	}
	loaders, _ := plan.load(t, s.cache, s.db, slog.Default())
	e := executor.New(schema)
	e.Use(&gqlcache.Hints{})
	e.Use(extension.Introspection{})
	e.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		return next(loaders.Attach(ctx, nil))
	})
	return func(v graph.Viewer, operation string) string {
		ctx := graph.WithViewer(graphql.StartOperationTrace(t.Context()), v)
		oc, errs := e.CreateOperationContext(ctx, &graphql.RawParams{Query: operation})
		if errs != nil {
			t.Fatalf("%s: %v", operation, errs)
		}
		next, ctx := e.DispatchOperation(ctx, oc)
		r := next(ctx)
		t.Logf("%s: %s %v", operation, r.Data, r.Errors)
		return policy.OverallOf(ctx).Header()
	}
}

func TestOverallPolicy(t *testing.T) {
	t.Parallel()
	policy := policyOf(t)
	user := graph.Viewer{ID: 1}
	for name, c := range map[string]struct {
		viewer    graph.Viewer
		operation string
		want      string
	}{
		"countries":                  {everyone, `{ countries { code name } }`, "max-age=86400, public"},
		"a user":                     {everyone, `{ user(id: 1) { id name bio country { name } } }`, "max-age=60, public"},
		"a user that does not exist": {everyone, `{ user(id: 999999) { name email } }`, "max-age=60, public"},
		"a user's e-mail":            {user, `{ user(id: 1) { email } }`, "max-age=60, private"},
		"under an alias":             {user, `{ u: user(id: 1) { e: email } }`, "max-age=60, private"},
		"an e-mail that is hidden":   {user, `{ user(id: 2) { email } }`, "max-age=60, private"},
		"me":                         {user, `{ me { name } }`, "max-age=60, private"},
		"me without credentials":     {graph.Viewer{}, `{ me { name } }`, "max-age=60, private"},
		"a product":                  {everyone, `{ product(id: 1) { name description category } }`, "max-age=3600, public"},
		"its price":                  {everyone, `{ product(id: 1) { name price { amount currency } } }`, "max-age=300, public"},
		"its stock":                  {everyone, `{ product(id: 1) { name stock } }`, "max-age=30, public"},
		"the stock of a product that does not exist": {everyone, `{ product(id: 999999) { stock } }`, "max-age=3600, public"},
		"products of no category":                    {everyone, `{ products(category: "none such") { nodes { stock } } }`, "max-age=300, public"},
		"products":                                   {everyone, `{ products { nodes { name stock } pageInfo { endCursor } totalCount } }`, "max-age=30, public"},
		"a product's reviews":                        {everyone, `{ product(id: 1) { reviews(first: 2) { nodes { body author { name } } } } }`, "max-age=60, public"},
		"a user's orders":                            {user, `{ user(id: 1) { orders { nodes { total { amount } lines { quantity product { name } } } } } }`, "max-age=60, private"},
		"search":                                     {everyone, `{ search(text: "a") { __typename ... on User { name } ... on Product { name } } }`, "max-age=30, public"},
		"search that finds a private field":          {user, `{ search(text: "a", first: 50) { ... on User { email } } }`, "max-age=30, private"},
		"search that finds nothing":                  {user, `{ search(text: "no such thing") { ... on User { email } } }`, "max-age=30, public"},
		"only introspection":                         {everyone, `{ __typename __schema { queryType { name } } }`, "no-store"},
		"introspection as well":                      {everyone, `{ __typename countries { __typename } }`, "max-age=86400, public"},
		"an error":                                   {everyone, `{ countries { code } user(id: "") { name } }`, "no-store"},
		"a mutation":                                 {everyone, `mutation { setStock(productId: 1, stock: 5) { stock } }`, "no-store"},
		"@defer":                                     {everyone, `{ product(id: 1) { name ... @defer { stock } } }`, "no-store"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := policy(c.viewer, c.operation); got != c.want {
				t.Errorf("%s: got %s, want %s", c.operation, got, c.want)
			}
		})
	}
}
