package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"issues/graph"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/sqlwatch"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

var queries = []string{
	`{feed{__typename ... on Issue{id title author{name}} ... on Comment{id body author{name}}}}`,
	`{issue(id:"1"){title author{id name email} comments{body author{name email}} similar(first:2){id title}}}`,
	`{issue(id:"2"){title similar{title}} other:issue(id:"3"){comments{id}}}`,
	`{me{id name email}}`,
	`{issue(id:"none"){title}}`,
}

var viewers = []string{"", "ada", "grace"}

// After each of many random writes, by GraphQL and by SQL, every viewer gets the same responses as
// without the cache.
func TestRandomWrites(t *testing.T) {
	t.Parallel()
	for name, url := range databases(t) {
		t.Run(name, func(t *testing.T) {
			db := opened(t, url)
			cached, plain := servers(t, db)
			randomWrites(t, db, cached, plain)
		})
	}
}

// The same holds if the schema declares no rows and the database reports what each field read.
func TestRandomWritesObserved(t *testing.T) {
	t.Parallel()
	for name, url := range databases(t) {
		t.Run(name, func(t *testing.T) {
			db := opened(t, url)
			_, plain := servers(t, db)
			watch := new(cache.Watch)
			driver := "sqlite"
			if strings.HasPrefix(url, "postgres") {
				driver = "pgx"
			}
			watched, err := sqlwatch.Open(driver, source(url), watch)
			if err != nil {
				t.Fatal(err)
			}
			resolver := &graph.Resolver{DB: watched}
			schema := graph.NewExecutableSchema(graph.Config{Resolvers: resolver, Schema: withoutRows(t)})
			fc, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: watched, Viewer: graph.ViewerOf, Watch: watch})
			if err != nil {
				t.Fatal(err)
			}
			srv := newServer(schema, resolver)
			srv.Use(fc)
			randomWrites(t, db, signedIn(fc.Handler(srv)), plain)
		})
	}
}

// withoutRows returns the schema without @cacheRows.
func withoutRows(t *testing.T) *ast.Schema {
	t.Helper()
	read := func(name string) *ast.Source {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return &ast.Source{Name: name, Input: string(text)}
	}
	directives, types := read("../../cache/gqlcache/directives.graphqls"), read("graph/schema.graphqls")
	types.Input = regexp.MustCompile(` @cacheRows\([^)]*\)`).ReplaceAllString(types.Input, "")
	schema, err := gqlparser.LoadSchema(directives, types)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func randomWrites(t *testing.T, db *sql.DB, cached, plain http.Handler) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for step := range 60 {
		viewer, issue, text := viewers[1+random.IntN(2)], 1+random.IntN(3), fmt.Sprintf("text %d", step)
		byGraphQL := step%3 != 0
		switch step % 3 {
		case 0:
			exec(t, db, "UPDATE authors SET name = $1, email = $2 WHERE id = $3", text, text, viewer)
		case 1:
			request(t, cached, viewer, fmt.Sprintf(`mutation{setTitle(id:"%d",title:%q){title author{name}}}`, issue, text))
		case 2:
			request(t, cached, viewer, fmt.Sprintf(`mutation{addComment(issue:"%d",body:%q){body author{name}}}`, issue, text))
		}
		for range 2 {
			for _, query := range queries {
				for _, viewer := range viewers {
					want, _ := request(t, plain, viewer, query)
					got, status := request(t, cached, viewer, query)
					for end := time.Now().Add(30 * time.Second); got != want && !byGraphQL && time.Now().Before(end); {
						got, status = request(t, cached, viewer, query) // a write by SQL is seen soon
					}
					if got != want {
						t.Fatalf("step %d: %s by %q: %s: got %s, want %s", step, query, viewer, status, got, want)
					}
					if strings.Contains(status, "; hit") {
						hits++
					}
				}
			}
		}
	}
	if hits < 100 {
		t.Errorf("got %d hits, want at least 100", hits)
	}
}

// gqlgen's websocket transport works inside the cache's handler.
func TestSubscription(t *testing.T) {
	t.Parallel()
	for name, url := range databases(t) {
		t.Run(name, func(t *testing.T) {
			cached, _ := servers(t, opened(t, url))
			server := httptest.NewServer(cached)
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, server.URL+"/query", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			type message struct {
				Type    string          `json:"type"`
				ID      string          `json:"id,omitempty"`
				Payload json.RawMessage `json:"payload,omitempty"`
			}
			var got message
			for _, m := range []message{{Type: "connection_init"}, {Type: "subscribe", ID: "1",
				Payload: json.RawMessage(`{"query":"subscription{commentAdded(issue:\"1\"){body author{name}}}"}`)}} {
				if err := wsjson.Write(ctx, conn, m); err != nil {
					t.Fatal(err)
				}
				if m.Type == "connection_init" {
					if err := wsjson.Read(ctx, conn, &got); err != nil || got.Type != "connection_ack" {
						t.Fatal(got, err)
					}
				}
			}
			readErr := make(chan error, 1)
			go func() {
				for got.Type != "next" {
					if err := wsjson.Read(ctx, conn, &got); err != nil {
						readErr <- err
						return
					}
				}
				readErr <- nil
			}()
			for done := false; !done; { // a late subscription misses earlier comments
				request(t, cached, "ada", `mutation{addComment(issue:"1",body:"Soon"){id}}`)
				select {
				case err := <-readErr:
					if err != nil {
						t.Fatal(err)
					}
					done = true
				case <-time.After(20 * time.Millisecond):
				}
			}
			if want := `{"data":{"commentAdded":{"body":"Soon","author":{"name":"Ada"}}}}`; string(got.Payload) != want {
				t.Errorf("got %s, want %s", got.Payload, want)
			}
		})
	}
}

func BenchmarkSimilar(b *testing.B) {
	db := opened(b, databases(b)["sqlite"])
	cached, plain := servers(b, db)
	for i := range 200 {
		exec(b, db, "INSERT INTO issues VALUES ($1, $2, 'ada')", fmt.Sprintf("n%d", i), fmt.Sprintf("Something squeaks in house %d", i))
	}
	for name, server := range map[string]http.Handler{"before": plain, "after": cached} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				request(b, server, "", queries[1])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// databases returns the addresses of a SQLite database and, if DATABASE_URL is set, of a separate
// schema in PostgreSQL.
func databases(t testing.TB) map[string]string {
	t.Helper()
	found := map[string]string{"sqlite": t.TempDir() + "/issues.db"}
	if postgres := os.Getenv("DATABASE_URL"); postgres != "" {
		u, err := url.Parse(postgres)
		if err != nil {
			t.Fatal(err)
		}
		admin := opened(t, postgres)
		schema := strings.ToLower(t.Name())
		exec(t, admin, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		exec(t, admin, "CREATE SCHEMA "+schema)
		q := u.Query()
		q.Set("search_path", schema)
		u.RawQuery = q.Encode()
		found["postgres"] = u.String()
	}
	return found
}

func opened(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := open(url)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// servers returns this server, and one with gqlgen alone.
func servers(t testing.TB, db *sql.DB) (cached, plain http.Handler) {
	t.Helper()
	cached, err := newMux(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &graph.Resolver{DB: db}
	return cached, signedIn(newServer(graph.NewExecutableSchema(graph.Config{Resolvers: resolver}), resolver))
}

func exec(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// request returns the body of a response and its Cache-Status.
func request(t testing.TB, h http.Handler, viewer, query string) (answer, status string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/query", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if viewer != "" {
		r.Header.Set("Authorization", viewer)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String(), w.Header().Get("Cache-Status")
}
