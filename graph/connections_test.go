package graph_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// TestFault15UnderLoad alters tables and terminates connections while a gateway serves requests: no
// error is INTERNAL.
func TestFault15UnderLoad(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string][]string{
		"a column is added": {"ALTER TABLE users ADD COLUMN extra%d text", "ALTER TABLE products ADD COLUMN extra%d text"},
		"connections are terminated": {"SELECT %d, pg_terminate_backend(pid) FROM pg_stat_activity " +
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
			var requests atomic.Int64
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
							requests.Add(1)
							if a := s.execute(t, everyone, query); a.code() != "" && a.code() != "UNAVAILABLE" {
								t.Errorf("%s: got code %s, want none or UNAVAILABLE", query, a.code())
							}
						}
					}
				})
			}
			for i := 0; i < 8 || requests.Load() < 100; i++ {
				for _, statement := range statements {
					if _, err := operator.Bun().ExecContext(t.Context(), fmt.Sprintf(statement, i)); err != nil {
						t.Error(err)
					}
				}
				for began := requests.Load(); requests.Load() < began+12; {
					time.Sleep(time.Millisecond)
				}
			}
			close(stop)
			users.Wait()
		})
	}
}

// post sends an operation to an open server and returns the raw response.
func (s *shop) post(t *testing.T, query string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodPost, "/graphql",
		strings.NewReader(fmt.Sprintf(`{"query": %q}`, query)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// unavailable checks that a response reports the database as unavailable, to clients and to
// proxies.
func unavailable(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" ||
		!strings.Contains(w.Body.String(), `"code":"UNAVAILABLE"`) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %s, want 503 UNAVAILABLE", w.Code, w.Header(), w.Body)
	}
}

// TestFault22LockedSQLite holds SQLite's lock for longer than a writer waits: writes are
// UNAVAILABLE, reads succeed.
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
			t.Errorf("a read during a write: got %d %s, want 200", w.Code, w.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := s.post(t, "mutation {setStock(productId: 1, stock: 5) {stock}}"); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "errors") {
		t.Errorf("after the lock was released: got %d %s, want 200", w.Code, w.Body)
	}
}

// TestFault15DatabaseAway sends requests to a gateway whose database is stopped.
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
	// Fields that do not need the database are returned.
	if w := s.post(t, "{__typename user(id: 1) {name}}"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "UNAVAILABLE") {
		t.Errorf("got %d %s, want 200 with UNAVAILABLE for the user", w.Code, w.Body)
	}
}

// with returns a database URL with further options.
func with(t *testing.T, text, options string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = strings.Trim(u.RawQuery+"&"+options, "&")
	return u.String()
}

// TestUncertainCommitsEvict cuts the connection while a write commits. The client learns that the
// outcome is unknown, the write is not repeated, and what it may have changed is read again.
func TestUncertainCommitsEvict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		held     string // text of the request whose response is cut off
		options  string // of the database's URL
		mutation string
		query    string
		want     string // after the mutation
	}{
		"one statement": {"none saw this", "",
			`mutation { updateProduct(id: 7, input: {description: "none saw this"}) { id } }`,
			`{ product(id: 7) { description } }`, `{"data":{"product":{"description":"none saw this"}}}`},
		"one statement by the simple protocol": {"commit", "default_query_exec_mode=simple_protocol",
			`mutation { updateProduct(id: 7, input: {description: "none saw this"}) { id } }`,
			`{ product(id: 7) { description } }`, `{"data":{"product":{"description":"none saw this"}}}`},
		"a transaction that adds a row": {"commit", "",
			`mutation { addReview(productId: 7, rating: 1, body: "none saw this", authorId: 1) { id } }`,
			`{ user(id: 1) { reviews(first: 50) { totalCount } } }`, ""},
		"a transaction": {"commit", "", `mutation { deleteUser(id: 5) }`, `{ user(id: 5) { name } }`, `{"data":{"user":null}}`},
		"a transaction that counts": {"commit", "",
			`mutation { placeOrder(customerId: 1, lines: [{productId: 7, quantity: 3}]) { id } }`,
			`{ product(id: 7) { stock } }`, `{"data":{"product":{"stock":247}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := seeded(t, "demo", fixtures.Demo)
			proxy := testservers.NewProxy(t, database)
			s, direct := open(t, with(t, proxy.URL(), c.options), ""), open(t, database, "")
			before := s.post(t, c.query).Body.String()
			s.sql()
			if again := s.post(t, c.query).Body.String(); again != before || len(s.sql()) > 0 {
				t.Fatalf("the first response was not cached: got %s, then %s", before, again)
			}
			hold := proxy.HoldAnswer(c.held)
			ended := make(chan *httptest.ResponseRecorder, 1)
			go func() { ended <- s.post(t, c.mutation) }()
			select {
			case <-hold.Caught(): // the server has committed
			case w := <-ended:
				t.Fatalf("no response was held back: %s", w.Body)
			}
			proxy.Drop()
			w := <-ended
			if body := w.Body.String(); !strings.Contains(body, `"code":"UNAVAILABLE"`) || !strings.Contains(body, `"uncertain":true`) {
				t.Errorf("the writer got %d %s, want UNAVAILABLE and uncertain", w.Code, body)
			}
			want := direct.post(t, c.query).Body.String()
			if got := s.post(t, c.query).Body.String(); got != want || got == before || c.want != "" && got != c.want {
				t.Errorf("before: got %s, after: %s, want %s %s", before, got, want, c.want)
			}
		})
	}
}
