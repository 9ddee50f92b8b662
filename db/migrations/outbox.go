package migrations

import (
	"context"
	"fmt"

	"fieldcache/cache/outbox"
)

// outboxOfShop is the outbox of writes with the triggers that fill it from the shop's tables.
func outboxOfShop(ctx context.Context, s *schema) error {
	place := ""
	if s.postgres() {
		if err := s.db.NewRaw("SELECT quote_ident(current_schema())").Scan(ctx, &place); err != nil {
			return fmt.Errorf("find the schema that tables are created in: %w", err)
		}
	}
	objects := outbox.Objects(s.postgres(), place)
	for _, t := range notedTables() {
		objects = append(objects, t.Triggers(s.postgres())...)
	}
	for _, o := range objects {
		if err := s.outboxObject(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// outboxObject creates an object where it is missing. A trigger that is disabled is made anew.
func (s *schema) outboxObject(ctx context.Context, o outbox.Object) error {
	_, there, err := s.catalog.find(ctx, o.Kind, o.Name)
	if err != nil {
		return err
	}
	if there && o.Kind == kindTrigger {
		fires, err := s.catalog.fires(ctx, o.Name)
		if err != nil {
			return err
		}
		if !fires {
			if err := s.exec(ctx, "DROP TRIGGER "+o.Name); err != nil {
				return err
			}
			there = false
		}
	}
	if there {
		return s.record(ctx, o.Kind, o.Name, false)
	}
	return s.create(ctx, o.Kind, o.Name, o.Create)
}

// notedTables says of the shop's tables which columns name keys and tags of the cache, and which are shown.
func notedTables() []outbox.Table {
	id := []string{"id"}
	return []outbox.Table{
		{Name: "countries", PrimaryKey: []string{"code"}, Keys: []string{"code"}, Matter: []string{"name"}},
		{Name: "users", PrimaryKey: id, Keys: id,
			Matter: []string{"name", "email", "bio", "country_code", "created_at", "updated_at"}},
		{Name: "products", PrimaryKey: id, Keys: []string{"id", "category"},
			Matter: []string{"name", "description", "category", "price_cents", "currency", "stock"}},
		{Name: "reviews", PrimaryKey: id, Keys: []string{"id", "product_id", "author_id"},
			Matter: []string{"product_id", "author_id", "rating", "body", "created_at"}},
		{Name: "orders", PrimaryKey: id, Keys: []string{"id", "customer_id"}, Matter: []string{"customer_id", "created_at"}},
		{Name: "order_lines", PrimaryKey: []string{"order_id", "line_no"}, Keys: []string{"order_id"},
			Matter: []string{"product_id", "quantity", "unit_price_cents", "currency"}},
	}
}
