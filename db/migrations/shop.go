package migrations

import "context"

// shop creates the shop's six tables and the indexes that its queries need.
func shop(ctx context.Context, s *schema) error {
	if err := s.tables(ctx, shopTables()); err != nil {
		return err
	}
	return s.indexes(ctx, shopIndexes())
}

func shopTables() []table {
	created := column{"created_at", timestamp, "NOT NULL DEFAULT {now}", ""}
	updated := column{"updated_at", timestamp, "NOT NULL DEFAULT {now}", ""}
	return []table{
		{name: "countries", columns: []column{
			{"code", text, "PRIMARY KEY NOT NULL", ""},
			{"name", text, "NOT NULL", ""},
		}},
		{name: "users", adds: true, storage: "fillfactor = 80", columns: []column{
			{"id", id, "", ""},
			{"name", text, "NOT NULL", ""},
			{"email", text, "NOT NULL UNIQUE", ""},
			{"bio", text, "", ""},
			{"country_code", text, "", "countries"},
			created, updated,
		}},
		{name: "products", columns: []column{
			{"id", id, "", ""},
			{"name", text, "NOT NULL", ""},
			{"description", text, "NOT NULL", ""},
			{"category", text, "NOT NULL", ""},
			{"price_cents", bigint, "NOT NULL CHECK (price_cents >= 0)", ""},
			{"currency", text, "NOT NULL", ""},
			{"stock", integer, "NOT NULL CHECK (stock >= 0)", ""},
			created, updated,
		}},
		{name: "reviews", adds: true, columns: []column{
			{"id", id, "", ""},
			{"product_id", bigint, "NOT NULL", "products ON DELETE CASCADE"},
			{"author_id", bigint, "", "users ON DELETE SET NULL"},
			{"rating", integer, "NOT NULL CHECK (rating BETWEEN 1 AND 5)", ""},
			{"body", text, "NOT NULL", ""},
			created,
		}},
		{name: "orders", adds: true, columns: []column{
			{"id", id, "", ""},
			{"customer_id", bigint, "NOT NULL", "users ON DELETE CASCADE"},
			created,
		}},
		{name: "order_lines", adds: true, tail: "PRIMARY KEY (order_id, line_no)", columns: []column{
			{"order_id", bigint, "NOT NULL", "orders ON DELETE CASCADE"},
			{"line_no", integer, "NOT NULL", ""},
			{"product_id", bigint, "NOT NULL", "products"},
			{"quantity", integer, "NOT NULL CHECK (quantity > 0)", ""},
			{"unit_price_cents", bigint, "NOT NULL", ""},
			{"currency", text, "NOT NULL", ""},
		}},
	}
}

func shopIndexes() []index {
	return []index{
		// The queries rely on these keys, which an adopted table may lack.
		{name: "countries_key", table: "countries", keys: []string{"code"}, unique: true},
		{name: "users_email_key", table: "users", keys: []string{"email"}, unique: true},
		{name: "order_lines_key", table: "order_lines", keys: []string{"order_id", "line_no"}, unique: true},

		{name: "countries_code_name_idx", table: "countries", keys: []string{"code", "name"}},
		{name: "users_country_idx", table: "users", keys: []string{"country_code"}},
		{name: "products_category_idx", table: "products", keys: []string{"category", "id"}},
		{name: "reviews_author_idx", table: "reviews", keys: []string{"author_id", "id"}},
		{name: "reviews_product_idx", table: "reviews", keys: []string{"product_id", "id"}, include: []string{"rating"}},
		{name: "orders_customer_idx", table: "orders", keys: []string{"customer_id", "id"}},
		{name: "order_lines_product_idx", table: "order_lines", keys: []string{"product_id"}},
		{name: "users_name_idx", table: "users", keys: []string{"lower(name)"}, trigram: true},
		{name: "products_name_idx", table: "products", keys: []string{"lower(name)"}, trigram: true},
	}
}
