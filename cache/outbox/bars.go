package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fieldcache/cache"
)

// barOp is the kind of a row that holds the coordinate of a field that must not be cached. It evicts nothing, no poll reads it, and it
// stays until the bar is lifted.
const barOp Op = "BAR"

var _ cache.Bars = (*Outbox)(nil)

// Bar implements [cache.Bars].
func (o *Outbox) Bar(ctx context.Context, coordinate string) error {
	err := run(ctx, o.db, o.at.sql("INSERT INTO ?outbox (tbl, op, rows, done_at) VALUES (?0, ?1, ?2, ?now)", byHandTable, barOp, asJSON(coordinate)))
	if err != nil {
		return fmt.Errorf("outbox: record that %s is barred: %w", coordinate, err)
	}
	return nil
}

// Unbar implements [cache.Bars].
func (o *Outbox) Unbar(ctx context.Context, coordinates []string) error {
	if len(coordinates) == 0 {
		return nil
	}
	all := make([]string, len(coordinates))
	for i, c := range coordinates {
		all[i] = o.at.literal(asJSON(c))
	}
	if err := run(ctx, o.db, o.at.sql("DELETE FROM ?outbox WHERE op = ?0 AND CAST(rows AS text) IN (?1)", barOp, raw(strings.Join(all, ", ")))); err != nil {
		return fmt.Errorf("outbox: lift bars: %w", err)
	}
	return nil
}

// Barred implements [cache.Bars].
func (o *Outbox) Barred(ctx context.Context) ([]string, error) {
	list, err := column[string](ctx, o.db, o.at.sql("SELECT DISTINCT CAST(rows AS text) AS coordinate FROM ?outbox WHERE op = ?0 ORDER BY coordinate", barOp))
	for i, text := range list {
		if err == nil {
			err = json.Unmarshal([]byte(text), &list[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: read what is barred: %w", err)
	}
	return list, nil
}

// asJSON returns a coordinate as JSON: its characters need no escapes.
func asJSON(coordinate string) string { return `"` + coordinate + `"` }
