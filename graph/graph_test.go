package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// shop is a gateway over its own database with the demo data.
type shop struct {
	db      *db.DB
	cache   *cache.Cache
	loaders *dataloader.Factory
	redis   *redis.Client // nil: memory alone
	handler http.Handler
	header  http.Header // sent with every request
	log     *bytes.Buffer

	mu         sync.Mutex
	statements []string
}

// statementHook records every statement sent to the database.
type statementHook struct{ *shop }

func (h statementHook) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context {
	return ctx
}

func (h statementHook) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statements = append(h.statements, e.Query)
}

// sql returns the statements since its last call, without those that begin or end a transaction.
func (s *shop) sql() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, q := range s.statements {
		switch strings.Fields(q)[0] {
		case "BEGIN", "COMMIT", "ROLLBACK":
			continue
		}
		list = append(list, q)
	}
	s.statements = nil
	return list
}

// seeded returns the URL of a database that is filled once for each name.
func seeded(t testing.TB, name string, o fixtures.Options) string {
	return testservers.PostgresFrom(t, name, func(url string) error {
		d, err := db.Open(context.Background(), db.Options{URL: url, Rows: cachedRows})
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err := d.MigrateUp(context.Background()); err != nil {
			return err
		}
		if err := fixtures.Seed(context.Background(), d, o); err != nil {
			return err
		}
		// Otherwise gateways relay the seed's outbox records and evict what tests look at.
		_, err = d.Bun().Exec("DELETE FROM cache_outbox")
		return err
	})
}

// backends runs a test on both databases and with both sets of tiers.
func backends(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Run("SQLite, memory", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, sqlite(t), ""))
	})
	t.Run("PostgreSQL, Redis", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, seeded(t, "demo", fixtures.Demo), testservers.Redis(t)))
	})
}

// sqlite returns the URL of an embedded database with the demo data.
func sqlite(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.db")
	data, err := demo()
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + file
}

// demo returns the file of such a database. It is filled once: migrating and seeding take longer
// than most tests.
var demo = sync.OnceValues(func() (data []byte, err error) {
	dir, err := os.MkdirTemp("", "graph")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "shop.db")
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{URL: "sqlite://" + file, Rows: cachedRows})
	if err != nil {
		return nil, err
	}
	if _, err = d.MigrateUp(ctx); err == nil {
		err = fixtures.Seed(ctx, d, fixtures.Demo)
	}
	if err = errors.Join(err, d.Close()); err != nil { // once closed, all data is in one file
		return nil, err
	}
	return os.ReadFile(file)
})

// open makes a gateway; an empty redisURL means memory alone.
func open(t testing.TB, databaseURL, redisURL string) *shop {
	return openWith(t, db.Options{URL: databaseURL, Rows: cachedRows}, redisURL)
}

func openWith(t testing.TB, database db.Options, redisURL string) *shop {
	s := &shop{log: &bytes.Buffer{}, header: http.Header{}}
	var err error
	if s.db, err = db.Open(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	s.db = s.db.WithQueryHook(statementHook{s})
	memory, err := memstore.New(memstore.Options{MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&locked{w: s.log}, nil))
	o := cache.Options{Memory: memory, Timeout: 10 * time.Second, Log: log}
	if redisURL != "" {
		far, err := redisstore.New(redisstore.Options{URLs: []string{redisURL}, Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		o.Shared = far
		ro, err := redis.ParseURL(redisURL)
		if err != nil {
			t.Fatal(err)
		}
		s.redis = redis.NewClient(ro)
		t.Cleanup(func() { _ = s.redis.Close() })
	}
	if s.cache, err = cache.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cache.Close() })

	schema := graph.NewSchema(s.db, log)
	plan, err := planOf(schema, s.db)
	if err != nil {
		t.Fatal(err)
	}
	policies := plan.policies
	loaders, fields := plan.load(t, s.cache, s.db, log)
	s.loaders = loaders
	s.handler = handlerOf(t, graph.NewExecutor(schema, loaders, graph.Options{
		Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000, Introspection: true,
		Debug: &graph.Debug{Policy: func(coordinate string) cache.Policy {
			p, err := policies.Of(coordinate)
			if err != nil {
				t.Error(err)
			}
			return p
		}, Truth: func(coordinate string) string { return string(plan.fields.Truth(coordinate)) }},
		Extensions: []graphql.HandlerExtension{&gqlcache.FieldCount{
			Of: func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) },
		}, fields},
	}, log), transport.Options{})
	return s
}

// handlerOf makes a handler and fails the test if the options are invalid.
func handlerOf(t testing.TB, exec *executor.Executor, o transport.Options) *transport.Handler {
	t.Helper()
	h, err := transport.NewHandler(exec, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// locked is a buffer that several goroutines may write to.
type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// everyone is the viewer of an open server.
var everyone = graph.Viewer{Open: true}

// answer is a response to an operation.
type answer struct {
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Extensions map[string]any
	}
	raw string
}

// code returns the code of the first error, or "" without errors.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	c, _ := a.Errors[0].Extensions["code"].(string)
	return c
}

// execute runs an operation as a viewer. Variables are pairs of name and value.
func (s *shop) execute(t testing.TB, v graph.Viewer, query string, variables ...any) answer {
	t.Helper()
	vars := map[string]any{}
	for i := 0; i+1 < len(variables); i += 2 {
		vars[variables[i].(string)] = variables[i+1]
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), v), http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	maps.Copy(r.Header, s.header)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	a := answer{raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return a
}

// read runs an operation on an open server and decodes its data into v. Errors fail the test.
func (s *shop) read(t testing.TB, v any, query string, variables ...any) {
	t.Helper()
	a := s.execute(t, everyone, query, variables...)
	if len(a.Errors) > 0 {
		t.Fatalf("%s: %s", query, a.raw)
	}
	if err := json.Unmarshal(a.Data, v); err != nil {
		t.Fatal(err)
	}
}

// flush evicts everything of the schema's types from the cache.
func (s *shop) flush(t testing.TB) {
	t.Helper()
	var ev cache.Eviction
	for _, name := range []string{"User", "Product", "Review", "Order", "Country"} {
		ev.Tags = append(ev.Tags, cache.Type(name))
	}
	if _, err := s.cache.EvictByHand(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
}

func lines(list []string) string { return strings.Join(list, "\n") }
