package graph_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
	"fieldcache/internal/testservers"
)

// TestFault15UnderLoad alters tables and ends connections while a gateway answers: no answer is INTERNAL.
func TestFault15UnderLoad(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string][]string{
		"a column is added": {"ALTER TABLE users ADD COLUMN extra%d text", "ALTER TABLE products ADD COLUMN extra%d text"},
		"connections are ended": {"SELECT %d, pg_terminate_backend(pid) FROM pg_stat_activity " +
			"WHERE datname = current_database() AND pid <> pg_backend_pid()"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := seeded(t, "demo", fixtures.Demo)
			s := open(t, url, "")
			operator, err := db.Open(t.Context(), db.Options{URL: url, Rows: cachedRows})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = operator.Close() })
			var users sync.WaitGroup
			var asked atomic.Int64
			stop := make(chan struct{})
			for i := range 6 {
				users.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						for _, query := range []string{
							fmt.Sprintf("{users(first: %d) {nodes {name email bio}}}", 1+n%20),
							fmt.Sprintf("mutation {updateUser(id: %d, input: {bio: \"%d\"}) {name bio}}", 1+i, n),
							fmt.Sprintf("mutation {setStock(productId: %d, stock: %d) {stock name}}", 1+i, n),
						} {
							asked.Add(1)
							if a := s.ask(t, everyone, query); a.code() != "" && a.code() != "UNAVAILABLE" {
								t.Errorf("%s: %s", query, a.code())
							}
						}
					}
				})
			}
			for i := 0; i < 8 || asked.Load() < 100; i++ {
				for _, statement := range statements {
					if _, err := operator.Bun().ExecContext(t.Context(), fmt.Sprintf(statement, i)); err != nil {
						t.Error(err)
					}
				}
				for began := asked.Load(); asked.Load() < began+12; {
					time.Sleep(time.Millisecond)
				}
			}
			close(stop)
			users.Wait()
		})
	}
}

// post sends an operation on an open server, and answers the response as it is.
func (s *shop) post(t *testing.T, query string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodPost, "/graphql",
		strings.NewReader(fmt.Sprintf(`{"query": %q}`, query)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// unavailable fails the test unless an answer says that the database is away, to clients and to proxies.
func unavailable(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" ||
		!strings.Contains(w.Body.String(), `"code":"UNAVAILABLE"`) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestFault22LockedSQLite holds SQLite's lock for longer than a writer waits.
func TestFault22LockedSQLite(t *testing.T) {
	t.Parallel()
	url := sqlite(t)
	s := openWith(t, db.Options{URL: url, BusyTimeout: 50 * time.Millisecond, Rows: cachedRows}, "")
	holder, err := db.Open(t.Context(), db.Options{URL: url, Rows: cachedRows})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close() })
	err = holder.InTx(t.Context(), func(context.Context, bun.Tx) error {
		unavailable(t, s.post(t, "mutation {setStock(productId: 1, stock: 5) {stock}}"))
		unavailable(t, s.post(t, `mutation {updateUser(id: 1, input: {name: "Bo"}) {name}}`))
		if w := s.post(t, "{user(id: 1) {name}}"); w.Code != http.StatusOK {
			t.Errorf("a read beside a writer: %d %s", w.Code, w.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := s.post(t, "mutation {setStock(productId: 1, stock: 5) {stock}}"); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "errors") {
		t.Errorf("once it is free: %d %s", w.Code, w.Body)
	}
}

// TestFault15DatabaseAway asks a gateway whose database is gone.
func TestFault15DatabaseAway(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t)
	d, err := db.Open(t.Context(), db.Options{URL: server.URL(), Rows: cachedRows})
	if err == nil {
		_, err = d.MigrateUp(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	s := open(t, server.URL(), "")
	server.Stop()
	unavailable(t, s.post(t, "{user(id: 1) {name} users {nodes {id}}}"))
	unavailable(t, s.post(t, "mutation {setStock(productId: 1, stock: 5) {stock}}"))
	// What does not need the database is answered.
	if w := s.post(t, "{__typename user(id: 1) {name}}"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "UNAVAILABLE") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
