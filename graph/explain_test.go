package graph_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
)

// large is a shop with tables too large to be read whole.
var large = fixtures.Options{Users: 10_000, Products: 10_000, Reviews: 100_000, Orders: 20_000, Seed: 1}

// namedQuery is one of the operations that together make the gateway run every statement it knows.
// A batch of it reads less than a tenth of a table: for more, a sequential scan is faster.
type namedQuery struct{ name, query string }

func everyOperation() []namedQuery {
	all := []namedQuery{
		{"a user", `{ user(id: 42) { id name bio email createdAt updatedAt country { code name } } }`},
		{"a user that does not exist", `{ user(id: 99999999) { id } }`},
		{"me", `{ me { id email orders { totalCount nodes { id } } } }`},
		{"a user's lists", `{ user(id: 42) { reviews { totalCount pageInfo { hasNextPage endCursor } nodes { id rating body createdAt } }
			orders { totalCount pageInfo { hasNextPage endCursor } nodes { id createdAt customer { id } lines { quantity unitPrice { amount currency } product { id } } total { amount currency } totals { amount } } } } }`},
		{"a user's lists further on", `{ user(id: 42) { reviews(first: 3, after: "` + cursor("reviews", 90_000) + `") { nodes { id } } orders(first: 3, after: "` + cursor("orders", 19_000) + `") { nodes { id } } } }`},
		{"users", `{ users { totalCount pageInfo { hasNextPage endCursor } nodes { id name } } }`},
		{"users further on", `{ users(first: 100, after: "` + cursor("users", 9_500) + `") { totalCount pageInfo { hasNextPage } nodes { id name country { name } } } }`},
		{"users after the last", `{ users(after: "` + cursor("users", 10_000) + `") { nodes { id } } }`},
		{"users' lists", `{ users(first: 50, after: "` + cursor("users", 1_000) + `") { nodes { country { code name } reviews(first: 5) { totalCount nodes { rating product { name } } } orders(first: 2) { totalCount nodes { total { amount } lines { product { name } } } } } } }`},
		{"a product", `{ product(id: 7) { id name description category price { amount currency } stock averageRating reviews { totalCount pageInfo { hasNextPage endCursor } nodes { id product { id } author { id name } } } } }`},
		{"a product's reviews further on", `{ product(id: 7) { reviews(first: 100, after: "` + cursor("reviews", 50_000) + `") { nodes { id body } } } }`},
		{"products", `{ products { totalCount pageInfo { hasNextPage endCursor } nodes { id name } } }`},
		{"products further on", `{ products(first: 100, after: "` + cursor("products", 9_000) + `") { nodes { name price { amount } stock averageRating } } }`},
		{"products' lists", `{ products(first: 50) { nodes { averageRating reviews(first: 10) { totalCount nodes { author { name country { name } } } } } } }`},
		{"a category", `{ products(first: 100, category: "kitchen") { totalCount nodes { id } } }`},
		{"a category further on", `{ products(category: "music", after: "` + cursor("products", 9_000) + `") { totalCount pageInfo { hasNextPage } nodes { id stock } } }`},
		{"a category that is not there", `{ products(category: "nothing") { totalCount nodes { id } } }`},
		{"countries", `{ countries { code name } }`},
		{"a country", `{ country(code: "GB") { code name } }`},
		{"two countries", `{ a: country(code: "GB") { name } b: country(code: "DE") { name } }`},
		{"four lists deep", `{ users(first: 10) { nodes { reviews(first: 5) { nodes { product { reviews(first: 5) { nodes { author { name country { name } reviews(first: 2) { totalCount } } } } } } } } } }`},

		{"create a user", `mutation { createUser(input: {name: "Ada Example", email: "ada@shop.example", bio: "New here.", countryCode: "GB"}) { id email } }`},
		{"rename a user", `mutation { updateUser(id: 43, input: {name: "Bob Example", email: "bob@shop.example", bio: null, countryCode: "DE"}) { id updatedAt } }`},
		{"change a user", `mutation { updateUser(id: 44, input: {bio: "Changed."}) { id } }`},
		{"delete a user", `mutation { deleteUser(id: 45) }`},
		{"change a product", `mutation { updateProduct(id: 8, input: {name: "Lamp", description: "It shines.", category: "lighting"}) { id } }`},
		{"set a price", `mutation { setPrice(productId: 8, price: {amount: "12.34", currency: "EUR"}) { price { amount } } }`},
		{"set a stock", `mutation { setStock(productId: 8, stock: 100) { stock } }`},
		{"add a review", `mutation { addReview(productId: 8, rating: 4, body: "Fine.") { id author { name } product { averageRating } } }`},
		{"add a review for another", `mutation { addReview(productId: 8, rating: 4, body: "Fine.", authorId: 46) { id } }`},
		{"place an order", `mutation { placeOrder(lines: [{productId: 8, quantity: 2}, {productId: 8, quantity: 1}]) { id total { amount } } }`},
		{"place an order for another", `mutation { placeOrder(lines: [{productId: 8, quantity: 2}], customerId: 46) { id customer { id } } }`},
	}
	for _, text := range []string{
		"e", "a", "x", "ж", "7", "an", "qx", "li", "éc", "ann", "est", "qqq", "ski", "lamp", "garcia", "a b", "d'a", "nothing is called so", "100%", "a_b",
	} {
		all = append(all, namedQuery{"search " + text, fmt.Sprintf(`{ search(text: %q, first: 20) { ... on User { id name } ... on Product { id name } } }`, text)})
	}
	return all
}

// On a large PostgreSQL database with default planner settings, no statement of the gateway scans a
// whole table, and pure counts use an index-only scan.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	t.Parallel()
	url := seeded(t, "large", large)
	s := open(t, url, "")
	plain, err := db.Open(t.Context(), db.Options{URL: url, Rows: cachedRows})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })

	covered := map[string]bool{}
	schema := graph.NewSchema(nil, nil).Schema()
	statements := map[string]bool{}
	for _, op := range everyOperation() {
		doc, errs := gqlparser.LoadQueryWithRules(schema, op.query, rules.NewDefaultRules())
		if errs != nil {
			t.Fatalf("%s: %v", op.name, errs)
		}
		cover(covered, doc.Operations[0].SelectionSet)
		s.flush(t)
		s.sql()
		if a := s.execute(t, graph.Viewer{ID: 42, Admin: true}, op.query); len(a.Errors) > 0 {
			t.Errorf("%s: %s", op.name, a.raw)
		}
		ran := s.sql()
		if len(ran) == 0 {
			t.Errorf("%s: ran no statement", op.name)
		}
		for _, q := range ran {
			if statements[q] {
				continue
			}
			statements[q] = true
			plan := explain(t, plain, q)
			if strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s: sequential scan:\n%s\n%s", op.name, q, plan)
			}
			reads := strings.NewReplacer("Index Only Scan", "", "Subquery Scan", "").Replace(plan)
			if strings.Contains(q, "count(*)") && (!strings.Contains(plan, "Index Only Scan") || strings.Contains(reads, "Scan ")) {
				t.Errorf("%s: the count is not an index-only scan:\n%s\n%s", op.name, q, plan)
			}
		}
	}
	if plan := explain(t, plain, "SELECT id FROM users WHERE bio = 'x'"); !strings.Contains(plan, "Seq Scan on users") {
		t.Errorf("a filter without an index is no sequential scan, so this test cannot find one:\n%s", plan)
	}
	for _, name := range coordinates(parseSchema(t, contractText(t))) {
		if !covered[name] {
			t.Errorf("no operation selects %s", name)
		}
	}
}

// Plans do not show the cascades of a deletion. The rows that refer to the user are found by an
// index too.
func TestCascadesUseIndexes(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), db.Options{URL: seeded(t, "large", large), Rows: cachedRows})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	var whole []string
	inTransaction(t, d, func(ctx context.Context, tx *sql.Tx) {
		result, err := tx.ExecContext(ctx, "DELETE FROM users WHERE id = 42")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); n != 1 || err != nil {
			t.Fatal("user 42 does not exist", err)
		}
		whole = column(t, ctx, tx, "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0")
		if touched := column(t, ctx, tx, "SELECT relname FROM pg_stat_xact_user_tables WHERE n_tup_del + n_tup_upd > 0 ORDER BY relname"); !slices.Equal(touched, []string{"order_lines", "orders", "reviews", "users"}) {
			t.Errorf("the deletion touched the tables %v", touched)
		}
	})
	if len(whole) > 0 {
		t.Errorf("sequential scans of %v, want none", whole)
	}
}

// explain returns the plan of a statement under the gateway's connection settings, without running
// it. For a statement with parameters it is the generic plan, which PostgreSQL settles on after a
// few runs.
func explain(t testing.TB, d *db.DB, statement string) (plan string) {
	t.Helper()
	inTransaction(t, d, func(ctx context.Context, tx *sql.Tx) {
		if strings.Contains(statement, "$1") {
			run := func(statement string) {
				if _, err := tx.ExecContext(ctx, statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			run("SET LOCAL plan_cache_mode = force_generic_plan")
			run("PREPARE explained AS " + statement)
			defer run("DEALLOCATE explained")
			n := column(t, ctx, tx, "SELECT repeat(', NULL', cardinality(parameter_types)) FROM pg_prepared_statements WHERE name = 'explained'")
			statement = "EXECUTE explained (" + strings.TrimPrefix(n[0], ", ") + ")"
		}
		plan = strings.Join(column(t, ctx, tx, "EXPLAIN "+statement), "\n")
	})
	return plan
}

// inTransaction runs f in a transaction and rolls it back.
func inTransaction(t testing.TB, d *db.DB, f func(context.Context, *sql.Tx)) {
	t.Helper()
	tx, err := d.Bun().DB.BeginTx(t.Context(), nil) // not through bun, which would fill in question marks
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}()
	f(t.Context(), tx)
}

// column returns the rows of a statement with one column.
func column(t testing.TB, ctx context.Context, tx *sql.Tx, statement string) (values []string) {
	t.Helper()
	rows, err := tx.QueryContext(ctx, statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// cover adds the fields of a selection to covered.
func cover(covered map[string]bool, set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			covered[s.ObjectDefinition.Name+"."+s.Name] = true
			cover(covered, s.SelectionSet)
		case *ast.InlineFragment:
			cover(covered, s.SelectionSet)
		}
	}
}

// coordinates returns the fields of the contract's object types.
func coordinates(contract *ast.Schema) (names []string) {
	for _, def := range sorted(contract.Types, func(d *ast.Definition) *ast.Position { return d.Position }) {
		if def.Kind != ast.Object {
			continue
		}
		for _, f := range def.Fields {
			if !strings.HasPrefix(f.Name, "__") {
				names = append(names, def.Name+"."+f.Name)
			}
		}
	}
	return names
}
