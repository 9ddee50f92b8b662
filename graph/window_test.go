package graph_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
	"fieldcache/graph/generated"
)

// A loader's value of a type with staleWhileRevalidate is served once more after its max age, while
// it is loaded again. Cache-Status says so, and nothing downstream may store the response.
func TestCacheStatusOfATypeWithAWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, err := db.Open(t.Context(), db.Options{URL: "sqlite::memory:", Rows: cachedRows})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.MigrateUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := fixtures.Seed(t.Context(), d, fixtures.Demo); err != nil {
			t.Fatal(err)
		}
		memory, err := memstore.New(memstore.Options{MaxBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		quiet := slog.New(slog.DiscardHandler)
		c, err := cache.New(cache.Options{Memory: memory, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		store, err := answers.New(answers.Options{Cache: c, MaxBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		schema := generated.NewExecutableSchema(generated.Config{
			Schema:    schemaWith(t, "@cacheControl(maxAge: 86400)", "@cacheControl(maxAge: 60, staleWhileRevalidate: 60)"),
			Resolvers: &graph.Resolver{DB: d, Log: quiet},
		})
		plan, err := planOf(schema, d)
		if err != nil {
			t.Fatal(err)
		}
		loaders, _ := plan.load(t, c, d, quiet)
		counter := func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) }
		handler := handlerOf(t, graph.NewExecutor(schema, loaders, graph.Options{
			Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000,
			Extensions: []graphql.HandlerExtension{&gqlcache.Hints{}, &gqlcache.FieldCount{Of: counter}},
		}, quiet), transport.Options{Answers: store})
		get := func(query, status, control string) {
			t.Helper()
			r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodGet, "/graphql?query="+url.QueryEscape(query), nil)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			got := w.Header().Get("Cache-Status")
			if w.Code != http.StatusOK || got != status || !strings.HasPrefix(w.Header().Get("Cache-Control"), control) {
				t.Errorf("%s: got %d, %s, Cache-Control: %s; want %s, %s\n%s", query, w.Code, got, w.Header().Get("Cache-Control"), status, control, w.Body)
			}
		}
		const country = `{ country(code: "GB") { name } }`
		get(country, "fieldcache; fwd=miss; stored", "max-age=60")
		time.Sleep(61 * time.Second)
		get(country, "fieldcache; hit; detail=swr", "no-store")
		time.Sleep(time.Second)
		get(country, "fieldcache; fwd=partial; stored", "max-age=60") // the value comes from memory, the response is computed

		time.Sleep(61 * time.Second)
		get(`{ country(code: "GB") { name } product(id: 7) { name } }`, "fieldcache; fwd=partial; detail=swr", "no-store")
		time.Sleep(time.Second)
		time.Sleep(121 * time.Second)
		get(country, "fieldcache; fwd=miss; stored", "max-age=60")
	})
}
