package graph_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// debug runs a query and returns its extensions.cache, one line for each entry.
func (s *shop) debug(t *testing.T, query string) (list []string) {
	t.Helper()
	a := s.execute(t, everyone, query)
	var ext struct {
		Extensions struct {
			Cache []struct {
				Path                       []any
				Coordinate, Key, Tier      string
				Status, Scope, Unstored    string
				Truth                      string
				Age, TTL                   *int
				Loaded                     int64
				Tags, Evicted, EvictedTags []string
			}
		}
	}
	if err := json.Unmarshal([]byte(a.raw), &ext); err != nil {
		t.Fatal(err)
	}
	for _, e := range ext.Extensions.Cache {
		if e.Evicted != nil {
			list = append(list, fmt.Sprint(e.Path, " ", e.Coordinate, " evicted ", e.Evicted, " ", e.EvictedTags))
			continue
		}
		if e.Age == nil || *e.Age > 60 || e.TTL == nil || *e.TTL > 3600 {
			t.Errorf("%v: got age %v and ttl %v", e.Path, e.Age, e.TTL)
		}
		if since := time.Since(time.UnixMilli(e.Loaded)); since < 0 || since > time.Minute {
			t.Errorf("%v was loaded %s ago", e.Path, since)
		}
		if e.Key != "" && e.Truth != "rows" { // the shop's schema declares all
			t.Errorf("%v: got truth %q, want rows", e.Path, e.Truth)
		}
		list = append(list, fmt.Sprint(e.Path, " ", e.Coordinate, " ", e.Key, " ", e.Tier, " ", e.Status, " ", e.Scope, " ", e.Tags))
	}
	return list
}

func TestCacheDebug(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		s.header.Set("Cache-Debug", "1")
		const read = `{ p: product(id: 7) { stock } user(id: 42) { orders(first: 1) { totalCount } } }`
		for i, want := range [][]string{
			{
				"[p] Query.product product:7 database miss public [{Product}]",
				"[p stock] Product.stock {product:7}:stock memory hit public [{Product.stock} {Product}]",
				"[user] Query.user user:42 database miss public [{User}]",
			},
			{
				"[p] Query.product product:7 memory hit public [{Product}]",
				"[p stock] Product.stock {product:7}:stock memory hit public [{Product.stock} {Product}]",
				"[user] Query.user user:42 memory hit public [{User}]",
			},
		} {
			if got := s.debug(t, read); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("read %d: got\n%s\nwant\n%s", i+1, lines(got), lines(want))
			}
		}
		got := s.debug(t, `mutation { setStock(productId: 7, stock: 3) { stock } }`)
		want := []string{
			"[setStock] Mutation.setStock evicted [{product:7}:stock] []",
			"[setStock] Mutation.setStock product:7 memory hit public [{Product}]",
			"[setStock stock] Product.stock {product:7}:stock database miss public [{Product.stock} {Product}]",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("mutation: got\n%s\nwant\n%s", lines(got), lines(want))
		}
		s.header.Del("Cache-Debug")
		if got := s.debug(t, read); len(got) > 0 {
			t.Errorf("got a report without Cache-Debug:\n%s", lines(got))
		}
	})
}
