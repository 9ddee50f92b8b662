package outbox

import (
	"context"
	"fmt"
	"strings"
)

// Describe returns what has to be known of tables before their rows can be named. A table that is not
// there is left out.
func (p Place) Describe(ctx context.Context, db Querier, tables ...string) (map[string]TableInfo, error) {
	found := make(map[string]TableInfo, len(tables))
	for _, table := range tables {
		var columns []describedColumn
		var err error
		if p.postgres {
			columns, err = describePostgres(ctx, db, table)
		} else {
			columns, err = describeSQLite(ctx, db, table)
		}
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
			if c.Pk > 0 {
				key[c.Pk] = c.Name
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
	Name string
	Type string // PostgreSQL: the name of the type below all domains; SQLite: as declared
	Enum bool
	Fold bool // its collation takes different texts for equal
	Pk   int  // its place in the primary key, from 1; 0: it is no part of it
}

func describePostgres(ctx context.Context, db Querier, table string) (columns []describedColumn, err error) {
	return query(ctx, db, strings.ReplaceAll(`WITH RECURSIVE typed AS (
			SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, a.attcollation AS collation
			FROM pg_attribute AS a WHERE a.attrelid = to_regclass(quote_ident(?0)) AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT d.attrelid, d.attnum, d.attname, t.typbasetype, d.collation
			FROM typed AS d JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype = 'd')
		SELECT d.attname AS name, t.typname AS type, t.typtype = 'e' AS enum,
			EXISTS (SELECT FROM pg_collation AS c WHERE c.oid = d.collation AND NOT c.collisdeterministic) AS fold,
			coalesce((SELECT array_position(i.indkey::int2[], d.attnum) + 1 - array_lower(i.indkey::int2[], 1)
				FROM pg_index AS i WHERE i.indrelid = d.attrelid AND i.indisprimary), 0) AS pk
		FROM typed AS d JOIN pg_type AS t ON t.oid = d.type AND t.typtype <> 'd' ORDER BY d.attnum`, "?0", PostgreSQL("").literal(table)),
		func(c *describedColumn) []any { return []any{&c.Name, &c.Type, &c.Enum, &c.Fold, &c.Pk} })
}

func describeSQLite(ctx context.Context, db Querier, table string) (columns []describedColumn, err error) {
	columns, err = query(ctx, db, "SELECT name, upper(type) AS type, pk FROM pragma_table_info("+literal(table)+")",
		func(c *describedColumn) []any { return []any{&c.Name, &c.Type, &c.Pk} })
	for i, c := range columns {
		if err != nil {
			break
		}
		// What a column compares by is nowhere to be read, so it is tried; the rows are not read.
		columns[i].Fold, err = one[bool](ctx, db, fmt.Sprintf(`SELECT coalesce(max(v = 'A') OR max(v = 'a '), false) FROM (SELECT %s AS v FROM %s WHERE false UNION ALL SELECT 'a')`,
			ident(c.Name), ident(table)))
	}
	return columns, err
}

// kind is how a column's values are compared.
func (c describedColumn) kind(postgres bool) Kind {
	switch {
	case c.Fold:
		return Unmatched
	case c.Enum:
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
	case "timestamp", "timestamptz":
		return Timestamp
	case "date":
		return Date
	case "text", "varchar", "name":
		return Text
	}
	return Unmatched
}
