package chaos

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// directWrites are direct writes of every kind, in order in one database, with the response before
// and after each of them.
var directWrites = []struct {
	name          string
	query         string
	admin         bool // queries as an admin instead of anonymously
	before, after string
	write         func(ctx context.Context, conn *pgx.Conn) error
}{
	{
		name: "UPDATE of a row", query: `{ user(id: 2) { bio } }`,
		before: `{"user":{"bio":"v0"}}`, after: `{"user":{"bio":"new"}}`,
		write: statements(`UPDATE users SET bio = 'new' WHERE id = 2`),
	}, {
		name: "UPDATE of a part", query: `{ product(id: 2) { name price { amount } stock } }`,
		before: `{"product":{"name":"Product 2","price":{"amount":"2.00"},"stock":0}}`,
		after:  `{"product":{"name":"Product 2","price":{"amount":"9.99"},"stock":5}}`,
		write:  statements(`UPDATE products SET price_cents = 999, stock = 5 WHERE id = 2`),
	}, {
		name: "UPDATE of what a list is chosen by", query: `{ old: products(category: "p3-v0") { totalCount nodes { id } } new: products(category: "toys") { totalCount nodes { id } } }`,
		before: `{"old":{"totalCount":1,"nodes":[{"id":"3"}]},"new":{"totalCount":0,"nodes":[]}}`,
		after:  `{"old":{"totalCount":0,"nodes":[]},"new":{"totalCount":1,"nodes":[{"id":"3"}]}}`,
		write:  statements(`UPDATE products SET category = 'toys' WHERE id = 3`),
	}, {
		name: "UPDATE of many rows", query: `{ users(first: 3) { nodes { name } } search(text: "person 47", first: 5) { __typename } }`,
		before: `{"users":{"nodes":[{"name":"User 1"},{"name":"User 2"},{"name":"User 3"}]},"search":[]}`,
		after:  `{"users":{"nodes":[{"name":"Person 1"},{"name":"Person 2"},{"name":"Person 3"}]},"search":[{"__typename":"User"}]}`,
		write:  statements(`UPDATE users SET name = 'Person ' || id`),
	}, {
		name: "UPDATE of an id", query: `{ old: user(id: 5) { name } new: user(id: 1000) { name } }`,
		before: `{"old":{"name":"Person 5"},"new":null}`, after: `{"old":null,"new":{"name":"Person 5"}}`,
		write: statements(`UPDATE users SET id = 1000 WHERE id = 5`),
	}, {
		name: "UPDATE of what is kept for a day", query: `{ user(id: 2) { country { name } } country(code: "GB") { name } }`,
		before: `{"user":{"country":{"name":"United Kingdom"}},"country":{"name":"United Kingdom"}}`,
		after:  `{"user":{"country":{"name":"Great Britain"}},"country":{"name":"Great Britain"}}`,
		write:  statements(`UPDATE countries SET name = 'Great Britain' WHERE code = 'GB'`),
	}, {
		name: "INSERT of what was not there", query: `{ user(id: 49) { bio } users(first: 1) { totalCount } }`,
		before: `{"user":null,"users":{"totalCount":48}}`, after: `{"user":{"bio":"here"},"users":{"totalCount":49}}`,
		write: statements(`INSERT INTO users (name, email, bio) VALUES ('New', 'new@shop.example', 'here')`),
	}, {
		name: "INSERT ON CONFLICT DO UPDATE", query: `{ user(id: 3) { bio } }`,
		before: `{"user":{"bio":"v0"}}`, after: `{"user":{"bio":"merged"}}`,
		write: statements(`INSERT INTO users (name, email) VALUES ('Other', 'user-3@shop.example') ON CONFLICT (email) DO UPDATE SET bio = 'merged'`),
	}, {
		name: "a statement within a statement", query: `{ user(id: 3) { bio } product(id: 4) { stock } }`,
		before: `{"user":{"bio":"merged"},"product":{"stock":0}}`, after: `{"user":{"bio":"with"},"product":{"stock":7}}`,
		write: statements(`WITH u AS (UPDATE users SET bio = 'with' WHERE id = 3 RETURNING 1) UPDATE products SET stock = 7 FROM u WHERE id = 4`),
	}, {
		name: "a transaction of which a part was rolled back", query: `{ user(id: 3) { bio } product(id: 4) { stock } }`,
		before: `{"user":{"bio":"with"},"product":{"stock":7}}`, after: `{"user":{"bio":"kept"},"product":{"stock":7}}`,
		write: statements(`BEGIN`, `UPDATE users SET bio = 'kept' WHERE id = 3`, `SAVEPOINT s`,
			`UPDATE products SET stock = 8 WHERE id = 4`, `ROLLBACK TO s`, `COMMIT`),
	}, {
		name: "COPY", query: `{ product(id: 3) { averageRating reviews { totalCount nodes { rating } } } }`,
		before: `{"product":{"averageRating":1,"reviews":{"totalCount":1,"nodes":[{"rating":1}]}}}`,
		after:  `{"product":{"averageRating":2.67,"reviews":{"totalCount":3,"nodes":[{"rating":1},{"rating":4},{"rating":3}]}}}`,
		write: func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"reviews"}, []string{"product_id", "author_id", "rating", "body"},
				pgx.CopyFromRows([][]any{{3, 2, 4, "Good."}, {3, 3, 3, "Fair."}}))
			return err
		},
	}, {
		name: "DELETE of a row", query: `{ product(id: 3) { averageRating reviews { totalCount } } user(id: 2) { reviews { totalCount } } }`,
		before: `{"product":{"averageRating":2.67,"reviews":{"totalCount":3}},"user":{"reviews":{"totalCount":1}}}`,
		after:  `{"product":{"averageRating":2,"reviews":{"totalCount":2}},"user":{"reviews":{"totalCount":0}}}`,
		write:  statements(`DELETE FROM reviews WHERE author_id = 2`),
	}, {
		name: "DELETE that empties a column elsewhere", query: `{ user(id: 3) { name } product(id: 3) { reviews { nodes { author { id } } } } }`,
		before: `{"user":{"name":"Person 3"},"product":{"reviews":{"nodes":[{"author":{"id":"1"}},{"author":{"id":"3"}}]}}}`,
		after:  `{"user":null,"product":{"reviews":{"nodes":[{"author":{"id":"1"}},{"author":null}]}}}`,
		write:  statements(`DELETE FROM users WHERE id = 3`),
	}, {
		name: "DELETE that deletes elsewhere", query: `{ product(id: 4) { name } user(id: 1) { reviews { totalCount } } products { totalCount } }`,
		before: `{"product":{"name":"Product 4"},"user":{"reviews":{"totalCount":8}},"products":{"totalCount":8}}`,
		after:  `{"product":null,"user":{"reviews":{"totalCount":7}},"products":{"totalCount":7}}`,
		write:  statements(`DELETE FROM products WHERE id = 4`),
	}, {
		name: "UPDATE of a private list's rows", query: `{ user(id: 1) { orders { nodes { lines { quantity } } } } }`, admin: true,
		before: `{"user":{"orders":{"nodes":[{"lines":[{"quantity":2}]}]}}}`,
		after:  `{"user":{"orders":{"nodes":[{"lines":[{"quantity":3}]}]}}}`,
		write:  statements(`UPDATE order_lines SET quantity = 3`),
	}, {
		name: "TRUNCATE", query: `{ product(id: 1) { averageRating reviews { totalCount nodes { id } } } user(id: 1) { reviews { totalCount } } }`,
		before: `{"product":{"averageRating":1,"reviews":{"totalCount":1,"nodes":[{"id":"1"}]}},"user":{"reviews":{"totalCount":7}}}`,
		after:  `{"product":{"averageRating":null,"reviews":{"totalCount":0,"nodes":[]}},"user":{"reviews":{"totalCount":0}}}`,
		write:  statements(`TRUNCATE reviews`),
	}, {
		name: "TRUNCATE CASCADE", query: `{ user(id: 1) { name orders { totalCount } } users { totalCount nodes { id } } products { totalCount } }`, admin: true,
		before: ``, // whatever the writes before have left
		after:  `{"user":null,"users":{"totalCount":0,"nodes":[]},"products":{"totalCount":7}}`,
		write:  statements(`TRUNCATE users CASCADE`),
	},
}

// statements runs statements in order.
func statements(all ...string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		for _, s := range all {
			if _, err := conn.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	}
}

// Promise 5: direct writes are visible through every gateway within half a second.
func TestDirectWrites(t *testing.T) {
	t.Parallel()
	s := open(t, layout{})
	var mu sync.Mutex
	var took []time.Duration
	for _, w := range directWrites {
		t.Run(w.name, func(t *testing.T) {
			read := func(ctx context.Context, g *gateway) (string, error) {
				a, err := s.call(ctx, g, w.admin, w.query, nil)
				return string(a.data), err
			}
			for _, g := range s.gateways {
				for range 2 { // the second time from memory
					if got, err := read(t.Context(), g); err != nil || w.before != "" && got != w.before {
						t.Fatalf("before the write gateway %s returned %s, %v; want %s", g.name, got, err, w.before)
					}
				}
			}
			conn, err := pgx.Connect(t.Context(), s.postgres)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if err := w.write(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			written := time.Now()
			var gateways sync.WaitGroup
			for _, g := range s.gateways {
				gateways.Go(func() {
					d, got := seenAfter(t.Context(), written, w.after, func(ctx context.Context) (string, error) { return read(ctx, g) })
					if got != w.after {
						t.Errorf("after %v gateway %s returned\n%s, want\n%s", d, g.name, got, w.after)
						return
					}
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
					if d > direct {
						t.Errorf("gateway %s took %v, want at most %v", g.name, d, direct)
					}
					for range 10 { // the old value does not come back
						if got, err := read(t.Context(), g); got != w.after {
							t.Errorf("gateway %s returned the new value, and then %s, %v", g.name, got, err)
						}
					}
				})
			}
			gateways.Wait()
		})
	}
	t.Logf("visible after %s", quantiles(took))
}

// seenAfter repeats a query until the response is the wanted one, or until four times the allowed
// time has passed. It returns the time since the write and the last response.
func seenAfter(ctx context.Context, written time.Time, want string, read func(context.Context) (string, error)) (time.Duration, string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		began := time.Now()
		got, err := read(ctx)
		if err != nil {
			got = err.Error()
		}
		if since := began.Sub(written); got == want || since > 4*direct {
			return since, got
		}
		<-tick.C
	}
}

// A transaction that begins before others and commits after they were seen becomes visible too:
// what a gateway has seen is a snapshot, not the highest transaction number.
func TestDirectWriteThatCommitsLate(t *testing.T) {
	t.Parallel()
	s := open(t, layout{})
	late, err := s.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Rollback(context.Background()) }() // it is committed already, or the test has failed
	if _, err := late.Exec(t.Context(), `UPDATE users SET bio = 'late' WHERE id = 1`); err != nil {
		t.Fatal(err)
	}
	sees := func(user int, want string) time.Duration {
		written := time.Now()
		var longest time.Duration
		for _, g := range s.gateways {
			d, got := seenAfter(t.Context(), written, want, func(ctx context.Context) (string, error) {
				a, err := s.query(ctx, g, fmt.Sprintf(`{ user(id: %d) { bio } }`, user), nil)
				return string(a.data), err
			})
			if got != want {
				t.Fatalf("after %v gateway %s returned %s, want %s", d, g.name, got, want)
			}
			longest = max(longest, d)
		}
		return longest
	}
	sees(1, `{"user":{"bio":"v0"}}`)
	for i := range 5 { // each is seen by a poll that does not see the open transaction
		sees(2, fmt.Sprintf(`{"user":{"bio":"v%d"}}`, i))
		s.exec(`UPDATE users SET bio = $1 WHERE id = 2`, bio(int64(i+1)))
	}
	sees(2, `{"user":{"bio":"v5"}}`)
	sees(1, `{"user":{"bio":"v0"}}`)
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := sees(1, `{"user":{"bio":"late"}}`); d > direct {
		t.Errorf("took %v, want at most %v", d, direct)
	}
}
