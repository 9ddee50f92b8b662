package graph_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

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

// rowCount counts the rows that the database reads: those that it returns and those that it
// aggregates.
type rowCount struct {
	of   *db.DB // queried for the number of aggregated rows
	rows atomic.Int64
	err  atomic.Pointer[error]
}

// summed finds the products whose reviews a statement aggregates.
var summed = regexp.MustCompile(`sum\(rating\).*"?product_id"? IN \(([0-9, ]+)\)`)

func (c *rowCount) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (c *rowCount) AfterQuery(ctx context.Context, e *bun.QueryEvent) {
	if e.Result == nil { // BEGIN, COMMIT or ROLLBACK
		return
	}
	n, err := e.Result.RowsAffected()
	if ids := summed.FindStringSubmatch(e.Query); ids != nil && err == nil {
		var reviews int64
		err = c.of.Bun().DB.QueryRowContext(ctx, "SELECT count(*) FROM reviews WHERE product_id IN ("+ids[1]+")").Scan(&reviews)
		n += reviews
	}
	if err != nil {
		c.err.Store(&err)
	}
	c.rows.Add(n)
}

// quickStock is the shop's schema with a max age of one second for stock.
func quickStock(t *testing.T) *ast.Schema {
	t.Helper()
	return schemaWith(t, "stock: Int! @cacheControl(maxAge: 30)", "stock: Int! @cacheControl(maxAge: 1)")
}

// schemaWith returns the shop's schema with a part of its text replaced.
func schemaWith(t *testing.T, old, text string) *ast.Schema {
	t.Helper()
	files, err := fs.Glob(os.DirFS("schema"), "*.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	var sources []*ast.Source
	replaced := 0
	for _, name := range files {
		file, err := os.ReadFile(path.Join("schema", name))
		if err != nil {
			t.Fatal(err)
		}
		replaced += strings.Count(string(file), old)
		sources = append(sources, &ast.Source{Name: name, Input: strings.Replace(string(file), old, text, 1)})
	}
	if replaced != 1 {
		t.Fatalf("%q is in the schema %d times, want once", old, replaced)
	}
	schema, err := gqlparser.LoadSchema(sources...)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// mixed requests products for a minute, ten times a second, and returns how many rows were read for
// each 1,000 responses. If whole is set, all parts of a response are evicted each second with it,
// as if only whole responses were cached.
func mixed(t *testing.T, reviews int, whole bool) float64 {
	d, err := db.Open(t.Context(), db.Options{URL: "sqlite::memory:", Rows: cachedRows})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := fixtures.Demo
	o.Reviews = reviews * o.Products
	if err := fixtures.Seed(t.Context(), d, o); err != nil {
		t.Fatal(err)
	}
	count := &rowCount{of: d}

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
	counted := d.WithQueryHook(count)
	schema := generated.NewExecutableSchema(generated.Config{
		Schema: quickStock(t), Resolvers: &graph.Resolver{DB: counted, Log: quiet},
	})
	plan, err := planOf(schema, counted)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := plan.policies.Of("Product.stock"); err != nil || p.MaxAge != time.Second {
		t.Fatalf("the max age of stock is %v (%v), want 1 s", p.MaxAge, err)
	}
	loaders, _ := plan.load(t, c, counted, quiet)
	counter := func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) }
	handler := handlerOf(t, graph.NewExecutor(schema, loaders, graph.Options{
		Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000,
		Extensions: []graphql.HandlerExtension{&gqlcache.Hints{}, &gqlcache.FieldCount{Of: counter}},
	}, quiet), transport.Options{Answers: store})

	const seconds, perSecond = 60, 10
	target := "/graphql?query=" + url.QueryEscape(operations["list"])
	for n := range seconds * perSecond {
		r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodGet, target, nil)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if status := w.Header().Get("Cache-Status"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"stock":`) ||
			!strings.HasPrefix(status, "fieldcache; hit") && !strings.HasSuffix(status, "; stored") {
			t.Fatalf("got %d, %s: %s", w.Code, status, w.Body)
		}
		time.Sleep(time.Second / perSecond)
		if whole && n%perSecond == perSecond-1 {
			var all cache.Eviction
			for _, name := range []string{"Product", "Review"} {
				all.Tags = append(all.Tags, cache.Type(name))
			}
			if _, err := c.EvictByHand(t.Context(), all); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := count.err.Load(); err != nil {
		t.Fatal(*err)
	}
	return float64(count.rows.Load()) / (seconds * perSecond) * 1000
}

// When the stock of twenty products expires each second, only the stock is read. That saves reading
// everything with a longer max age, above all the reviews behind the ratings.
func TestMixedAgesReadWhatEnded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reviews int     // per product, on average
		most    float64 // share of the rows that are read when whole responses are cached
	}{
		"no reviews":         {0, 1.0 / 1.5},
		"10 reviews of each": {10, 1.0 / 8},
		"50 reviews of each": {50, 1.0 / 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parts, whole := mixed(t, test.reviews, false), mixed(t, test.reviews, true)
				if parts == 0 || parts > whole*test.most {
					t.Errorf("got %.0f rows for each 1,000 responses and %.0f with whole responses, want at most %.3f of them", parts, whole, test.most)
				}
				t.Logf("rows for each 1,000 responses: %.0f, with whole responses %.0f, 1/%.1f", parts, whole, whole/parts)
			})
		})
	}
}
