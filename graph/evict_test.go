package graph_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/graph"
)

// An eviction by coordinate evicts what the loaders cache for the field, in every tier, and nothing
// else.
func TestEvictByCoordinateReachesKinds(t *testing.T) {
	t.Parallel()
	const query = `{ product(id: 1) { name stock price { amount } averageRating reviews(first: 2) { totalCount nodes { body } } } }`
	backends(t, func(t *testing.T, s *shop) {
		orders := &gqlcache.Orders{Cache: s.cache, Schema: graph.NewSchema(s.db, nil).Schema()}
		if a := s.execute(t, everyone, query); len(a.Errors) > 0 {
			t.Fatal(a.raw)
		}
		for _, c := range []struct {
			coordinate string
			reads      []string // a word of each statement
		}{
			{"Product.reviews", []string{"reviews", "count"}}, // the count of a list depends on the list
			{"ReviewConnection.totalCount", []string{"count"}},
			{"Product.stock", []string{"stock"}},
			{"Product.price", []string{"price_cents"}},
			{"Product.averageRating", []string{"rating"}},
			{"User.reviews", nil},
		} {
			s.sql()
			s.execute(t, everyone, query)
			if got := s.sql(); len(got) != 0 {
				t.Fatalf("%s: not cached before: %v", c.coordinate, got)
			}
			if _, err := orders.Evict(t.Context(), gqlcache.Order{Coordinates: []string{c.coordinate}}); err != nil {
				t.Fatal(c.coordinate, err)
			}
			s.execute(t, everyone, query)
			got := s.sql()
			if len(got) != len(c.reads) {
				t.Errorf("%s: ran %d statements, want %d:\n%s", c.coordinate, len(got), len(c.reads), lines(got))
			}
			for _, word := range c.reads {
				if !strings.Contains(lines(got), word) {
					t.Errorf("%s: %s was not read again:\n%s", c.coordinate, word, lines(got))
				}
			}
		}
	})
}

// After a soft eviction of a loader's value, the old value is served once more. Cache-Status says
// so, nothing downstream stores the response, and one statement reads the value again.
func TestASoftEvictionOfAKindShows(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		orders := &gqlcache.Orders{Cache: s.cache, Schema: graph.NewSchema(s.db, nil).Schema()}
		const query = `{ product(id: 7) { stock } }`
		s.execute(t, everyone, query)
		was := s.execute(t, everyone, query).raw
		// Without its record no poll evicts the value, at whatever time that would be.
		err := s.db.Bun().RunInTx(cache.Unwatched(t.Context()), nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "UPDATE products SET stock = 12345 WHERE id = 7"); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM cache_outbox WHERE id = (SELECT max(id) FROM cache_outbox)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s.sql()
		if _, err := orders.Evict(t.Context(), gqlcache.Order{Coordinates: []string{"Product.stock"}, Soft: true}); err != nil {
			t.Fatal(err)
		}
		// Entries have milliseconds: one that is loaded in that of the eviction counts as evicted, too.
		for evicted := time.Now().UnixMilli(); time.Now().UnixMilli() == evicted; {
			runtime.Gosched()
		}
		s.header.Set("Cache-Debug", "1")
		list := s.debug(t, query)
		if len(list) != 2 || !strings.Contains(list[1], "Product.stock {product:7}:stock memory swr") {
			t.Errorf("the report of the next read is\n%s", lines(list))
		}
		s.header.Del("Cache-Debug")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			now := s.execute(t, everyone, query).raw
			if strings.Contains(now, "12345") {
				break
			}
			if now != was || time.Now().After(deadline) {
				t.Fatalf("got %s, want the old value and then the new", now)
			}
		}
		if got := s.sql(); len(got) != 1 {
			t.Errorf("ran %d statements, want 1:\n%s", len(got), lines(got))
		}
		// After a hard eviction that follows a soft one, the old value is not served again.
		for _, soft := range []bool{true, false} {
			if _, err := orders.Evict(t.Context(), gqlcache.Order{Coordinates: []string{"Product.stock"}, Soft: soft}); err != nil {
				t.Fatal(err)
			}
		}
		s.header.Set("Cache-Debug", "1")
		if list := s.debug(t, query); len(list) != 2 || !strings.Contains(list[1], "Product.stock {product:7}:stock database ") { // the read may join a refresh that began after the eviction
			t.Errorf("after a hard eviction:\n%s", lines(list))
		}
	})
}
