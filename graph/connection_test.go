package graph_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"fieldcache/graph"
)

// cursor returns the cursor of an id in a list.
func cursor(list string, id int64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d", list, id))
}

// list is a connection: how to query it, and the SQL for the ids that it should hold.
type list struct {
	cursors string
	query   string // with $first and $after; the connection's alias is list, that of its parent is of
	sql     string
}

func allLists() map[string]list {
	const page = `(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { id } }`
	const head = `query($first: Int!, $after: String) `
	return map[string]list{
		"users":              {"users", head + `{ list: users` + page + ` }`, "SELECT id FROM users"},
		"products":           {"products", head + `{ list: products` + page + ` }`, "SELECT id FROM products"},
		"a category":         {"products", head + `{ list: products(category: "kitchen", first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { id } } }`, "SELECT id FROM products WHERE category = 'kitchen'"},
		"no category":        {"products", head + `{ list: products(category: "Kitchen", first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { id } } }`, "SELECT id FROM products WHERE category = 'Kitchen'"},
		"a user's reviews":   {"reviews", head + `{ of: user(id: 42) { list: reviews` + page + ` } }`, "SELECT id FROM reviews WHERE author_id = 42"},
		"a product's":        {"reviews", head + `{ of: product(id: 7) { list: reviews` + page + ` } }`, "SELECT id FROM reviews WHERE product_id = 7"},
		"a user's orders":    {"orders", head + `{ of: user(id: 42) { list: orders` + page + ` } }`, "SELECT id FROM orders WHERE customer_id = 42"},
		"a new user's list":  {"reviews", head + `{ of: user(id: 51) { list: reviews` + page + ` } }`, "SELECT id FROM reviews WHERE author_id = 51"},
		"a new user's order": {"orders", head + `{ of: user(id: 51) { list: orders` + page + ` } }`, "SELECT id FROM orders WHERE customer_id = 51"},
	}
}

// pageOf is a page as a client receives it.
type pageOf struct {
	TotalCount int
	PageInfo   struct {
		HasNextPage bool
		EndCursor   *string
	}
	Nodes []struct {
		ID int64 `json:"id,string"`
	}
}

func (s *shop) page(t testing.TB, l list, first int, after *string) pageOf {
	t.Helper()
	var data struct {
		List *pageOf
		Of   *struct{ List *pageOf }
	}
	a := s.execute(t, graph.Viewer{ID: 2, Admin: true}, l.query, "first", first, "after", after)
	if err := json.Unmarshal(a.Data, &data); err != nil || len(a.Errors) > 0 {
		t.Fatalf("%s: %v", a.raw, err)
	}
	if data.Of != nil {
		data.List = data.Of.List
	}
	if data.List == nil || data.List.Nodes == nil {
		t.Fatalf("the response has no list: %s", a.raw)
	}
	return *data.List
}

func (s *shop) ids(t testing.TB, l list) []int64 {
	t.Helper()
	ids := []int64{}
	if err := s.db.Bun().NewRaw(l.sql+" ORDER BY id").Scan(t.Context(), &ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// With any page size, the pages of a list hold each of its items once, in ascending order.
func TestPages(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		var created any
		s.read(t, &created, `mutation { createUser(input: {name: "New", email: "new@shop.example"}) { id } }`)
		for name, l := range allLists() {
			want := s.ids(t, l)
			for _, size := range []int{7, 1, max(len(want), 1), len(want) + 1, 100} {
				got := []int64{}
				var after *string
				for pages := 1; ; pages++ {
					p := s.page(t, l, min(size, 100), after)
					for _, n := range p.Nodes {
						got = append(got, n.ID)
					}
					if p.TotalCount != len(want) {
						t.Errorf("%s: totalCount is %d, want %d", name, p.TotalCount, len(want))
					}
					if more := len(got) < len(want); p.PageInfo.HasNextPage != more {
						t.Fatalf("%s: after %d of %d, hasNextPage is %v", name, len(got), len(want), p.PageInfo.HasNextPage)
					}
					end := p.PageInfo.EndCursor
					if len(p.Nodes) == 0 {
						if end != nil {
							t.Errorf("%s: an empty page has the endCursor %s", name, *end)
						}
					} else if last := cursor(l.cursors, got[len(got)-1]); end == nil || *end != last {
						t.Errorf("%s: endCursor is not %s", name, last)
					}
					if !p.PageInfo.HasNextPage {
						if least := max(1, (len(want)+min(size, 100)-1)/min(size, 100)); pages != least {
							t.Errorf("%s: got %d pages of size %d, want %d", name, pages, size, least)
						}
						break
					}
					after = end
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, %d by %d: got %v, want %v", name, size, size, got, want)
				}
			}
			// Beyond the end, with ids that do not exist.
			for _, id := range []int64{1 << 62, 9_223_372_036_854_775_807} {
				if p := s.page(t, l, 7, new(cursor(l.cursors, id))); len(p.Nodes) > 0 || p.PageInfo.HasNextPage || p.PageInfo.EndCursor != nil || p.TotalCount != len(want) {
					t.Errorf("%s beyond the end: got %+v, want an empty page", name, p)
				}
			}
		}
	})
}

// A client that pages through a list while rows are deleted sees every other row once.
func TestPagesWhileRowsGo(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		l := allLists()["users"]
		all := s.ids(t, l)
		var got []int64
		var after *string
		var gone []int64
		for {
			p := s.page(t, l, 7, after)
			if left := len(all) - len(gone); p.TotalCount != left {
				t.Errorf("totalCount is %d, want %d", p.TotalCount, left)
			}
			for _, n := range p.Nodes {
				got = append(got, n.ID)
			}
			if !p.PageInfo.HasNextPage {
				break
			}
			after = p.PageInfo.EndCursor
			// Delete the row that the cursor points at, and the next one.
			last := got[len(got)-1]
			next := all[slices.Index(all, last)+1]
			for _, id := range []int64{last, next} {
				var done any
				s.read(t, &done, fmt.Sprintf(`mutation { deleteUser(id: %d) }`, id))
				gone = append(gone, id)
			}
		}
		// Every other deleted row had been seen before.
		var want []int64
		for _, id := range all {
			if i := slices.Index(gone, id); i < 0 || i%2 == 0 {
				want = append(want, id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
