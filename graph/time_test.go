package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"fieldcache/db/fixtures"
	"fieldcache/graph"
	"fieldcache/internal/testservers"
)

// A time that RFC 3339 cannot express is an error of its field. Requests that do not select it
// succeed: in the same page, in the same batch, and at the same time.
func TestFault17MomentsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	t.Run("SQLite, memory", func(t *testing.T) {
		t.Parallel()
		s := open(t, sqlite(t), "")
		for value, want := range map[string]string{
			"infinity": "infinity", "-infinity": "-infinity", "-0043-03-15 12:00:00+00:00": "-0043-03-15",
			"0000-12-31 12:00:00+00:00": "0000-12-31", "10001-01-01 00:00:00+00:00": "10001-01-01",
			"last Tuesday": "last Tuesday", "": `\"\"`, strings.Repeat("x", 5000): strings.Repeat("x", 100) + "…",
		} {
			unwritableMoment(t, s, s, value, want)
		}
	})
	t.Run("PostgreSQL, Redis", func(t *testing.T) {
		t.Parallel()
		url, redis := seeded(t, "demo", fixtures.Demo), testservers.Redis(t)
		for value, want := range map[string]string{
			"infinity": "infinity", "-infinity": "-infinity", "0044-03-15 12:00:00+00 BC": "-0043-03-15",
			"0001-12-31 12:00:00+00 BC": "0000-12-31", "10001-01-01 00:00:00+00": "10001-01-01", "294276-12-31 23:59:59+00": "294276-12-31",
		} {
			unwritableMoment(t, open(t, url, redis), open(t, url, redis), value, want)
		}
	})
	t.Run("PostgreSQL in text", func(t *testing.T) {
		t.Parallel()
		s := open(t, seeded(t, "demo", fixtures.Demo)+"&default_query_exec_mode=simple_protocol", "")
		unwritableMoment(t, s, s, "infinity", "infinity")
		unwritableMoment(t, s, s, "0044-03-15 12:00:00+00 BC", "-0043-03-15")
		unwritableMoment(t, s, s, "10001-01-01 00:00:00+00", "10001-01-01")
	})
}

// unwritableMoment stores a value in three tables and reads the rows with an empty cache, and twice
// with a filled one.
func unwritableMoment(t *testing.T, s, other *shop, value, want string) {
	t.Helper()
	var product int64 // that review 1 is about
	if err := s.db.Bun().NewRaw("SELECT product_id FROM reviews WHERE id = 1").Scan(t.Context(), &product); err != nil {
		t.Fatal(err)
	}
	for table, id := range map[string]int{"users": 2, "reviews": 1, "orders": 1} {
		if _, err := s.db.Bun().Exec("UPDATE ? SET created_at = ? WHERE id = ?", bun.Ident(table), value, id); err != nil {
			t.Fatal(err)
		}
	}
	s.flush(t)
	other.flush(t)
	for _, s := range []*shop{s, s, other} {
		if a := s.execute(t, everyone, fmt.Sprintf(`{ users(first: 3) { nodes { id name updatedAt } } a: user(id: 1) { createdAt } b: user(id: 2) { name }
			c: user(id: 2) { id createdAt } product(id: %d) { reviews(first: 1) { nodes { id body } } } }`, product)); len(a.Errors) != 1 ||
			!strings.Contains(a.raw, `"message":"Time cannot represent value: `+want) || !strings.Contains(a.raw, `"path":["c","createdAt"]`) ||
			!strings.Contains(string(a.Data), `"b":{"name":`) || !strings.Contains(string(a.Data), `"c":null`) ||
			strings.Count(string(a.Data), `"updatedAt":"`) != 3 || !strings.Contains(string(a.Data), `"nodes":[{"id":"1","body":`) {
			t.Errorf("%s: got %s, want one error at c.createdAt", value, a.raw)
		}
		if a := s.execute(t, everyone, `{ users(first: 3) { nodes { id createdAt } } }`); len(a.Errors) != 1 || !strings.Contains(a.raw, `"path":["users","nodes",1,"createdAt"]`) {
			t.Errorf("%s: got %s, want one error at users.nodes.1.createdAt", value, a.raw)
		}
		// An error in a non-null field nulls its object, but only in its own operation.
		body := fmt.Sprintf(`[{"query": "{ users(first: 3) { nodes { createdAt } } }"}, {"query": "{ users(first: 3) { nodes { name } } }"},
			{"query": "{ user(id: 2) { updatedAt reviews { totalCount } } }"}, {"query": "{ product(id: %d) { reviews { nodes { createdAt } } } }"}, {"query": "{ user(id: 3) { createdAt } }"}]`, product)
		all := sendBatch(t, s.handler, body)
		for i, failed := range []bool{true, false, false, true, false} {
			if (len(all[i].Errors) > 0) != failed {
				t.Errorf("%s: operation %d of the batch: got %v %s", value, i, all[i].Errors, all[i].Data)
			}
		}
	}
	// A write to the row succeeds and returns the row.
	a := s.execute(t, graph.Viewer{ID: 2, Admin: true}, `mutation { updateUser(id: 2, input: {bio: "`+t.Name()+`"}) { bio } }`)
	if len(a.Errors) > 0 || !strings.Contains(string(a.Data), t.Name()) {
		t.Errorf("%s: got %s, want the new bio", value, a.raw)
	}
}

// sendBatch sends a batch of operations and returns the responses.
func sendBatch(t testing.TB, h http.Handler, body string) (all []answer) {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodPost, "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return all
}

// A row with a value of the wrong type does not fail the rows that are read with it.
func TestFault17ValuesOfAnotherType(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	for _, statement := range []string{
		"UPDATE products SET stock = 'many' WHERE id = 2",
		"UPDATE products SET price_cents = 9.5e30 WHERE id = 3",
		"UPDATE reviews SET rating = 'good' WHERE id = 1",
		"UPDATE order_lines SET quantity = 'two' WHERE order_id = 1",
		"UPDATE users SET created_at = x'ff00' WHERE id = 2",
	} {
		s.force(t, statement)
	}
	s.flush(t)
	var about [2]int64 // the products of the first two reviews
	for i := range about {
		if err := s.db.Bun().NewRaw("SELECT product_id FROM reviews WHERE id = ?", i+1).Scan(t.Context(), &about[i]); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // from the database, and from the cache
		a := s.execute(t, graph.Viewer{ID: 42, Admin: true}, fmt.Sprintf(`{
			products(first: 5) { nodes { id name averageRating } }
			a: product(id: 1) { stock price { amount } } b: product(id: 2) { name price { amount } } c: product(id: 2) { stock }
			d: product(id: 3) { stock } e: product(id: 3) { price { amount } } f: product(id: 4) { stock price { amount } }
			g: product(id: %d) { reviews(first: 1) { nodes { body } } } h: product(id: %d) { reviews(first: 1) { nodes { body rating } } }
			users(first: 3) { nodes { name } } }`, about[0], about[1]))
		for _, want := range []string{`"products":{"nodes":[{"id":"1"`, `"a":{"stock":`, `"b":{"name":`, `"c":null`, `"d":{"stock":`, `"e":null`, `"f":{"stock":`, `"g":null`, `"h":{"reviews":{"nodes":[{"body":`, `"users":{"nodes":[{"name":`} {
			if !strings.Contains(string(a.Data), want) {
				t.Errorf("no %s in %s", want, a.raw)
			}
		}
		if len(a.Errors) != 3 || internals.MatchString(a.raw) {
			t.Error(a.raw)
		}
	}
}
