package dataloader_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// TestEvictions lists the keys and tags that follow from the schema for each change of the shop's
// rows.
func TestEvictions(t *testing.T) {
	t.Parallel()
	rows := fill(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db")).rows
	type v = outbox.Values
	is := func(values v) outbox.Row { return outbox.Row{Is: values} }
	was := func(values v) outbox.Row { return outbox.Row{Was: values} }
	changed := func(values v, columns ...string) outbox.Row {
		return outbox.Row{Was: values, Is: values, Changed: columns}
	}
	moved := func(was, is v, columns ...string) outbox.Row {
		return outbox.Row{Was: was, Is: is, Changed: columns}
	}
	in := func(table string, rows ...outbox.Row) outbox.Change { return outbox.Change{Table: table, Rows: rows} }
	u42, p7 := v{"id": "42"}, v{"id": "7", "category": "x"}
	r9 := v{"id": "9", "product_id": "7", "author_id": "42"}

	for name, c := range map[string]struct {
		changes []outbox.Change
		want    string
	}{
		"nothing":               {nil, "[] []"},
		"a table of others":     {[]outbox.Change{in("baskets", is(u42)), {Table: "baskets"}}, "[] []"},
		"a user is new":         {[]outbox.Change{in("users", is(u42))}, "[user:42 {users}:count] [{users} {users}:name]"},
		"a user is changed":     {[]outbox.Change{in("users", changed(u42, "updated_at"))}, "[user:42] []"},
		"a user is renamed":     {[]outbox.Change{in("users", changed(u42, "name", "updated_at"))}, "[user:42] [{users}:name]"},
		"a user gets a new id":  {[]outbox.Change{in("users", moved(u42, v{"id": "43"}))}, "[user:42 {users}:count user:43] [{users} {users}:name]"},
		"two users are changed": {[]outbox.Change{in("users", changed(u42, "bio"), changed(v{"id": "43"}, "bio"), changed(u42, "bio"))}, "[user:42 user:43] []"},
		"a user without an id":  {[]outbox.Change{in("users", changed(u42, "bio"), is(v{"name": "x"}))}, "[] [{User}]"},
		"a user of one id":      {[]outbox.Change{in("users", moved(u42, v{"name": "x"}))}, "[] [{User}]"},
		"any user":              {[]outbox.Change{{Table: "users", Op: outbox.Truncate}}, "[] [{User}]"},
		"a user is deleted": {[]outbox.Change{
			in("users", was(u42)), in("reviews", moved(r9, v{"id": "9", "product_id": "7"}, "author_id")),
			in("orders", was(v{"id": "3", "customer_id": "42"})), in("order_lines", was(v{"order_id": "3"})),
		}, "[user:42 {users}:count review:9 {user:42}:reviews:count order:3 {user:42}:orders:count] [{users} {users}:name {user:42}:reviews {user:42}:orders]"},

		"a product is new":                      {[]outbox.Change{in("products", is(p7))}, "[product:7 {product:7}:price {product:7}:stock {products}:count {products}:category=x:count] [{products}:name {products} {products}:category=x]"},
		"a product is described":                {[]outbox.Change{in("products", changed(p7, "description"))}, "[product:7] []"},
		"a product is renamed":                  {[]outbox.Change{in("products", changed(p7, "name"))}, "[product:7] [{products}:name]"},
		"a product moves":                       {[]outbox.Change{in("products", moved(p7, v{"id": "7", "category": "a b"}, "category"))}, "[product:7 {products}:category=x:count {products}:category=a%20b:count] [{products}:category=x {products}:category=a%20b]"},
		"a price":                               {[]outbox.Change{in("products", changed(p7, "price_cents"))}, "[{product:7}:price] []"},
		"a currency":                            {[]outbox.Change{in("products", changed(p7, "currency"))}, "[{product:7}:price] []"},
		"a stock":                               {[]outbox.Change{in("products", changed(p7, "stock"))}, "[{product:7}:stock] []"},
		"a product that only looks newer":       {[]outbox.Change{in("products", changed(p7, "updated_at"))}, "[] []"},
		"any product":                           {[]outbox.Change{{Table: "products", Op: outbox.Update}}, "[] [{Product}]"},
		"a review is new":                       {[]outbox.Change{in("reviews", is(r9))}, "[review:9 {product:7}:rating {product:7}:reviews:count {user:42}:reviews:count] [{product:7}:reviews {user:42}:reviews]"},
		"a review without an author is deleted": {[]outbox.Change{in("reviews", was(v{"id": "9", "product_id": "7"}))}, "[review:9 {product:7}:rating {product:7}:reviews:count] [{product:7}:reviews]"},
		"a rating":                              {[]outbox.Change{in("reviews", changed(r9, "rating"))}, "[review:9 {product:7}:rating] []"},
		"a review is rewritten":                 {[]outbox.Change{in("reviews", changed(r9, "body"))}, "[review:9] []"},
		"a review is moved to another product":  {[]outbox.Change{in("reviews", moved(r9, v{"id": "9", "product_id": "8", "author_id": "42"}, "product_id"))}, "[review:9 {product:7}:rating {product:7}:reviews:count {product:8}:rating {product:8}:reviews:count] [{product:7}:reviews {product:8}:reviews]"},
		"any review":                            {[]outbox.Change{{Table: "reviews", Op: outbox.Insert}}, "[] [{Review}]"},
		"an order": {[]outbox.Change{
			in("products", changed(v{"id": "7"}, "stock"), changed(v{"id": "8"}, "stock")),
			in("orders", is(v{"id": "3", "customer_id": "42"})), in("order_lines", is(v{"order_id": "3"}), is(v{"order_id": "3"})),
		}, "[{product:7}:stock {product:8}:stock order:3 {user:42}:orders:count] [{user:42}:orders]"},
		"an order's line":                  {[]outbox.Change{in("order_lines", changed(v{"order_id": "3"}, "quantity"))}, "[order:3] []"},
		"a line is moved to another order": {[]outbox.Change{in("order_lines", moved(v{"order_id": "3"}, v{"order_id": "4"}))}, "[order:3 order:4] []"},
		"an order of another customer":     {[]outbox.Change{in("orders", moved(v{"id": "3", "customer_id": "42"}, v{"id": "3", "customer_id": "43"}, "customer_id"))}, "[order:3 {user:42}:orders:count {user:43}:orders:count] [{user:42}:orders {user:43}:orders]"},
		"any order, by any of its rows":    {[]outbox.Change{{Table: "orders"}, {Table: "order_lines"}}, "[] [{Order}]"},
		"a country is renamed":             {[]outbox.Change{in("countries", changed(v{"code": "GB"}, "name"))}, "[country:GB] []"},
		"a country is new":                 {[]outbox.Change{in("countries", is(v{"code": "GB"}))}, "[country:GB] [{countries}]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev := rows.Evictions(c.changes...)
			// The order does not matter. Tags of rows belong to fields that no loader caches.
			ev.Tags = slices.DeleteFunc(ev.Tags, func(t cache.Tag) bool { return strings.HasPrefix(string(t), "{rows:") })
			keys, tags, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(c.want, "["), "]"), "] [")
			wants := func(list string) []string { return slices.Sorted(slices.Values(strings.Fields(list))) }
			slices.Sort(ev.Keys)
			slices.Sort(ev.Tags)
			if got, want := fmt.Sprint(ev.Keys, ev.Tags), fmt.Sprint(wants(keys), wants(tags)); got != want {
				t.Errorf("got    %s,\nwant   %s", got, want)
			}
		})
	}
}

func BenchmarkEvictions(b *testing.B) {
	rows := fill(b, "sqlite://"+filepath.Join(b.TempDir(), "shop.db")).rows
	row := outbox.Values{"id": "42", "name": "Ann", "bio": "x"}
	c := outbox.Change{Table: "users", Op: outbox.Update, Rows: []outbox.Row{{Was: row, Is: row, Changed: []string{"bio", "updated_at"}}}}
	b.ReportAllocs()
	for b.Loop() {
		if ev := rows.Evictions(c); len(ev.Keys) != 1 {
			b.Fatal(ev)
		}
	}
}
