package db

import (
	"strings"
	"testing"

	"github.com/uptrace/bun"
)

// all returns the results of every read that uses [arguments], and of updates.
func all(t *testing.T, d testDB) (results []any) {
	t.Helper()
	ctx := t.Context()
	add := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, v)
	}
	users, _, err := d.UsersByID(ctx, []int64{1, 2, 99})
	add(len(users), err)
	countries, _, err := d.CountriesByCode(ctx, []string{"NO", "XX", "SE"})
	add(len(countries), err)
	for range 2 {
		products, _, err := d.ProductsByID(ctx, []int64{1}, ProductColumns{Stock: true})
		if err == nil {
			add(products[1].Stock, nil)
		} else {
			add(nil, err)
		}
	}
	page, _, err := d.ProductPage(ctx, new("tea"), Window{First: 1})
	add(page.IDs[0], err)
	n, _, err := d.CountProducts(ctx, new("tea"))
	add(n, err)
	reviews, _, err := d.ReviewsByProduct(ctx, []OwnedWindow{{1, Window{First: 1}}, {2, Window{First: 5}}})
	add(len(reviews[OwnedWindow{1, Window{First: 1}}].IDs), err)
	sums, _, err := d.CountReviewsByProduct(ctx, []int64{1, 2})
	add(sums[1], err)
	ratings, _, err := d.RatingsByProduct(ctx, []int64{1})
	add(ratings[1].Sum, err)
	user, _, err := d.UpdateUser(ctx, 1, UserPatch{Bio: new(new("a '$1' ? bio"))})
	add(*user.Bio, err)
	user, _, err = d.UpdateUser(ctx, 1, UserPatch{Bio: new((*string)(nil)), Name: new("Bo")})
	add(user.Name, err)
	_, err = d.SetStock(ctx, 1, 7)
	add("stock", err)
	return results
}

// Arguments sent separately and arguments written into the text give the same results, on both
// databases and behind a pooler without prepared statements.
func TestArgumentsBesideTheText(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		fillShop(t, d)
		want := []any{2, 2, 5, 5, int64(1), 1, 1, 2, int64(7), "a '$1' ? bio", "Bo", "stock"}
		check(t, all(t, d), want)
		if !d.Postgres() {
			return
		}
		separator := "?"
		if strings.Contains(d.url, "?") {
			separator = "&"
		}
		pooled := openTest(t, d.url+separator+"default_query_exec_mode=exec")
		want[2], want[3] = 7, 7
		check(t, all(t, pooled), want)
		prepared := func(d testDB) (n int) {
			return int(must(countPrepared(t, d))(t))
		}
		if n := prepared(d); n == 0 {
			t.Error("no statement was prepared")
		}
		if n := prepared(pooled); n != 0 {
			t.Errorf("%d statements were prepared although the URL forbids it", n)
		}
	})
}

// countPrepared returns how many prepared statements one of the idle connections has.
func countPrepared(t *testing.T, d testDB) (n int64, err error) {
	err = d.Bun().NewRaw("SELECT count(*) FROM pg_prepared_statements").Scan(t.Context(), &n)
	return n, err
}

func check(t *testing.T, got, want []any) {
	t.Helper()
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
			return
		}
	}
}

// Prepared statements keep working after a table is altered.
func TestAlteredTable(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	read := func() string {
		t.Helper()
		users, _, err := d.UsersByID(t.Context(), []int64{1})
		if err != nil {
			t.Fatal(err)
		}
		return users[1].Name
	}
	for range 7 { // by then the plan is generic
		read()
	}
	execute(t, d, "ALTER TABLE users ALTER COLUMN name TYPE varchar(500), ADD COLUMN nickname text")
	if name := read(); name != "Ada" {
		t.Errorf("got %q, want Ada", name)
	}
	user, _, err := d.UpdateUser(t.Context(), 1, UserPatch{Bio: new(new("x"))})
	if err != nil || user.Name != "Ada" {
		t.Errorf("updated: got %v, %v", user, err)
	}
}

// fillShop inserts two users, a product with two reviews, and one without.
func fillShop(t *testing.T, d testDB) {
	t.Helper()
	if _, err := d.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"INSERT INTO countries (code, name) VALUES ('NO', 'Norway'), ('SE', 'Sweden')",
		"INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com'), ('Ben', 'ben@example.com')",
		"INSERT INTO products (name, description, category, price_cents, currency, stock) VALUES ('Tea', '', 'tea', 100, 'USD', 5), ('Mug', '', 'ware', 200, 'USD', 9)",
		"INSERT INTO reviews (product_id, author_id, rating, body) VALUES (1, 1, 3, ''), (1, 2, 4, '')",
	} {
		if _, err := d.Bun().NewRaw("?", bun.Safe(statement)).Exec(t.Context()); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
