package migrations

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"

	"fieldcache/cache/outbox"
)

// outboxOfShop is the outbox of writes with the triggers that fill it from the shop's tables. It is not
// recorded: what it is made of says itself whose it is.
func outboxOfShop(ctx context.Context, s *schema) error {
	return placeOf(s.db).Install(ctx, querier(ctx, s.db), NotedTables())
}

// placeOf is the place of a database's outbox.
func placeOf(db bun.IDB) outbox.Place {
	if isPostgres(db) {
		return outbox.PostgreSQL("")
	}
	return outbox.SQLite()
}

type txKey struct{}

// Bind returns a context of a migration's transaction, which db is bound to: what is no statement of bun is sent in it.
func Bind(ctx context.Context, tx *sql.Tx) context.Context {
	return context.WithValue(ctx, txKey{}, tx)
}

// querier sends statements of the outbox where db sends its own.
func querier(ctx context.Context, db *bun.DB) outbox.Querier {
	if tx, ok := ctx.Value(txKey{}).(*sql.Tx); ok {
		return tx
	}
	return db.DB
}

// Differences are those of the outbox, its triggers included.
func Differences(ctx context.Context, db *bun.DB) ([]outbox.Difference, error) {
	return placeOf(db).Diff(ctx, querier(ctx, db), NotedTables())
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
