package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"fieldcache/cache"
)

// Reader reads a row from a database, such as a [sql.DB].
type Reader interface {
	// QueryRowContext returns one row, as [sql.DB.QueryRowContext].
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ErrNoRow is returned, wrapped, by [RowTags.Row] for a name that is not the name of a row.
var ErrNoRow = errors.New("no such row")

// Row returns the eviction of every value that depends on one row. The row's name is like reviews:9,
// or members:org=1&user=2 if the primary key has several columns; values are then percent-encoded as
// in a URL. Row reads the row from db, since values may be matched by other columns than the primary
// key. If the row does not exist, it returns the eviction of every value that depends on the table.
func (p *RowTags) Row(ctx context.Context, db Reader, name string) (cache.Eviction, error) {
	table, key, ok := strings.Cut(name, ":")
	t := p.tables[table]
	if !ok || t == nil {
		return cache.Eviction{}, fmt.Errorf("%w: %s: no cached value depends on a table %q; example of a name: reviews:9", ErrNoRow, name, table)
	}
	where, err := t.where(key)
	if err != nil {
		return cache.Eviction{}, fmt.Errorf("%w: %s: %w", ErrNoRow, name, err)
	}
	columns := t.columns()
	parts := make([]string, len(columns))
	texts := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i, c := range columns {
		parts[i], into[i] = "CAST("+identifier(c)+" AS text)", &texts[i]
	}
	from := strings.Join(mapped(strings.Split(table, "."), identifier), ".")
	err = db.QueryRowContext(cache.Unwatched(ctx), "SELECT "+strings.Join(parts, ", ")+" FROM "+from+" WHERE "+where).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return p.Evictions(Change{Table: table, Op: Truncate}), nil
	}
	if err != nil {
		return cache.Eviction{}, fmt.Errorf("outbox: read %s: %w", name, err)
	}
	row := Row{Is: Values{}}
	for i, c := range columns {
		if texts[i].Valid {
			row.Is[c] = texts[i].String
		}
	}
	return p.Evictions(Change{Table: table, Op: Update, Rows: []Row{row}}), nil
}

// columns returns the columns of the primary key and of all matches.
func (t *tableTags) columns() []string {
	all := map[string]bool{}
	for _, c := range t.info.PrimaryKey {
		all[c] = true
	}
	for _, s := range t.sets {
		for _, c := range s.columns {
			all[c] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// where returns the SQL condition that selects the row with the primary key in key.
func (t *tableTags) where(key string) (string, error) {
	values := map[string]string{}
	if pk := t.info.PrimaryKey; len(pk) == 1 && !strings.HasPrefix(key, pk[0]+"=") {
		values[pk[0]] = key
	} else {
		for part := range strings.SplitSeq(key, "&") {
			column, value, _ := strings.Cut(part, "=")
			plain, err := url.PathUnescape(value)
			if err != nil {
				return "", err
			}
			values[column] = plain
		}
	}
	var conditions []string
	for _, c := range t.info.PrimaryKey {
		v, ok := values[c]
		if !ok {
			return "", fmt.Errorf("the primary key is %s", strings.Join(t.info.PrimaryKey, ", "))
		}
		if _, ok := t.info.Columns[c].canonical(v); !ok || strings.ContainsAny(v, "\\\x00") {
			return "", fmt.Errorf("%q is not a value of %s", v, c)
		}
		conditions = append(conditions, identifier(c)+" = '"+strings.ReplaceAll(v, "'", "''")+"'")
	}
	if len(values) != len(t.info.PrimaryKey) {
		return "", fmt.Errorf("the primary key is %s", strings.Join(t.info.PrimaryKey, ", "))
	}
	return strings.Join(conditions, " AND "), nil
}

// identifier quotes the name of a table or column, as both databases do.
func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func mapped(list []string, each func(string) string) []string {
	for i := range list {
		list[i] = each(list[i])
	}
	return list
}
