package dataloader_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// shop is a small shop with its outbox.
type shop struct {
	*db.DB
	outbox *outbox.Outbox
	rows   *outbox.RowTags
}

// plan returns what the schema determines about cached fields.
func plan(t testing.TB) *gqlcache.FieldPlan {
	t.Helper()
	schema := graph.NewSchema(nil, slog.Default())
	policies, err := policy.ReadPolicies(schema.Schema())
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := dataloader.NewKinds(nil, policies.Of)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := gqlcache.PlanFields(schema, kinds.Stored()...)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

var shopRows = []string{
	`INSERT INTO countries VALUES ('NO', 'Norway'), ('GB', 'Great Britain'), ('SE', 'Sweden')`,
	`INSERT INTO users (id, name, email, country_code) VALUES (1, 'Liv', 'liv@shop.example', 'NO'), (2, 'Ada', 'ada@shop.example', 'SE'), (3, 'Bo', 'bo@shop.example', NULL)`,
	`INSERT INTO products (id, name, description, category, price_cents, currency, stock) VALUES
		(1, 'Lamp', 'It shines.', 'light', 1999, 'EUR', 5), (2, 'Chair', 'It stands.', 'a b', 4999, 'EUR', 5), (3, 'Torch', 'It burns.', 'light', 999, 'EUR', 5)`,
	`INSERT INTO reviews (id, product_id, author_id, rating, body) VALUES (1, 1, 1, 5, 'Bright.'), (2, 1, 2, 3, 'Dim.'), (3, 2, 1, 4, 'Firm.'), (4, 3, 3, 1, 'Hot.')`,
	`INSERT INTO orders (id, customer_id) VALUES (1, 1), (2, 2)`,
	`INSERT INTO order_lines VALUES (1, 1, 1, 2, 1999, 'EUR'), (1, 2, 2, 1, 4999, 'EUR'), (2, 1, 2, 1, 4999, 'EUR')`,
}

// fill opens a database with the small shop in it.
func fill(t testing.TB, url string) shop {
	d, err := db.Open(t.Context(), db.Options{URL: url, Rows: plan(t).Rows()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if _, err := d.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	statements := shopRows
	if d.Postgres() {
		for _, table := range []string{"users", "products", "reviews", "orders"} {
			statements = append(statements[:len(statements):len(statements)], "ALTER TABLE "+table+" ALTER COLUMN id RESTART WITH 10")
		}
	}
	for _, s := range statements {
		if _, err := d.Bun().DB.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	rows, err := d.RowTags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, err := outbox.New(d.Bun().DB, d.Outbox(), rows.Evictions)
	if err != nil {
		t.Fatal(err)
	}
	return shop{d, o, rows}
}

func (s shop) poll(t testing.TB, since cache.Snapshot) cache.News {
	t.Helper()
	news, err := s.outbox.Poll(t.Context(), cache.Page{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	return news
}

// names returns the keys and tags of evictions, sorted and without duplicates.
func names(evs ...cache.Eviction) string {
	var list []string
	for _, ev := range evs {
		for _, k := range ev.Keys {
			list = append(list, string(k))
		}
		for _, g := range ev.Tags {
			list = append(list, string(g))
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

func evicted(news cache.News) string {
	var evs []cache.Eviction
	for _, w := range news.Writes {
		evs = append(evs, w.Eviction)
	}
	return names(evs...)
}

// Whoever writes with whatever statement evicts exactly what became stale.
func TestWritesOfOthers(t *testing.T) {
	t.Parallel()
	list := func(of string) string { return of + " " + of + ":count" }
	sorted := func(parts ...string) string {
		all := strings.Fields(strings.Join(parts, " "))
		slices.Sort(all)
		return strings.Join(slices.Compact(all), " ")
	}
	for name, c := range map[string]struct {
		statements   []string // of one transaction
		want         string
		postgresOnly bool
	}{
		"a row":                        {[]string{`UPDATE users SET bio = 'x' WHERE id = 1`}, "user:1", false},
		"no row":                       {[]string{`UPDATE users SET bio = 'x' WHERE id = 99`, `DELETE FROM users WHERE id = 99`, `INSERT INTO users (name, email) SELECT name, email FROM users WHERE id = 99`}, "", false},
		"many rows":                    {[]string{`UPDATE products SET stock = stock + 1`}, "{product:1}:stock {product:2}:stock {product:3}:stock", false},
		"columns that no field shows":  {[]string{`UPDATE products SET updated_at = '2030-01-01 00:00:00+00:00', stock = stock`}, "", false},
		"when a user changed":          {[]string{`UPDATE users SET updated_at = '2030-01-01 00:00:00+00:00' WHERE id = 2`}, "user:2", false},
		"a user's name":                {[]string{`UPDATE users SET name = 'Eva' WHERE id = 2`}, "user:2 {users}:name", false},
		"a price and a description":    {[]string{`UPDATE products SET price_cents = 1, description = 'Cheap.' WHERE id = 2`}, "product:2 {product:2}:price", false},
		"a category":                   {[]string{`UPDATE products SET category = 'light' WHERE id = 2`}, sorted("product:2", list("{products}:category=a%20b"), list("{products}:category=light")), false},
		"a rating":                     {[]string{`UPDATE reviews SET rating = 1 WHERE id = 2`}, "review:2 {product:1}:rating", false},
		"an order's line":              {[]string{`UPDATE order_lines SET quantity = 3 WHERE order_id = 1 AND line_no = 2`}, "order:1", false},
		"a deleted line":               {[]string{`DELETE FROM order_lines WHERE order_id = 1 AND line_no = 2`}, "order:1", false},
		"a country's name":             {[]string{`UPDATE countries SET name = 'UK' WHERE code = 'GB'`}, "country:GB", false},
		"a country's code":             {[]string{`UPDATE countries SET code = 'UK' WHERE code = 'GB'`}, "country:GB country:UK {countries}", false},
		"a new country":                {[]string{`INSERT INTO countries VALUES ('DK', 'Denmark')`}, "country:DK {countries}", false},
		"INSERT that updates":          {[]string{`INSERT INTO countries VALUES ('DK', 'Denmark'), ('NO', 'Norge') ON CONFLICT (code) DO UPDATE SET name = excluded.name`}, "country:DK country:NO {countries}", false},
		"INSERT without effect":        {[]string{`INSERT INTO countries VALUES ('NO', 'Norge') ON CONFLICT (code) DO NOTHING`}, "", false},
		"several statements":           {[]string{`UPDATE users SET bio = 'x' WHERE id = 1`, `UPDATE users SET bio = 'x' WHERE id = 2`, `UPDATE products SET stock = 1 WHERE id = 1`}, "user:1 user:2 {product:1}:stock", false},
		"rolled back to a savepoint":   {[]string{`SAVEPOINT a`, `UPDATE users SET bio = 'x' WHERE id = 1`, `ROLLBACK TO a`, `SAVEPOINT b`, `UPDATE users SET bio = 'x' WHERE id = 2`, `RELEASE b`}, "user:2", false},
		"a user whom reviews refer to": {[]string{`DELETE FROM users WHERE id = 1`}, sorted("user:1 {users}:name order:1 review:1 review:3", list("{users}"), list("{user:1}:reviews"), list("{user:1}:orders")), false},
		"a product with reviews":       {[]string{`DELETE FROM products WHERE id = 3`}, sorted("product:3 {product:3}:price {product:3}:stock {product:3}:rating {products}:name review:4", list("{products}"), list("{products}:category=light"), list("{product:3}:reviews"), list("{user:3}:reviews")), false},
		"MERGE":                        {[]string{`MERGE INTO products p USING (VALUES (1, 7), (2, 0)) AS s (id, stock) ON p.id = s.id WHEN MATCHED AND s.stock > 0 THEN UPDATE SET stock = s.stock WHEN MATCHED THEN UPDATE SET name = 'Stool' WHEN NOT MATCHED THEN DO NOTHING`}, "product:2 {product:1}:stock {products}:name", true},
		"a block that fails within":    {[]string{`DO $$ BEGIN UPDATE users SET bio = 'x' WHERE id = 1; BEGIN UPDATE users SET bio = 'x' WHERE id = 2; RAISE 'no'; EXCEPTION WHEN others THEN UPDATE users SET bio = 'x' WHERE id = 3; END; END $$`}, "user:1 user:3", true},
		"TRUNCATE":                     {[]string{`TRUNCATE order_lines`}, "{Order}", true},
		"TRUNCATE CASCADE":             {[]string{`TRUNCATE users CASCADE`}, "{Order} {Review} {User}", true},
		"more rows than are recorded":  {[]string{`INSERT INTO users (name, email) SELECT 'n', i || '@shop.example' FROM generate_series(1, 1001) i`}, "{User}", true},
		"more rows, and one of them":   {[]string{`UPDATE users SET bio = 'x' WHERE id = 1`, `INSERT INTO countries SELECT 'C' || i, 'n' FROM generate_series(1, 1001) i`, `DELETE FROM countries WHERE name = 'n'`}, "user:1 {Country}", true},
		"a role that may not write to the outbox": {[]string{`CREATE ROLE batch_job`, `GRANT SELECT, UPDATE ON products TO batch_job`, `SET LOCAL ROLE batch_job`, `UPDATE products SET stock = 0 WHERE id = 1`,
			`RESET ROLE`, `DROP OWNED BY batch_job`, `DROP ROLE batch_job`}, "{product:1}:stock", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(s shop) {
				before := s.poll(t, cache.SnapshotAfter(0))
				for _, end := range []string{"ROLLBACK", "COMMIT"} {
					s.run(t, c.statements, end == "COMMIT")
					news := s.poll(t, before.Snapshot)
					want := c.want
					if end == "ROLLBACK" {
						want = ""
					}
					// Tags of rows belong to fields that no loader caches.
					ofFields := func(tag string) bool { return strings.HasPrefix(tag, "{rows:") }
					if got := strings.Join(slices.DeleteFunc(strings.Fields(evicted(news)), ofFields), " "); got != want {
						t.Errorf("%s: got %s,\nwant %s", end, got, want)
					}
					if s.Postgres() && len(news.Writes) > 1 {
						t.Errorf("one transaction became %d writes, want 1", len(news.Writes))
					}
				}
			}
			run(fill(t, testservers.Postgres(t)))
			if !c.postgresOnly {
				run(fill(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db")))
			}
		})
	}
}

// run runs statements in a transaction and commits it or rolls it back.
func (s shop) run(t *testing.T, statements []string, commit bool) {
	t.Helper()
	tx, err := s.Bun().DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	end := tx.Rollback
	if commit {
		end = tx.Commit
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	s := fill(t, testservers.Postgres(t))
	before := s.poll(t, cache.SnapshotAfter(0))
	conn, err := s.Bun().DB.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(driver any) error {
		_, err := driver.(*stdlib.Conn).Conn().CopyFrom(t.Context(), pgx.Identifier{"reviews"},
			[]string{"product_id", "rating", "body"}, pgx.CopyFromRows([][]any{{int64(1), int32(5), "a"}, {int64(2), int32(4), "b"}}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "review:10 review:11 {product:1}:rating {product:1}:reviews {product:1}:reviews:count {product:2}:rating {product:2}:reviews {product:2}:reviews:count"
	if got := evicted(s.poll(t, before.Snapshot)); got != want {
		t.Errorf("got %s,\nwant %s", got, want)
	}
}

// What a mutation evicts equals what the outbox evicts for it.
func TestMutationsAndTheirOutboxAgree(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	text := func(s string) *string { return &s }
	author := int64(2)
	for name, write := range map[string]func(shop) (db.Commit, error){
		"create a user": func(s shop) (db.Commit, error) {
			return s.CreateUser(ctx, &db.User{Name: "Eva", Email: "eva@shop.example"})
		},
		"change a user": func(s shop) (db.Commit, error) {
			_, c, err := s.UpdateUser(ctx, 1, db.UserPatch{Bio: func() **string { b := text("x"); return &b }()})
			return c, err
		},
		"rename a user": func(s shop) (db.Commit, error) {
			_, c, err := s.UpdateUser(ctx, 1, db.UserPatch{Name: text("Eva")})
			return c, err
		},
		"name a user as before": func(s shop) (db.Commit, error) {
			_, c, err := s.UpdateUser(ctx, 1, db.UserPatch{Name: text("Liv")})
			return c, err
		},
		"delete a user": func(s shop) (db.Commit, error) { return s.DeleteUser(ctx, 1) },
		"delete a user without reviews and orders": func(s shop) (db.Commit, error) {
			c, err := s.DeleteUser(ctx, 3)
			return c, err
		},
		"change a product": func(s shop) (db.Commit, error) {
			_, c, err := s.UpdateProduct(ctx, 1, db.ProductPatch{Name: text("Bulb"), Description: text("New."), Category: text("bulbs")})
			return c, err
		},
		"leave a product": func(s shop) (db.Commit, error) {
			_, c, err := s.UpdateProduct(ctx, 1, db.ProductPatch{Name: text("Lamp"), Category: text("light")})
			return c, err
		},
		"set a price": func(s shop) (db.Commit, error) { return s.SetPrice(ctx, 1, db.Price{Cents: 5, Currency: "USD"}) },
		"set a stock": func(s shop) (db.Commit, error) { return s.SetStock(ctx, 1, 77) },
		"add a review": func(s shop) (db.Commit, error) {
			return s.AddReview(ctx, &db.Review{ProductID: 1, AuthorID: &author, Rating: 5, Body: "x"})
		},
		"add a review without an author": func(s shop) (db.Commit, error) {
			return s.AddReview(ctx, &db.Review{ProductID: 1, Rating: 5, Body: "x"})
		},
		"place an order": func(s shop) (db.Commit, error) {
			return s.PlaceOrder(ctx, &db.Order{CustomerID: 2, Lines: []*db.OrderLine{{ProductID: 1, Quantity: 1}, {ProductID: 3, Quantity: 1}, {ProductID: 1, Quantity: 1}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, s := range []shop{fill(t, testservers.Postgres(t)), fill(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db"))} {
				before := s.poll(t, cache.SnapshotAfter(0))
				c, err := write(s)
				if err != nil {
					t.Fatal(err)
				}
				news := s.poll(t, before.Snapshot)
				if own, outboxes := names(s.rows.Evictions(c.Changes...)), evicted(news); own != outboxes {
					t.Errorf("%v: the mutation evicts %s,\nthe outbox %s", s, own, outboxes)
				}
				newest := uint64(0)
				for _, w := range news.Writes {
					newest = max(newest, w.Xid)
				}
				if c.Xid == 0 || len(news.Writes) > 0 && c.Xid != newest {
					t.Errorf("%v: the mutation has the transaction number %d, the outbox %d", s, c.Xid, newest)
				}
				_, seen, err := s.CountUsers(ctx)
				if err != nil || !seen.Sees(c.Xid) || len(news.Writes) > 0 && before.Snapshot.Sees(c.Xid) {
					t.Errorf("%v: want transaction %d to be in the later snapshot only: %v, %v, %v", s, c.Xid, before.Snapshot, seen, err)
				}
			}
		})
	}
}

// A refused write changes nothing.
func TestRefusedWritesChangeNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []shop{fill(t, testservers.Postgres(t)), fill(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db"))} {
		taken := "ada@shop.example"
		_, c, err := s.UpdateUser(t.Context(), 1, db.UserPatch{Email: &taken})
		if err == nil || c.Xid != 0 || len(c.Changes) > 0 {
			t.Errorf("%v: got %+v, %v; want an error and no changes", s, c, err)
		}
	}
}

// Every read returns the snapshot that it saw, unless it finds nothing: then it may return none.
func TestReadsSayWhatTheySaw(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	at := func(_ any, seen cache.Snapshot, err error) (cache.Snapshot, error) { return seen, err }
	for _, s := range []shop{fill(t, testservers.Postgres(t)), fill(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db"))} {
		nothing := "no such thing"
		reads := map[string]func() (cache.Snapshot, error){}
		for _, id := range []int64{1, 99} {
			window := []db.OwnedWindow{{Owner: id, Window: db.Window{First: 2}}}
			for name, read := range map[string]func() (cache.Snapshot, error){
				"users": func() (cache.Snapshot, error) { return at(s.UsersByID(ctx, []int64{id})) },
				"products": func() (cache.Snapshot, error) {
					return at(s.ProductsByID(ctx, []int64{id}, db.ProductColumns{Stock: true}))
				},
				"reviews":          func() (cache.Snapshot, error) { return at(s.ReviewsByID(ctx, []int64{id})) },
				"orders":           func() (cache.Snapshot, error) { return at(s.OrdersByID(ctx, []int64{id})) },
				"ratings":          func() (cache.Snapshot, error) { return at(s.RatingsByProduct(ctx, []int64{id})) },
				"user page":        func() (cache.Snapshot, error) { return at(s.UserPage(ctx, db.Window{First: 2, After: id})) },
				"product page":     func() (cache.Snapshot, error) { return at(s.ProductPage(ctx, nil, db.Window{First: 2, After: id})) },
				"author's reviews": func() (cache.Snapshot, error) { return at(s.ReviewsByAuthor(ctx, window)) },
				"product reviews":  func() (cache.Snapshot, error) { return at(s.ReviewsByProduct(ctx, window)) },
				"orders of":        func() (cache.Snapshot, error) { return at(s.OrdersByCustomer(ctx, window)) },
				"count by author":  func() (cache.Snapshot, error) { return at(s.CountReviewsByAuthor(ctx, []int64{id})) },
				"count by product": func() (cache.Snapshot, error) { return at(s.CountReviewsByProduct(ctx, []int64{id})) },
				"count of orders":  func() (cache.Snapshot, error) { return at(s.CountOrdersByCustomer(ctx, []int64{id})) },
				"country":          func() (cache.Snapshot, error) { return at(s.CountriesByCode(ctx, []string{fmt.Sprint("N", id)})) },
			} {
				reads[fmt.Sprint(name, " ", id)] = read
			}
		}
		reads["count of users"] = func() (cache.Snapshot, error) { return at(s.CountUsers(ctx)) }
		reads["count of products"] = func() (cache.Snapshot, error) { return at(s.CountProducts(ctx, nil)) }
		reads["count of no products"] = func() (cache.Snapshot, error) { return at(s.CountProducts(ctx, &nothing)) }
		reads["countries"] = func() (cache.Snapshot, error) { return at(s.CountryCodes(ctx)) }
		reads["search"] = func() (cache.Snapshot, error) { return at(s.Search(ctx, "a", 5)) }
		reads["search for nothing"] = func() (cache.Snapshot, error) { return at(s.Search(ctx, nothing, 5)) }

		underWay := uint64(0)
		if s.Postgres() {
			tx, err := s.Bun().BeginTx(ctx, &sql.TxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func(tx bun.Tx) { _ = tx.Rollback() }(tx)
			if err := tx.NewRaw("UPDATE users SET bio = 'x' WHERE id = 2 RETURNING pg_current_xact_id()::text").Scan(ctx, &underWay); err != nil {
				t.Fatal(err)
			}
		}
		c, err := s.SetStock(ctx, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		for name, read := range reads {
			seen, err := read()
			if seen.IsZero() && err == nil && (strings.HasSuffix(name, " 99") || name == "search for nothing") {
				continue
			}
			if err != nil || !seen.Sees(c.Xid) || seen.Sees(c.Xid+1_000_000) {
				t.Errorf("%v: %s saw %v, want write %d in it (%v)", s, name, seen, c.Xid, err)
			}
			if underWay != 0 && seen.Sees(underWay) {
				t.Errorf("%v: %s saw %v, but transaction %d is open", s, name, seen, underWay)
			}
		}
	}
}
