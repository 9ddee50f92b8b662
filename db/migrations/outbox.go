package migrations

import (
	"context"

	"fieldcache/cache/outbox"
)

// outboxOfShop is the outbox of writes with the triggers that fill it from the shop's tables. It is not
// recorded: what it is made of says itself whose it is.
func outboxOfShop(ctx context.Context, s *schema) error {
	return outbox.Install(ctx, s.db, NotedTables())
}

// NotedTables says of the shop's tables which columns name keys and tags of the cache, and which are shown.
func NotedTables() []outbox.Table {
	id := []string{"id"}
	return []outbox.Table{
		{Name: "countries", PrimaryKey: []string{"code"}, Keys: []string{"code"}, Matter: []string{"name"}},
		{Name: "users", PrimaryKey: id, Keys: id, Refers: []string{"country_code"},
			Matter: []string{"name", "email", "bio", "country_code", "created_at", "updated_at"}},
		{Name: "products", PrimaryKey: id, Keys: []string{"id", "category"},
			Matter: []string{"name", "description", "category", "price_cents", "currency", "stock"}},
		{Name: "reviews", PrimaryKey: id, Keys: []string{"id", "product_id", "author_id"},
			Matter: []string{"product_id", "author_id", "rating", "body", "created_at"}},
		{Name: "orders", PrimaryKey: id, Keys: []string{"id", "customer_id"}, Matter: []string{"customer_id", "created_at"}},
		{Name: "order_lines", PrimaryKey: []string{"order_id", "line_no"}, Keys: []string{"order_id"}, Refers: []string{"product_id"},
			Matter: []string{"product_id", "quantity", "unit_price_cents", "currency"}},
	}
}
