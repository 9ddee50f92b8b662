package graph_test

import (
	"strings"
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/graph"
)

// An order by coordinate reaches what the loaders' kinds store of a field, in every tier, and nothing else.
func TestEvictByCoordinateReachesKinds(t *testing.T) {
	t.Parallel()
	const query = `{ product(id: 1) { name stock price { amount } averageRating reviews(first: 2) { totalCount nodes { body } } } }`
	backends(t, func(t *testing.T, s *shop) {
		orders := &gqlcache.Orders{Cache: s.cache, Schema: graph.NewSchema(s.db, nil).Schema()}
		if a := s.ask(t, everyone, query); len(a.Errors) > 0 {
			t.Fatal(a.raw)
		}
		for _, c := range []struct {
			coordinate string
			reads      []string // what each statement reads, in words of it
		}{
			{"Product.reviews", []string{"reviews", "count"}}, // how many a list has follows from the list
			{"ReviewConnection.totalCount", []string{"count"}},
			{"Product.stock", []string{"stock"}},
			{"Product.price", []string{"price_cents"}},
			{"Product.averageRating", []string{"rating"}},
			{"User.reviews", nil},
		} {
			s.sql()
			s.ask(t, everyone, query)
			if got := s.sql(); len(got) != 0 {
				t.Fatalf("%s: not cached before: %v", c.coordinate, got)
			}
			if _, err := orders.Evict(t.Context(), gqlcache.Order{Coordinates: []string{c.coordinate}}); err != nil {
				t.Fatal(c.coordinate, err)
			}
			s.ask(t, everyone, query)
			got := s.sql()
			if len(got) != len(c.reads) {
				t.Errorf("%s: read %d statements, want %d:\n%s", c.coordinate, len(got), len(c.reads), lines(got))
			}
			for _, word := range c.reads {
				if !strings.Contains(lines(got), word) {
					t.Errorf("%s: %s was not read again:\n%s", c.coordinate, word, lines(got))
				}
			}
		}
	})
}
