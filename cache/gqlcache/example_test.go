package gqlcache_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	_ "modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// Open caches every field that has an age. A write that changes the rows of a field evicts it.
func ExampleOpen() {
	db, end := exampleDatabase()
	defer end()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: db}})

	fc, err := gqlcache.Open(context.Background(), schema, gqlcache.Options{Database: db, Viewer: tracker.ViewerOf})
	if err != nil {
		log.Fatal(err)
	}
	defer fc.Close()
	srv := handler.New(schema) // as before
	srv.AddTransport(transport.POST{})
	srv.Use(fc)
	h := fc.Handler(srv)

	fmt.Println(exampleAsk(h, `{ issue(id: "7") { title } }`))
	fmt.Println(exampleAsk(h, `mutation { setTitle(id: "7", title: "It works") { title } }`))
	fmt.Println(exampleAsk(h, `{ issue(id: "7") { title } }`))
	// Output:
	// {"data":{"issue":{"title":"It leaks"}}}
	// {"data":{"setTitle":{"title":"It works"}}}
	// {"data":{"issue":{"title":"It works"}}}
}

// The second request is served from memory. The third one has the ETag of the response and gets no
// body.
func ExampleGateway_Handler() {
	fc, srv := exampleServer(exampleMotto{})
	defer fc.Close()
	h := fc.Handler(srv)

	get := func(etag string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, "/graphql?query=%7Bmotto%7D", nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	first := get("")
	fmt.Println(first.StatusCode, first.Header.Get("Cache-Control"))
	second := get("")
	fmt.Println(second.StatusCode, strings.HasPrefix(second.Header.Get("Cache-Status"), "fieldcache; hit"))
	third := get(first.Header.Get("ETag"))
	fmt.Println(third.StatusCode)
	// Output:
	// 200 max-age=60, public
	// 200 true
	// 304
}

// A value that depends on no table can be evicted by a tag, which the schema or the resolver sets.
func ExampleGateway_Evict() {
	calls := 0
	fc, srv := exampleServer(exampleMotto{motto: func(ctx context.Context) string {
		gqlcache.Tag(ctx, "motto")
		calls++
		return fmt.Sprintf("motto %d", calls)
	}})
	defer fc.Close()
	h := fc.Handler(srv)

	fmt.Println(exampleAsk(h, `{ motto }`))
	fmt.Println(exampleAsk(h, `{ motto }`))
	if err := fc.Evict(context.Background(), cache.Eviction{Tags: []cache.Tag{cache.Named("motto")}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(exampleAsk(h, `{ motto }`))
	// Output:
	// {"data":{"motto":"motto 1"}}
	// {"data":{"motto":"motto 1"}}
	// {"data":{"motto":"motto 2"}}
}

// A resolver can name what its value depends on once it knows.
func ExampleTag() {
	source, text := "calendar", "Open today"
	fc, srv := exampleServer(exampleMotto{motto: func(ctx context.Context) string {
		gqlcache.Tag(ctx, source)
		return text
	}})
	defer fc.Close()
	h := fc.Handler(srv)

	fmt.Println(exampleAsk(h, `{ motto }`))
	text = "Closed today"
	for _, tag := range []string{"weather", "calendar"} {
		if err := fc.Evict(context.Background(), cache.Eviction{Tags: []cache.Tag{cache.Named(tag)}}); err != nil {
			log.Fatal(err)
		}
		fmt.Println(tag, exampleAsk(h, `{ motto }`))
	}
	// Output:
	// {"data":{"motto":"Open today"}}
	// weather {"data":{"motto":"Open today"}}
	// calendar {"data":{"motto":"Closed today"}}
}

// A resolver that knows better than the schema can set for how long its value may be cached.
func ExampleSetHint() {
	fc, srv := exampleServer(exampleMotto{motto: func(ctx context.Context) string {
		gqlcache.SetHint(ctx, gqlcache.Hint{MaxAge: new(5 * time.Second)})
		return "Until the next bell"
	}})
	defer fc.Close()
	w := httptest.NewRecorder()
	fc.Handler(srv).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/graphql?query=%7Bmotto%7D", nil))
	fmt.Println(w.Header().Get("Cache-Control"))
	// Output:
	// max-age=5, public
}

// exampleMotto resolves one field without a database. Its age in the schema is a minute.
type exampleMotto struct {
	*tracker.Resolver
	motto func(context.Context) string
}

type exampleQuery struct {
	tracker.QueryResolver
	motto func(context.Context) string
}

func (m exampleMotto) Query() tracker.QueryResolver { return exampleQuery{motto: m.motto} }

func (q exampleQuery) Motto(ctx context.Context) (*string, error) {
	if q.motto == nil {
		return new("Be brief"), nil
	}
	return new(q.motto(ctx)), nil
}

// exampleServer returns a server that caches without a database.
func exampleServer(resolvers tracker.ResolverRoot) (*gqlcache.Gateway, *handler.Server) {
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: resolvers})
	fc, err := gqlcache.Open(context.Background(), schema, gqlcache.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	srv := handler.New(schema)
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})
	srv.Use(fc)
	return fc, srv
}

func exampleAsk(h http.Handler, query string) string {
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(fmt.Sprintf(`{"query":%q}`, query)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String()
}

// exampleDatabase returns an embedded database with one issue.
func exampleDatabase() (db *sql.DB, end func()) {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	db, err = sql.Open("sqlite", "file:"+filepath.Join(folder, "tracker.db")+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec(`
		CREATE TABLE accounts (id TEXT PRIMARY KEY, handle TEXT NOT NULL, secret TEXT);
		CREATE TABLE projects (key TEXT PRIMARY KEY, name TEXT NOT NULL);
		CREATE TABLE members (project_key TEXT NOT NULL, account_id TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (project_key, account_id));
		CREATE TABLE issues (id TEXT PRIMARY KEY, project_key TEXT NOT NULL, number INTEGER NOT NULL, title TEXT NOT NULL,
			state TEXT NOT NULL DEFAULT 'OPEN', points REAL, labels TEXT NOT NULL DEFAULT '[]', author_id TEXT);
		CREATE TABLE comments (id TEXT PRIMARY KEY, issue_id TEXT NOT NULL, author_id TEXT, body TEXT NOT NULL, created_at TEXT);
		CREATE TABLE watches (account_id TEXT NOT NULL, issue_id TEXT NOT NULL, PRIMARY KEY (account_id, issue_id));
		INSERT INTO issues (id, project_key, number, title) VALUES ('7', 'core', 1, 'It leaks')`); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		if err := db.Close(); err != nil {
			log.Fatal(err)
		}
		if err := os.RemoveAll(folder); err != nil {
			log.Fatal(err)
		}
	}
}
