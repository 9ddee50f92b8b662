package db

import "fieldcache/cache/outbox"

// cachedRows are rows as a schema declares them: cached values depend on every column that readers
// get.
var cachedRows = []outbox.Rows{
	{Of: "Country", Table: "countries", Match: []string{"code"}, Columns: []string{"name"}},
	{Of: "User", Table: "users", Match: []string{"id"}, Columns: []string{"name", "email", "bio", "country_code", "created_at", "updated_at"}},
	{Of: "Product", Table: "products", Match: []string{"id"}, Columns: []string{"name", "description", "price_cents", "currency", "stock"}},
	{Of: "Query.products", Table: "products", Match: []string{"category"}, Columns: []string{}},
	{Of: "Review", Table: "reviews", Match: []string{"id"}, Columns: []string{"rating", "body", "created_at"}},
	{Of: "Product.reviews", Table: "reviews", Match: []string{"product_id"}, Columns: []string{}},
	{Of: "User.reviews", Table: "reviews", Match: []string{"author_id"}, Columns: []string{}},
	{Of: "Order", Table: "orders", Match: []string{"id"}, Columns: []string{"created_at"}},
	{Of: "User.orders", Table: "orders", Match: []string{"customer_id"}, Columns: []string{}},
	{Of: "Order", Table: "order_lines", Match: []string{"order_id"}, Columns: []string{"product_id", "quantity", "unit_price_cents", "currency"}},
}
