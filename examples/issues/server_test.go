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
	"strings"
	"testing"
	"time"

	"issues/graph"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

var queries = []string{
	`{feed{__typename ... on Issue{id title author{name}} ... on Comment{id body author{name}}}}`,
	`{issue(id:"1"){title author{id name email} comments{body author{name email}} similar(first:2){id title}}}`,
	`{issue(id:"2"){title similar{title}} other:issue(id:"3"){comments{id}}}`,
	`{me{id name email}}`,
	`{issue(id:"none"){title}}`,
}

var viewers = []string{"", "ada", "grace"}

// After each of many random writes, by GraphQL and by SQL, everybody is answered as without the cache.
func TestRandomWrites(t *testing.T) {
	for name, db := range databases(t) {
		t.Run(name, func(t *testing.T) {
			cached, plain := servers(t, db)
			random := rand.New(rand.NewPCG(1, 2))
			hits := 0
			for step := range 60 {
				viewer, issue, text := viewers[1+random.IntN(2)], 1+random.IntN(3), fmt.Sprintf("text %d", step)
				byGraphQL := step%3 != 0
				switch step % 3 {
				case 0:
					exec(t, db, "UPDATE authors SET name = $1, email = $2 WHERE id = $3", text, text, viewer)
				case 1:
					ask(t, cached, viewer, fmt.Sprintf(`mutation{setTitle(id:"%d",title:%q){title author{name}}}`, issue, text))
				case 2:
					ask(t, cached, viewer, fmt.Sprintf(`mutation{addComment(issue:"%d",body:%q){body author{name}}}`, issue, text))
				}
				for range 2 {
					for _, query := range queries {
						for _, viewer := range viewers {
							want, _ := ask(t, plain, viewer, query)
							got, status := ask(t, cached, viewer, query)
							for end := time.Now().Add(30 * time.Second); got != want && !byGraphQL && time.Now().Before(end); {
								got, status = ask(t, cached, viewer, query) // a write past GraphQL is seen soon
							}
							if got != want {
								t.Fatalf("step %d: %s by %q: %s: %s, want %s", step, query, viewer, status, got, want)
							}
							if strings.Contains(status, "; hit") {
								hits++
							}
						}
					}
				}
			}
			if hits < 100 {
				t.Errorf("only %d responses were hits", hits)
			}
		})
	}
}

// gqlgen's websocket transport works behind the cache's handler.
func TestSubscription(t *testing.T) {
	for name, db := range databases(t) {
		t.Run(name, func(t *testing.T) {
			cached, _ := servers(t, db)
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
			told := make(chan error, 1)
			go func() {
				for got.Type != "next" {
					if err := wsjson.Read(ctx, conn, &got); err != nil {
						told <- err
						return
					}
				}
				told <- nil
			}()
			for done := false; !done; { // whoever subscribes late misses what was before
				ask(t, cached, "ada", `mutation{addComment(issue:"1",body:"Soon"){id}}`)
				select {
				case err := <-told:
					if err != nil {
						t.Fatal(err)
					}
					done = true
				case <-time.After(20 * time.Millisecond):
				}
			}
			if want := `{"data":{"commentAdded":{"body":"Soon","author":{"name":"Ada"}}}}`; string(got.Payload) != want {
				t.Errorf("%s, want %s", got.Payload, want)
			}
		})
	}
}

func BenchmarkSimilar(b *testing.B) {
	db := databases(b)["sqlite"]
	cached, plain := servers(b, db)
	for i := range 200 {
		exec(b, db, "INSERT INTO issues VALUES ($1, $2, 'ada')", fmt.Sprintf("n%d", i), fmt.Sprintf("Something squeaks in house %d", i))
	}
	for name, server := range map[string]http.Handler{"before": plain, "after": cached} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				ask(b, server, "", queries[1])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// databases are an embedded one and, where DATABASE_URL names one, a schema of its own in a PostgreSQL.
func databases(t testing.TB) map[string]*sql.DB {
	t.Helper()
	found := map[string]*sql.DB{}
	add := func(name, url string) {
		db, err := open(url)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = db
	}
	add("sqlite", t.TempDir()+"/issues.db")
	if postgres := os.Getenv("DATABASE_URL"); postgres != "" {
		u, err := url.Parse(postgres)
		if err != nil {
			t.Fatal(err)
		}
		admin, err := open(postgres)
		if err != nil {
			t.Fatal(err)
		}
		schema := strings.ToLower(t.Name())
		exec(t, admin, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		exec(t, admin, "CREATE SCHEMA "+schema)
		q := u.Query()
		q.Set("search_path", schema)
		u.RawQuery = q.Encode()
		add("postgres", u.String())
	}
	return found
}

// servers returns this server, and gqlgen's alone.
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

// ask returns the body of an answer and its Cache-Status.
func ask(t testing.TB, h http.Handler, viewer, query string) (answer, status string) {
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
