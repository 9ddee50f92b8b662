package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"todo/graph"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
)

const query = `{todos{id text done user{name}}}`

// Responses equal those of the resolvers, before and after a write by anyone.
func TestAnswersAreTheSame(t *testing.T) {
	db, cached, plain := servers(t)
	for i := range 5 {
		same(t, cached, plain, query)
		cachedSoon(t, cached, query)
		text := fmt.Sprintf("todo %d", i)
		mutation := fmt.Sprintf(`mutation{createTodo(input:{text:%q,userId:"%d"}){id text user{name}}}`, text, 1+i%2)
		if answer, _ := post(t, cached, mutation); !strings.Contains(answer, text) {
			t.Fatal(answer)
		}
		answer, status := post(t, cached, query)
		if !strings.Contains(answer, text) || strings.Contains(status, "hit") {
			t.Errorf("after the mutation: got %s: %s, want a miss with the new text", status, answer)
		}
		same(t, cached, plain, query)
	}
	cachedSoon(t, cached, query)
	if _, err := db.ExecContext(t.Context(), "UPDATE users SET name = 'Ada Lovelace' WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write outside GraphQL does not evict", func() bool {
		answer, _ := post(t, cached, query)
		return strings.Contains(answer, "Ada Lovelace")
	})
	same(t, cached, plain, query)
	same(t, cached, plain, `mutation{createTodo(input:{text:"x",userId:"9"}){id}}`) // no such user
	same(t, cached, plain, `{todos{none}}`)
}

func BenchmarkQuery(b *testing.B) {
	_, cached, plain := servers(b)
	for range 20 {
		post(b, cached, `mutation{createTodo(input:{text:"a thing to do",userId:"1"}){id}}`)
	}
	cachedSoon(b, cached, query)
	for _, server := range []struct {
		name string
		http.Handler
	}{{"before", plain}, {"after", cached}} {
		b.Run(server.name, func(b *testing.B) {
			for b.Loop() {
				post(b, server, query)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// servers returns a database, this server over it, and one with gqlgen alone.
func servers(t testing.TB) (db *sql.DB, cached, plain http.Handler) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/todo.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_pragma=recursive_triggers(1)")
	if err != nil {
		t.Fatal(err)
	}
	cached, err = newMux(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	srv := handler.New(graph.NewExecutableSchema(graph.Config{Resolvers: &graph.Resolver{DB: db}}))
	srv.AddTransport(transport.POST{})
	return db, cached, srv
}

// post returns the body of a response and its Cache-Status.
func post(t testing.TB, h http.Handler, query string) (answer, status string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "/query", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String(), w.Header().Get("Cache-Status")
}

func same(t *testing.T, cached, plain http.Handler, query string) {
	t.Helper()
	want, _ := post(t, plain, query)
	if got, status := post(t, cached, query); got != want {
		t.Errorf("%s: %s: got %s, want %s", query, status, got, want)
	}
}

// cachedSoon repeats a query until it is a hit.
func cachedSoon(t testing.TB, cached http.Handler, query string) {
	t.Helper()
	eventually(t, "no request is a hit", func() bool {
		_, status := post(t, cached, query)
		return strings.Contains(status, "hit")
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}
