package migrations

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"
)

// catalog reads what a database says about itself.
type catalog interface {
	// relation says what stands under a name: "table", "index", "view", …, or "" for nothing.
	relation(ctx context.Context, name string) (kind string, err error)
	// find looks for an object and returns its id, 0 where objects have none.
	find(ctx context.Context, kind, name string) (oid int64, there bool, err error)
	// fires reports whether a trigger that is there is not disabled.
	fires(ctx context.Context, trigger string) (bool, error)
	columns(ctx context.Context, table string) ([]foundColumn, error)
	// indexes returns a table's whole and usable indexes: none that is partial or sorted downwards.
	indexes(ctx context.Context, table string) ([]foundIndex, error)
	// serves reports whether a column of a type can take the place of one of a kind.
	serves(columnType string, kind columnKind) bool
}

type foundColumn struct {
	Name       string
	Type       string
	Filled     bool     // by the database, when an INSERT does not
	References []string // "users ON DELETE CASCADE", "countries ON DELETE NO ACTION"
}

type foundIndex struct {
	Name    string
	Unique  bool
	Trigram bool
	Keys    []string
	Include []string
}

func catalogOf(db bun.IDB) catalog {
	if isPostgres(db) {
		return postgresCatalog{db}
	}
	return sqliteCatalog{db}
}

// HasTable reports whether the database has a table of this name.
func HasTable(ctx context.Context, db bun.IDB, name string) (bool, error) {
	kind, err := catalogOf(db).relation(ctx, name)
	return kind == "table", err
}

type postgresCatalog struct{ db bun.IDB }

func (c postgresCatalog) relation(ctx context.Context, name string) (string, error) {
	var kinds []string
	err := c.db.NewRaw(`SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table' WHEN relkind IN ('i', 'I') THEN 'index'
		WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'relation of another kind' END
		FROM pg_class WHERE oid = to_regclass(?)`, name).Scan(ctx, &kinds)
	return first(kinds), wrap(err, name)
}

func (c postgresCatalog) find(ctx context.Context, kind, name string) (int64, bool, error) {
	var oids []int64
	query, args := `SELECT oid::bigint FROM pg_class WHERE oid = to_regclass(?)`, []any{name}
	switch kind {
	case kindExtension:
		query = `SELECT 0::bigint FROM pg_extension WHERE extname = ?`
	case kindFunction:
		query = `SELECT oid::bigint FROM pg_proc WHERE oid = to_regproc(?)`
	case kindTrigger:
		trigger, table, _ := strings.Cut(name, " ON ")
		query, args = `SELECT oid::bigint FROM pg_trigger WHERE tgname = ? AND tgrelid = to_regclass(?)`, []any{trigger, table}
	}
	err := c.db.NewRaw(query, args...).Scan(ctx, &oids)
	return first(oids), len(oids) > 0, wrap(err, name)
}

func (c postgresCatalog) fires(ctx context.Context, name string) (fires bool, err error) {
	trigger, table, _ := strings.Cut(name, " ON ")
	err = c.db.NewRaw(`SELECT tgenabled IN ('O', 'A') FROM pg_trigger WHERE tgname = ? AND tgrelid = to_regclass(?)`, trigger, table).Scan(ctx, &fires)
	return fires, wrap(err, name)
}

func (c postgresCatalog) columns(ctx context.Context, table string) ([]foundColumn, error) {
	var columns []foundColumn
	err := c.db.NewRaw(`SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type,
			a.attidentity <> '' OR a.atthasdef AS filled
		FROM pg_attribute a WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`, table).Scan(ctx, &columns)
	if err != nil {
		return nil, wrap(err, table)
	}
	var keys []struct{ Name, Target string }
	err = c.db.NewRaw(`SELECT a.attname AS name, t.relname || ' ON DELETE ' || CASE f.confdeltype
			WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT'
			WHEN 'r' THEN 'RESTRICT' ELSE 'NO ACTION' END AS target
		FROM pg_constraint f
		JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
		JOIN pg_class t ON t.oid = f.confrelid
		WHERE f.contype = 'f' AND f.conrelid = to_regclass(?) AND cardinality(f.conkey) = 1`, table).Scan(ctx, &keys)
	for _, k := range keys {
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.Name == k.Name })
		columns[i].References = append(columns[i].References, k.Target)
	}
	return columns, wrap(err, table)
}

func (c postgresCatalog) indexes(ctx context.Context, table string) ([]foundIndex, error) {
	var rows []struct {
		Name          string
		Unique        bool
		Trigram       bool
		Keys, Include string
	}
	// Keys are separated by a character that no name holds.
	err := c.db.NewRaw(`SELECT x.relname AS name, i.indisunique AS unique, m.amname = 'gin' AS trigram,
			(SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), chr(31) ORDER BY k)
				FROM generate_series(1, i.indnkeyatts) k) AS keys,
			coalesce((SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), chr(31) ORDER BY k)
				FROM generate_series(i.indnkeyatts + 1, i.indnatts) k), '') AS include
		FROM pg_index i
		JOIN pg_class x ON x.oid = i.indexrelid
		JOIN pg_am m ON m.oid = x.relam
		WHERE i.indrelid = to_regclass(?) AND i.indisvalid AND i.indpred IS NULL
			AND NOT EXISTS (SELECT 1 FROM unnest(i.indoption::int2[]) o WHERE o <> 0)
			AND (m.amname = 'btree' AND NOT EXISTS (SELECT 1 FROM unnest(i.indclass::oid[]) c
					JOIN pg_opclass p ON p.oid = c WHERE NOT p.opcdefault)
				OR m.amname = 'gin' AND EXISTS (SELECT 1 FROM pg_opclass p
					WHERE p.oid = i.indclass[0] AND p.opcname = 'gin_trgm_ops'))
		ORDER BY x.relname`, table).Scan(ctx, &rows)
	var found []foundIndex
	for _, r := range rows {
		found = append(found, foundIndex{Name: r.Name, Unique: r.Unique, Trigram: r.Trigram,
			// lower(name) of a varchar is shown as lower(name::text)
			Keys:    strings.Split(strings.ReplaceAll(r.Keys, "::text", ""), "\x1f"),
			Include: strings.Split(r.Include, "\x1f")})
	}
	return found, wrap(err, table)
}

func (postgresCatalog) serves(columnType string, kind columnKind) bool {
	return slices.Contains(kind.postgresTypes(), columnType)
}

type sqliteCatalog struct{ db bun.IDB }

func (c sqliteCatalog) relation(ctx context.Context, name string) (string, error) {
	var kinds []string
	err := c.db.NewRaw(`SELECT type FROM sqlite_schema WHERE name = ?`, name).Scan(ctx, &kinds)
	return first(kinds), wrap(err, name)
}

func (c sqliteCatalog) find(ctx context.Context, kind, name string) (int64, bool, error) {
	found, err := c.relation(ctx, name)
	return 0, found == kind, err
}

func (sqliteCatalog) fires(context.Context, string) (bool, error) { return true, nil }

func (c sqliteCatalog) columns(ctx context.Context, table string) ([]foundColumn, error) {
	var columns []foundColumn
	// An integer column that alone is the primary key is the row's id, which SQLite counts.
	err := c.db.NewRaw(`SELECT name, lower(type) AS type,
			pk = 1 AND lower(type) = 'integer' AND (SELECT max(pk) FROM pragma_table_info(?0)) = 1 AS filled
		FROM pragma_table_info(?0) ORDER BY cid`, table).Scan(ctx, &columns)
	if err != nil {
		return nil, wrap(err, table)
	}
	var keys []struct{ Name, Target string }
	err = c.db.NewRaw(`SELECT "from" AS name, "table" || ' ON DELETE ' || on_delete AS target
		FROM pragma_foreign_key_list(?)`, table).Scan(ctx, &keys)
	for _, k := range keys {
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.Name == k.Name })
		columns[i].References = append(columns[i].References, k.Target)
	}
	return columns, wrap(err, table)
}

func (c sqliteCatalog) indexes(ctx context.Context, table string) ([]foundIndex, error) {
	var rows []struct {
		Name    string
		Unique  bool
		Keys    string
		Partial bool
	}
	err := c.db.NewRaw(`SELECT l.name, l."unique", l.partial OR max(x."desc") AS partial,
			group_concat(coalesce(x.name, ''), char(31) ORDER BY x.seqno) AS keys
		FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x WHERE x.key
		GROUP BY l.name ORDER BY l.name`, table).Scan(ctx, &rows)
	var found []foundIndex
	for _, r := range rows {
		if !r.Partial {
			found = append(found, foundIndex{Name: r.Name, Unique: r.Unique, Keys: strings.Split(r.Keys, "\x1f")})
		}
	}
	return found, wrap(err, table)
}

// serves follows SQLite's rules of affinity: a type is what its name contains.
func (sqliteCatalog) serves(columnType string, kind columnKind) bool {
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(columnType, w) })
	}
	switch kind {
	case text:
		return is("char", "clob", "text")
	case timestamp:
		return is("date", "time")
	default:
		return is("int")
	}
}

func first[T any](values []T) T {
	var none T
	if len(values) == 0 {
		return none
	}
	return values[0]
}

func wrap(err error, name string) error {
	if err != nil {
		return fmt.Errorf("look up %s: %w", name, err)
	}
	return nil
}
