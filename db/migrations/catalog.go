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
	// relation returns the kind of the relation of this name: "table", "index", "view", …, or "" if
	// there is none.
	relation(ctx context.Context, name string) (kind string, err error)
	// find returns the object, or nil if there is none.
	find(ctx context.Context, kind, name string) (*foundObject, error)
	// life identifies the database within which oids are stable. It differs after a dump is restored.
	life(ctx context.Context) (string, error)
	columns(ctx context.Context, table string) ([]foundColumn, error)
	// indexes returns a table's valid indexes, without partial and descending ones.
	indexes(ctx context.Context, table string) ([]foundIndex, error)
	// serves reports whether a column of this type can be used as a column of this kind.
	serves(columnType string, kind columnKind) bool
}

// foundObject is an existing object.
type foundObject struct {
	OID        int64  // 0 on SQLite
	Definition string // its definition, as text
}

type foundColumn struct {
	Name       string
	Type       string   // the base type of a domain
	Required   bool     // whether it cannot be NULL
	Counted    bool     // the database numbers rows if an INSERT gives no value
	Filled     bool     // the database sets some value if an INSERT gives none
	Generated  bool     // the database always sets the value
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

func (c postgresCatalog) find(ctx context.Context, kind, name string) (*foundObject, error) {
	query := `SELECT c.oid::bigint AS oid, pg_get_indexdef(c.oid, 0, true) AS definition FROM pg_class AS c WHERE c.oid = to_regclass(?)`
	switch kind {
	case kindExtension:
		query = `SELECT 0::bigint AS oid, extname AS definition FROM pg_extension WHERE extname = ?`
	case kindTable:
		query = `SELECT c.oid::bigint AS oid, concat(c.relkind, ' ', (
				SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END), ', ' ORDER BY a.attnum)
				FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '; ', (
				SELECT string_agg(concat_ws(' ', f.conname, pg_get_constraintdef(f.oid, true)), ', ' ORDER BY f.conname)
				FROM pg_constraint AS f WHERE f.conrelid = c.oid AND f.contype IN ('c', 'f', 'p', 'u', 'x'))) AS definition
			FROM pg_class AS c WHERE c.oid = to_regclass(?)`
	}
	var found []foundObject
	if err := c.db.NewRaw(query, name).Scan(ctx, &found); err != nil || len(found) == 0 {
		return nil, wrap(err, name)
	}
	return &found[0], nil
}

func (c postgresCatalog) life(ctx context.Context) (life string, err error) {
	err = c.db.NewRaw(`SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
		(SELECT oid FROM pg_database WHERE datname = current_database()), to_regclass(?)::oid)`, ObjectsTable).Scan(ctx, &life)
	return life, wrap(err, ObjectsTable)
}

func (c postgresCatalog) columns(ctx context.Context, table string) ([]foundColumn, error) {
	var columns []foundColumn
	// A CHECK constraint that refuses NULL is as good as NOT NULL. Adding it does not lock a large table.
	err := c.db.NewRaw(`WITH RECURSIVE typed AS (
			SELECT a.attname, a.attnum, a.attidentity, a.attgenerated, a.atthasdef, a.atttypid AS type, a.attnotnull OR EXISTS (
				SELECT FROM pg_constraint AS f WHERE f.conrelid = a.attrelid AND f.contype = 'c' AND f.convalidated
				AND pg_get_expr(f.conbin, f.conrelid) = '(' || quote_ident(a.attname) || ' IS NOT NULL)') AS required
			FROM pg_attribute AS a WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT d.attname, d.attnum, d.attidentity, d.attgenerated, d.atthasdef OR t.typdefault IS NOT NULL, t.typbasetype, d.required OR t.typnotnull
			FROM typed AS d JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype = 'd')
		SELECT d.attname AS name, format_type(d.type, NULL) AS type, d.required,
			d.attidentity <> '' OR d.atthasdef AS counted, d.attidentity <> '' OR d.atthasdef AS filled, d.attgenerated <> '' AS generated
		FROM typed AS d JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype <> 'd' ORDER BY d.attnum`, table).Scan(ctx, &columns)
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
	// Keys are separated by a character that no name contains.
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

func (c sqliteCatalog) find(ctx context.Context, kind, name string) (*foundObject, error) {
	var definitions []string
	err := c.db.NewRaw(`SELECT coalesce(sql, '') FROM sqlite_schema WHERE type = ? AND name = ?`, kind, name).Scan(ctx, &definitions)
	if err != nil || len(definitions) == 0 {
		return nil, wrap(err, name)
	}
	return &foundObject{Definition: definitions[0]}, nil
}

func (sqliteCatalog) life(context.Context) (string, error) { return "", nil }

func (c sqliteCatalog) columns(ctx context.Context, table string) ([]foundColumn, error) {
	var columns []foundColumn
	// An integer column that is the whole primary key is the rowid, which SQLite numbers.
	err := c.db.NewRaw(`SELECT name, lower(type) AS type,
			pk = 1 AND lower(type) = 'integer' AND (SELECT max(pk) FROM pragma_table_info(?0)) = 1 AS counted,
			pk = 1 AND lower(type) = 'integer' OR dflt_value IS NOT NULL AS filled,
			"notnull" OR pk > 0 AS required, hidden IN (2, 3) AS generated
		FROM pragma_table_xinfo(?0) WHERE hidden <> 1 ORDER BY cid`, table).Scan(ctx, &columns)
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

// serves follows SQLite's rules of type affinity: the affinity depends on the substrings of the
// declared type, and INT takes precedence.
func (sqliteCatalog) serves(columnType string, kind columnKind) bool {
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(columnType, w) })
	}
	switch kind {
	case text:
		return is("char", "clob", "text") && !is("int")
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
