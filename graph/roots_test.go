package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/graph"
)

// rootShop is a shop that caches whole responses and root fields, and records which root fields are
// resolved.
type rootShop struct {
	*shop
	handler  http.Handler
	resolved []string
}

func newRootShop(t *testing.T, around ...graphql.FieldMiddleware) *rootShop {
	return newRootShopIn(t, sqlite(t), around...)
}

// newRootShopIn is newRootShop over a given database. Each of around wraps every field.
func newRootShopIn(t *testing.T, databaseURL string, around ...graphql.FieldMiddleware) *rootShop {
	return newRootShopFor(t, databaseURL, func(context.Context) string { return "" }, around...)
}

func newRootShopFor(t *testing.T, databaseURL string, viewer func(context.Context) string, around ...graphql.FieldMiddleware) *rootShop {
	k := &rootShop{shop: open(t, databaseURL, "")}
	store, err := answers.New(answers.Options{Cache: k.cache, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	counter := func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) }
	quiet := slog.New(slog.DiscardHandler)
	schema := graph.NewSchema(k.db, quiet)
	exec := graph.NewExecutor(schema, k.loaders, graph.Options{
		Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000,
		Debug: &graph.Debug{Policy: func(string) cache.Policy { return cache.Policy{} }},
		Extensions: []graphql.HandlerExtension{
			&gqlcache.Hints{}, &gqlcache.FieldCount{Of: counter}, &gqlcache.Roots{Answers: store, Of: counter},
		},
	}, quiet)
	exec.AroundRootFields(func(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
		k.mu.Lock()
		k.resolved = append(k.resolved, graphql.GetRootFieldContext(ctx).Field.Alias)
		k.mu.Unlock()
		return next(ctx)
	})
	for _, f := range around {
		exec.AroundFields(f)
	}
	log := slog.New(slog.NewTextHandler(&locked{w: k.log}, nil))
	k.handler = handlerOf(t, exec, transport.Options{Answers: store, Viewer: viewer, Log: log})
	return k
}

// get runs a query and returns the body, the Cache-Status, and the root fields that were resolved.
func (k *rootShop) get(t *testing.T, query string, header ...string) (body, status string, resolved []string) {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodGet, "/graphql?query="+url.QueryEscape(query), nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	k.resolved = nil
	k.handler.ServeHTTP(w, r)
	slices.Sort(k.resolved)
	return w.Body.String(), w.Header().Get("Cache-Status"), k.resolved
}

// Only the stale root field is resolved; the others are served from the cache.
func TestRootFieldsAreReplayed(t *testing.T) {
	t.Parallel()
	k := newRootShop(t)
	const query = `{ country(code: "GB") { name } mine: product(id: 7) { name stock } users(first: 2) { nodes { name } totalCount } }`
	first, status, resolved := k.get(t, query)
	if !strings.HasPrefix(status, "fieldcache; fwd=miss; stored") || len(resolved) != 3 {
		t.Fatalf("got %s, resolved %v: %s; want a miss that resolves 3", status, resolved, first)
	}
	if again, status, resolved := k.get(t, query); again != first || !strings.HasPrefix(status, "fieldcache; hit") || len(resolved) != 0 {
		t.Errorf("got %s, resolved %v: %s; want a hit", status, resolved, again)
	}

	c, err := k.db.SetStock(t.Context(), 7, 4321)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.cache.Evict(t.Context(), cache.Write{Xid: c.Xid, Epoch: c.Epoch, Eviction: k.untrue(t, c)}); err != nil {
		t.Fatal(err)
	}
	k.sql()
	now, status, resolved := k.get(t, query)
	if !strings.Contains(now, `"stock":4321`) || status != "fieldcache; fwd=partial; stored" || !slices.Equal(resolved, []string{"mine"}) {
		t.Errorf("got %s, resolved %v: %s; want to resolve mine alone", status, resolved, now)
	}
	if list := k.sql(); len(list) != 1 || !strings.Contains(list[0], `"stock"`) || strings.Contains(list[0], `"name"`) {
		t.Errorf("statements are %s, want one of the stock", lines(list))
	}

	// Another query shares a root field under another alias.
	other, _, resolved := k.get(t, `{ uk: country(code: "GB") { name } product(id: 8) { name } }`)
	if !strings.Contains(other, `"uk":{"name":"United Kingdom"}`) || !slices.Equal(resolved, []string{"product"}) {
		t.Errorf("resolved %v, want product alone: %s", resolved, other)
	}
	for name, q := range map[string]string{
		"another argument":  `{ country(code: "DE") { name } p: product(id: 8) { id } }`,
		"another selection": `{ country(code: "GB") { code } q: product(id: 8) { category } }`,
	} {
		if _, _, resolved := k.get(t, q); !slices.Contains(resolved, "country") {
			t.Errorf("%s: resolved %v, want country among them", name, resolved)
		}
	}
	if _, _, resolved := k.get(t, query, "Cache-Control", "no-cache"); len(resolved) != 3 {
		t.Errorf("no-cache: resolved %v, want all 3", resolved)
	}
}

// Two fields with the same alias are one root field with the selections of both.
func TestMergedRootFieldsAreNotMistaken(t *testing.T) {
	t.Parallel()
	k := newRootShop(t)
	const whole = `{ product(id: 7) { name } ...F @include(if: true) country(code: "GB") { code } } fragment F on Query { product(id: 7) { category } }`
	if body, _, _ := k.get(t, whole); !strings.Contains(body, `"category"`) {
		t.Fatal(body)
	}
	part := strings.Replace(whole, "true", "false", 1)
	if body, _, _ := k.get(t, part); strings.Contains(body, `"category"`) || !strings.Contains(body, `"name"`) {
		t.Errorf("got a field of a skipped fragment: %s", body)
	}
}

// Without a way to tell viewers apart, private root fields are not cached; public ones are.
func TestFault02RootsWithoutViewer(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"without a viewer": false, "with one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var viewer func(context.Context) string
			if known {
				viewer = func(context.Context) string { return "8" }
			}
			k := newRootShopFor(t, sqlite(t), viewer)
			const query = `{ a: user(id: 42) { email } b: product(id: 7) { name } }`
			k.get(t, query)
			_, _, resolved := k.get(t, query+" ") // the same query by meaning, with another text
			_, _, more := k.get(t, `{ c: product(id: 7) { name } d: user(id: 42) { email } }`)
			if want := map[bool]string{true: "[] []", false: "[a] [d]"}[known]; fmt.Sprint(resolved, more) != want {
				t.Errorf("resolved %v and %v, want %s", resolved, more, want)
			}
		})
	}
}
