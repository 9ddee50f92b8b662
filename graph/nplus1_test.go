package graph_test

import (
	"fmt"
	"testing"

	"fieldcache/db/fixtures"
	"fieldcache/internal/testservers"
)

// However many rows a nested query returns, a cold cache needs one statement for each level and
// kind of value, and a warm cache none.
func TestNoNPlusOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query string // %d is the size of the lists
		most  int    // statements on a cold cache
	}{
		"a user's reviews' products' prices": {
			`{ user(id: 42) { name country { name } reviews(first: %d) { totalCount nodes { rating product { name price { amount } stock averageRating } } } } }`,
			7, // the user; the country, the page, the count; the reviews; the products; the ratings
		},
		"products with everything": {
			`{ products(first: %d) { totalCount nodes { name price { amount currency } stock averageRating reviews(first: 3) { totalCount nodes { author { name country { name } } } } } } }`,
			9, // the page, the count; the products; the ratings, pages, counts; the reviews; the authors; the countries
		},
		"users' reviews' products' reviews' authors": {
			`{ users(first: %d) { nodes { reviews(first: 2) { nodes { product { reviews(first: 2) { nodes { author { name } } } } } } } } }`,
			8,
		},
		"a search": {
			`{ search(text: "a", first: %d) { ... on User { name country { name } } ... on Product { name price { amount } } } }`,
			4, // the hits; the users, the products; the countries
		},
		"countries": {`{ countries { code name } }`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			backends(t, func(t *testing.T, s *shop) {
				for _, size := range []int{2, 20} {
					query := c.query
					if name != "countries" {
						query = fmt.Sprintf(query, size)
					}
					s.sql()
					s.flush(t)
					var cold, warm any
					s.read(t, &cold, query)
					if got := s.sql(); len(got) > c.most {
						t.Errorf("lists of %d: got %d statements on a cold cache, want at most %d:\n%s", size, len(got), c.most, lines(got))
					}
					s.read(t, &warm, query)
					if got := s.sql(); len(got) > 0 {
						t.Errorf("lists of %d: statements on a warm cache:\n%s", size, lines(got))
					}
					if fmt.Sprint(cold) != fmt.Sprint(warm) {
						t.Errorf("got %v from a warm cache and %v from a cold one", warm, cold)
					}
				}
			})
		})
	}
}

// A gateway with an empty memory reads everything from Redis.
func TestNoStatementsOnAnotherGatewaysCache(t *testing.T) {
	t.Parallel()
	database, redis := seeded(t, "demo", fixtures.Demo), testservers.Redis(t)
	const query = `{ user(id: 42) { name country { name } reviews { nodes { rating body product { name price { amount } stock averageRating } author { id } } } } users { totalCount nodes { id } } countries { name } }`
	var first, second any
	open(t, database, redis).read(t, &first, query)
	other := open(t, database, redis)
	other.read(t, &second, query)
	if got := other.sql(); len(got) > 0 {
		t.Errorf("got statements, but Redis has every value:\n%s", lines(got))
	}
	if fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("got %v from Redis and %v from the database", second, first)
	}
}
