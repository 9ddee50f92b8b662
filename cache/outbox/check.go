package outbox

import (
	"context"
	"fmt"
	"strings"
)

// Check returns an error for each column that names keys but that the database does not compare
// byte by byte, as keys are compared. Two values that are equal in the database have two keys then,
// and a change of one would not evict the other. Each error names the table, the column, the reason
// and the remedy. Check ignores missing columns.
func (p Place) Check(ctx context.Context, db Querier, tables []Table) ([]error, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	check := checkSQLite
	if p.postgres {
		check = checkPostgres
	}
	faults, err := check(ctx, db, tables)
	if err != nil {
		return nil, fmt.Errorf("outbox: check the columns that name keys: %w", err)
	}
	return faults, nil
}

// byName lists the types whose equal values always have the same text.
const byName = `'bool', 'int2', 'int4', 'int8', 'oid', 'text', 'varchar', 'name', 'char', 'uuid', 'date', 'time', 'timestamp', 'macaddr'`

func checkPostgres(ctx context.Context, db Querier, tables []Table) ([]error, error) {
	var columns []string
	for i, t := range tables {
		for _, c := range t.named() { // none for a missing table
			columns = append(columns, fmt.Sprintf("(%d, %s, %s)", i+1, literal(t.Name), literal(c)))
		}
	}
	type row struct{ Tbl, Col, Type, Base, Collation string }
	if len(columns) == 0 {
		return nil, nil
	}
	rows, err := query(ctx, db, `
		WITH RECURSIVE named (ord, tbl, col) AS (VALUES `+strings.Join(columns, ", ")+`),
		typed AS (SELECT n.*, a.atttypid AS shown, a.atttypmod AS modifier, a.atttypid AS type, a.attcollation AS collation
			FROM named AS n JOIN pg_attribute AS a ON a.attrelid = to_regclass(quote_ident(n.tbl)) AND a.attname = n.col
			WHERE a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT d.ord, d.tbl, d.col, d.shown, d.modifier, t.typbasetype, d.collation
			FROM typed AS d JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype = 'd')
		SELECT d.tbl, d.col, format_type(d.shown, d.modifier) AS type, t.typname AS base,
			coalesce((SELECT c.collname FROM pg_collation AS c WHERE c.oid = d.collation AND NOT c.collisdeterministic), '') AS collation
		FROM typed AS d JOIN pg_type AS t ON t.oid = d.type AND t.typtype <> 'd'
		WHERE EXISTS (SELECT FROM pg_collation AS c WHERE c.oid = d.collation AND NOT c.collisdeterministic)
			OR NOT (t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace AND t.typname IN (`+byName+`))
		ORDER BY d.ord, d.col`, func(r *row) []any { return []any{&r.Tbl, &r.Col, &r.Type, &r.Base, &r.Collation} })
	var faults []error
	for _, r := range rows {
		to := "text"
		reason := "equal values of this type can be written in several ways"
		switch {
		case r.Collation != "":
			reason = fmt.Sprintf("its collation %s treats different texts as equal", r.Collation)
			to = `text COLLATE "C"`
		case r.Base == "citext":
			reason = "it ignores case"
		case r.Base == "bpchar":
			reason = "it ignores trailing spaces"
		case r.Base == "numeric":
			reason = "1.0 and 1.00 are equal"
			to = "bigint"
		case r.Base == "float4" || r.Base == "float8":
			reason = "0 and -0 are equal"
			to = "bigint"
		case r.Base == "timestamptz" || r.Base == "timetz":
			reason = "how a value is written depends on the session's time zone"
			to = "timestamp USING " + ident(r.Col) + " AT TIME ZONE 'UTC'"
		}
		faults = append(faults, unequal(r.Tbl, r.Col, r.Type, reason,
			fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s", ident(r.Tbl), ident(r.Col), to)))
	}
	return faults, err
}

func unequal(table, column, kind, reason, remedy string) error {
	return fmt.Errorf("table %s: column %s names cache keys, which are compared byte by byte, but its type is %s: %s; required: %s",
		table, column, kind, reason, remedy)
}

func checkSQLite(ctx context.Context, db Querier, tables []Table) ([]error, error) {
	var faults []error
	for _, t := range tables {
		for _, c := range t.named() {
			// No catalog says how SQLite compares a column, so this tries a comparison. It reads no rows.
			type row struct {
				Type         *string // nil: there is no such column
				Case, Spaces *bool
			}
			rows, err := query(ctx, db, fmt.Sprintf(`SELECT (SELECT upper(type) FROM pragma_table_info(%[1]s) WHERE name = %[2]s COLLATE NOCASE) AS type,
					max(v = 'A') AS "case", max(v = 'a ') AS spaces
				FROM (SELECT %[3]s AS v FROM %[4]s WHERE false UNION ALL SELECT 'a')`,
				literal(t.Name), literal(c), ident(c), ident(t.Name)), func(r *row) []any { return []any{&r.Type, &r.Case, &r.Spaces} })
			if err != nil {
				if strings.Contains(err.Error(), "no such") {
					continue
				}
				return nil, err
			}
			r := rows[0]
			if r.Type == nil {
				continue
			}
			reason := ""
			switch {
			case *r.Type == "":
				reason = "without a type, 7 and '7' are different values"
			case *r.Case:
				reason = "its collation ignores case"
			case *r.Spaces:
				reason = "its collation ignores trailing spaces"
			case affinity(*r.Type) != "INTEGER" && affinity(*r.Type) != "TEXT":
				reason = "equal values of this type can be written in several ways"
			default:
				continue
			}
			faults = append(faults, unequal(t.Name, c, *r.Type, reason, "recreate the table with "+ident(c)+" of type TEXT or INTEGER, without COLLATE"))
		}
	}
	return faults, nil
}

// affinity returns the type affinity that SQLite derives from a declared type; see
// https://sqlite.org/datatype3.html.
func affinity(declared string) string {
	for _, rule := range []struct{ word, affinity string }{
		{"INT", "INTEGER"}, {"CHAR", "TEXT"}, {"CLOB", "TEXT"}, {"TEXT", "TEXT"}, {"BLOB", "BLOB"},
		{"REAL", "REAL"}, {"FLOA", "REAL"}, {"DOUB", "REAL"},
	} {
		if strings.Contains(strings.ToUpper(declared), rule.word) {
			return rule.affinity
		}
	}
	return "NUMERIC"
}

// Doubts returns what may make the declared rows of tables other rows than those that resolvers
// read: the project must know whether it does. On SQLite there is nothing of the kind.
func (p Place) Doubts(ctx context.Context, db Querier, tables []Table) ([]string, error) {
	if !p.postgres || len(tables) == 0 {
		return nil, nil
	}
	var names []string
	for _, t := range tables {
		names = append(names, p.literal(t.Name))
	}
	return column[string](ctx, db, `SELECT doubt FROM pg_class AS c CROSS JOIN LATERAL (
			SELECT 'table ' || c.relname || ': its row security shows each role other rows: mark the fields that read it scope: PRIVATE, unless all resolvers read the same rows' AS doubt
			WHERE c.relrowsecurity
			UNION ALL
			SELECT 'table ' || c.relname || ': ' || string_agg(quote_ident(n.nspname), ', ' ORDER BY n.nspname) ||
				' have a table of that name: only writes to that of ' || c.relnamespace::regnamespace || ' are followed, which resolvers must read as well'
			FROM pg_class AS o JOIN pg_namespace AS n ON n.oid = o.relnamespace
			WHERE o.relname = c.relname AND o.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
			HAVING count(*) > 1) AS doubts
		WHERE c.oid IN (SELECT to_regclass(quote_ident(name)) FROM unnest(ARRAY[`+strings.Join(names, ", ")+`]::text[]) AS name) ORDER BY doubt`)
}
