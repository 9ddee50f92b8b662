package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Mark is a moment before the writes of a transaction; see [Place.Mine].
type Mark int64

// Mark returns the mark of a transaction that has not written yet. On SQLite the transaction must
// be a writer already, as by BEGIN IMMEDIATE. On PostgreSQL it sends no statement.
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

// Mine returns the number of a transaction and the changes that it has made since a mark, as others
// will read them after the commit. A gateway uses it to evict its own writes before it responds.
func (p Place) Mine(ctx context.Context, tx Querier, since Mark) (Number, []Change, error) {
	type record struct {
		number Number
		table  *string // nil: nothing was recorded
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
		return Number{}, nil, fmt.Errorf("outbox: read the writes of a transaction: %w", err)
	}
	var changes []Change
	for _, r := range records {
		if r.table == nil || *r.table == byHandTable {
			continue
		}
		c := Change{Table: *r.table, Op: Op(*r.op)}
		if r.rows != nil {
			c.Rows, _ = readRows([]byte(*r.rows)) // nil, any row, if it cannot be decoded
		}
		changes = append(changes, c)
	}
	return records[0].number, changes, nil
}

// ChangeOf returns the change of one row, from the row before and after: JSON objects of its
// columns, as PostgreSQL's to_jsonb and row_to_json write them. was is empty for a new row, is for a
// deleted one. It serves statements that return both by RETURNING, and saves a statement that reads
// them from the outbox.
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
		for column, before := range r.Was {
			if after, has := r.Is[column]; before != after || !has {
				r.Changed = append(r.Changed, column)
			}
		}
		for column := range r.Is {
			if _, had := r.Was[column]; !had {
				r.Changed = append(r.Changed, column)
			}
		}
		slices.Sort(r.Changed)
	}
	return Change{Table: table, Op: op, Rows: []Row{r}}, nil
}

// valuesOf returns the columns of a row as text, in the form that triggers record.
func valuesOf(row string) (Values, error) {
	if row == "" {
		return nil, nil
	}
	if values, ok := plainValues(row); ok {
		return values, nil
	}
	d := jsontext.NewDecoder(strings.NewReader(row), jsontext.AllowDuplicateNames(true))
	if t, err := d.ReadToken(); err != nil {
		return nil, err
	} else if t.Kind() != jsontext.KindBeginObject {
		return nil, errors.New("not a JSON object")
	}
	values := Values{}
	for d.PeekKind() != jsontext.KindEndObject {
		t, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := t.String()
		switch d.PeekKind() {
		case jsontext.KindNull:
			err = d.SkipValue()
		case jsontext.KindBeginObject, jsontext.KindBeginArray, jsontext.KindNumber:
			var v jsontext.Value
			v, err = d.ReadValue()
			values[name] = string(v)
		default:
			t, err = d.ReadToken()
			values[name] = t.String()
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if t, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unexpected %v after the object", t)
	}
	return values, nil
}

// plainValues is valuesOf for objects of strings without escapes, numbers, booleans and nulls. Most
// rows are such objects, and it takes a quarter of the time. It reports false for any other text,
// valid JSON or not.
func plainValues(row string) (Values, bool) {
	values := make(Values, strings.Count(row, `":`))
	rest, more := strings.CutPrefix(row, "{")
	for more {
		var name, value string
		var ok bool
		if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), `"`); !ok {
			return nil, false
		}
		if name, rest, ok = strings.Cut(rest, `"`); !ok || !unescaped(name) {
			return nil, false
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			return nil, false
		}
		rest = strings.TrimLeft(rest, " ")
		if text, quoted := strings.CutPrefix(rest, `"`); quoted {
			if value, rest, ok = strings.Cut(text, `"`); !ok || !unescaped(value) {
				return nil, false
			}
			values[name] = value
		} else {
			end := strings.IndexAny(rest, ",}")
			if end < 0 {
				return nil, false
			}
			value, rest = rest[:end], rest[end:]
			switch {
			case value == "null":
			case value == "true", value == "false", strings.Trim(value, "0123456789") == "" && value != "":
				values[name] = value
			default:
				return nil, false
			}
		}
		rest, more = strings.CutPrefix(rest, ",")
	}
	return values, rest == "}"
}

// unescaped reports whether the inside of a JSON string needs no decoding.
func unescaped(inside string) bool {
	return strings.IndexByte(inside, '\\') < 0 && utf8.ValidString(inside)
}
