package outbox

import (
	"context"
	"fmt"
	"strings"
)

// Describe returns the keys and columns of tables. It omits tables that do not exist.
func (p Place) Describe(ctx context.Context, db Querier, tables ...string) (map[string]TableInfo, error) {
	found := make(map[string]TableInfo, len(tables))
	for _, table := range tables {
		describe := describeSQLite
		if p.postgres {
			describe = describePostgres
		}
		columns, err := describe(ctx, db, table)
		if err != nil {
			return nil, fmt.Errorf("outbox: describe table %s: %w", table, err)
		}
		if len(columns) == 0 {
			continue
		}
		info := TableInfo{Columns: make(map[string]Kind, len(columns))}
		key := map[int]string{}
		for _, c := range columns {
			info.Columns[c.Name] = c.kind(p.postgres)
			if c.Labels != "" {
				if info.Labels == nil {
					info.Labels = map[string][]string{}
				}
				info.Labels[c.Name] = strings.Split(c.Labels, "\x01")
			}
			if c.Key > 0 {
				key[c.Key] = c.Name
			}
			if c.Refers != "" {
				if info.Refers == nil {
					info.Refers = map[string][]string{}
				}
				info.Refers[c.Name] = strings.Split(c.Refers, "\x01")
			}
		}
		for i := 1; key[i] != ""; i++ {
			info.PrimaryKey = append(info.PrimaryKey, key[i])
		}
		found[table] = info
	}
	return found, nil
}

type describedColumn struct {
	Name   string
	Type   string // PostgreSQL: the name of the type below all domains; SQLite: as declared
	Labels string // those of an enum, separated by U+0001; "" for another type
	Fold   bool   // its collation treats different texts as equal
	Key    int    // its position in the table's key, from 1; 0 if it is not in the key
	Refers string // the tables that it references, alone or as a part of a foreign key, separated by U+0001
}

// keyIndex is the SQL that finds the index of a table's key: the primary key, or else a unique index
// of columns that are NOT NULL. ?0 is the table's oid.
const keyIndex = `SELECT i.indkey, i.indnkeyatts FROM pg_index AS i
				WHERE i.indrelid = ?0 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
					AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
						LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
						WHERE k.place <= i.indnkeyatts AND a.attnotnull IS NOT TRUE)
				ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1`

// describePostgres uses the columns of keyIndex as a table's key.
func describePostgres(ctx context.Context, db Querier, table string) (columns []describedColumn, err error) {
	return query(ctx, db, strings.ReplaceAll(`WITH RECURSIVE typed AS (
			SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, a.attcollation AS collation
			FROM pg_attribute AS a WHERE a.attrelid = to_regclass(quote_ident(?0)) AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT d.attrelid, d.attnum, d.attname, t.typbasetype, d.collation
			FROM typed AS d JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype = 'd'),
		key AS (SELECT k.attnum, k.place FROM (`+strings.ReplaceAll(keyIndex, "?0", "to_regclass(quote_ident(?0))")+`) AS i,
			unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place) WHERE k.place <= i.indnkeyatts)
		SELECT d.attname AS name, t.typname AS type, coalesce((SELECT string_agg(e.enumlabel, chr(1) ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid), '') AS labels,
			EXISTS (SELECT FROM pg_collation AS c WHERE c.oid = d.collation AND NOT c.collisdeterministic) AS fold,
			coalesce((SELECT k.place FROM key AS k WHERE k.attnum = d.attnum), 0) AS key,
			coalesce((SELECT string_agg(DISTINCT r.relname, chr(1)) FROM pg_constraint AS f JOIN pg_class AS r ON r.oid = f.confrelid
				WHERE f.conrelid = d.attrelid AND f.contype = 'f' AND d.attnum = ANY (f.conkey)), '') AS refers
		FROM typed AS d JOIN pg_type AS t ON t.oid = d.type AND t.typtype <> 'd' ORDER BY d.attnum`, "?0", PostgreSQL("").literal(table)),
		func(c *describedColumn) []any { return []any{&c.Name, &c.Type, &c.Labels, &c.Fold, &c.Key, &c.Refers} })
}

func describeSQLite(ctx context.Context, db Querier, table string) (columns []describedColumn, err error) {
	columns, err = query(ctx, db, strings.ReplaceAll(`WITH best AS (
			SELECT l.name FROM pragma_index_list(?0) AS l WHERE l."unique" AND NOT l.partial AND NOT EXISTS (
				SELECT 1 FROM pragma_index_info(l.name) AS i LEFT JOIN pragma_table_info(?0) AS c ON c.name = i.name WHERE c."notnull" IS NOT 1)
			ORDER BY (SELECT count(*) FROM pragma_index_info(l.name)), l.name LIMIT 1)
		SELECT c.name, upper(c.type), CASE WHEN EXISTS (SELECT 1 FROM pragma_table_info(?0) WHERE pk > 0) THEN c.pk
				ELSE coalesce((SELECT i.seqno + 1 FROM best AS b, pragma_index_info(b.name) AS i WHERE i.name = c.name), 0) END,
			coalesce((SELECT group_concat(f."table", char(1)) FROM pragma_foreign_key_list(?0) AS f WHERE f."from" = c.name), '')
		FROM pragma_table_info(?0) AS c`, "?0", literal(table)),
		func(c *describedColumn) []any { return []any{&c.Name, &c.Type, &c.Key, &c.Refers} })
	for i, c := range columns {
		if err != nil {
			break
		}
		// No catalog says how SQLite compares a column, so this tries a comparison. It reads no rows.
		columns[i].Fold, err = one[bool](ctx, db, fmt.Sprintf(`SELECT coalesce(max(v = 'A') OR max(v = 'a '), false) FROM (SELECT %s AS v FROM %s WHERE false UNION ALL SELECT 'a')`,
			ident(c.Name), ident(table)))
	}
	return columns, err
}

// kind returns how a column's values are compared.
func (c describedColumn) kind(postgres bool) Kind {
	switch {
	case c.Fold:
		return Unmatched
	case c.Labels != "":
		return Text
	case !postgres && strings.Contains(c.Type, "INT"):
		return Integer
	case !postgres && (strings.Contains(c.Type, "CHAR") || strings.Contains(c.Type, "CLOB") || strings.Contains(c.Type, "TEXT")):
		return Text
	case !postgres:
		return Unmatched
	}
	switch c.Type {
	case "int2", "int4", "int8", "oid":
		return Integer
	case "numeric":
		return Numeric
	case "float8":
		return Float
	case "float4":
		return Float32
	case "bool":
		return Boolean
	case "uuid":
		return UUID
	case "timestamp":
		return Timestamp
	case "timestamptz":
		return TimestampTZ
	case "date":
		return Date
	case "text", "varchar":
		return Text
	}
	return Unmatched
}
