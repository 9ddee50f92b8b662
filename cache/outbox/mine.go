package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Mark is a moment before the writes of a transaction; see [Place.Mine].
type Mark int64

// Mark returns the mark of a transaction that has written nothing yet. On SQLite the transaction must be a writer
// already, as by BEGIN IMMEDIATE. On PostgreSQL it sends no statement.
func (p Place) Mark(ctx context.Context, tx Querier) (Mark, error) {
	if p.postgres {
		return 0, nil
	}
	m, err := one[Mark](ctx, tx, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'cache_outbox'")
	if err != nil {
		return 0, fmt.Errorf("outbox: mark the beginning of a transaction: %w", err)
	}
	return m, nil
}

// Mine returns what a transaction has written since a mark, as others are told of it once it is committed, and its number:
// for a gateway that evicts before it answers what it wrote itself.
func (p Place) Mine(ctx context.Context, tx Querier, since Mark) (Number, []Change, error) {
	type record struct {
		number Number
		table  *string // nil: nothing was noted
		op     *string
		rows   *string
	}
	condition := fmt.Sprintf("o.id > %d", since)
	if p.postgres {
		condition = "o.xid = pg_current_xact_id()"
	}
	records, err := query(ctx, tx, p.sql("SELECT ?0, o.tbl, o.op, o.rows FROM (SELECT 1) AS one LEFT JOIN ?outbox AS o ON ?1 ORDER BY o.id",
		raw(p.Xid()), raw(condition)), func(r *record) []any { return []any{&r.number, &r.table, &r.op, &r.rows} })
	if err != nil {
		return Number{}, nil, fmt.Errorf("outbox: read what a transaction wrote: %w", err)
	}
	var changes []Change
	for _, r := range records {
		if r.table == nil || *r.table == byHandTable {
			continue
		}
		c := Change{Table: *r.table, Op: Op(*r.op)}
		if r.rows != nil {
			c.Rows, _ = readRows([]byte(*r.rows)) // what cannot be read is any row
		}
		changes = append(changes, c)
	}
	return records[0].number, changes, nil
}

// ChangeOf returns the change of one row, from what it was and what it is: JSON objects of its columns, as PostgreSQL's
// to_jsonb writes them; empty for a row that is new, or gone. It is for a statement that returns them, as one with
// RETURNING does, and so costs no other statement.
func ChangeOf(table string, op Op, was, is string) (Change, error) {
	r := Row{}
	var err error
	if r.Was, err = valuesOf(was); err == nil {
		r.Is, err = valuesOf(is)
	}
	if err != nil {
		return Change{}, fmt.Errorf("outbox: read a row of %s: %w", table, err)
	}
	if r.Was != nil && r.Is != nil {
		both := maps.Clone(r.Was)
		maps.Copy(both, r.Is)
		for _, column := range slices.Sorted(maps.Keys(both)) {
			before, had := r.Was[column]
			after, has := r.Is[column]
			if before != after || had != has {
				r.Changed = append(r.Changed, column)
			}
		}
	}
	return Change{Table: table, Op: op, Rows: []Row{r}}, nil
}

// valuesOf returns the columns of a row as text, as triggers note them.
func valuesOf(row string) (Values, error) {
	if row == "" {
		return nil, nil
	}
	var columns map[string]json.RawMessage
	if err := json.Unmarshal([]byte(row), &columns); err != nil {
		return nil, err
	}
	values := make(Values, len(columns))
	for name, value := range columns {
		switch {
		case bytes.Equal(value, []byte("null")):
		case value[0] == '"':
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return nil, err
			}
			values[name] = text
		default:
			values[name] = string(value)
		}
	}
	return values, nil
}
