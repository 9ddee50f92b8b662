package outbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Alter is the kind of a change that no statement on rows made: a table became another one, or its rows were
// changed in a way that no trigger sees.
const Alter Op = "ALTER"

// identity distinguishes a recorded table from another one, and from itself after changes that no
// trigger saw.
type identity struct {
	// Relations are the table, its partitions and relatives: which they are, where their rows are stored, and who
	// sees which of them. TRUNCATE, VACUUM FULL and an ALTER that rewrites rows change where.
	Relations string
	// Columns are those of interest, with their types.
	Columns string
	// Triggers are those that record writes, each with the last transaction that enabled or disabled it: disabling
	// one even briefly leaves a trace.
	Triggers string
	// Stored is what cache_tables holds; nil if it holds nothing.
	Stored *string
}

func (i identity) String() string { return i.Relations + " " + i.Columns + " " + i.Triggers }

// unnoted is the stored form of a table whose writes are not recorded, all or in part.
const unnoted = " unnoted"

// settled reports whether everything is as it was stored, and in order.
func (i identity) settled() bool { return i.Stored != nil && *i.Stored == i.String() }

// differs says how the table differs from what was stored; "" if it does not.
func (i identity) differs() string {
	if i.Stored == nil {
		return "not looked at before"
	}
	was := strings.Fields(strings.TrimSuffix(*i.Stored, unnoted))
	is := strings.Fields(i.String())
	if len(was) != len(is) {
		return "not looked at before"
	}
	var parts []string
	for n, part := range []string{"its storage or partitions", "its columns", "its triggers"} {
		if was[n] != is[n] {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// identities returns those of the tables, in one statement.
func (p Place) identities(ctx context.Context, db Querier, tables []Table) ([]identity, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	statement := sqliteIdentities(tables)
	if p.postgres {
		statement = p.postgresIdentities(tables)
	}
	list, err := query(ctx, db, statement, func(i *identity) []any {
		return []any{&i.Relations, &i.Columns, &i.Triggers, &i.Stored}
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: look at the tables: %w", err)
	}
	for i := range list {
		for _, part := range []*string{&list[i].Relations, &list[i].Columns, &list[i].Triggers} {
			*part = fmt.Sprintf("%.8x", sha256.Sum256([]byte(*part)))
		}
	}
	return list, nil
}

func (p Place) postgresIdentities(tables []Table) string {
	var columns, stored []string
	for i, t := range tables {
		stored = append(stored, fmt.Sprintf("(%d, %s)", i+1, literal(t.stored())))
		for _, c := range t.columns() {
			columns = append(columns, fmt.Sprintf("(%d, %s)", i+1, literal(c)))
		}
	}
	return relationsOf(tables) + `, wanted (ord, name) AS (VALUES ` + strings.Join(columns, ", ") + `),
	stored (ord, tbl) AS (VALUES ` + strings.Join(stored, ", ") + `),
	note (oid) AS MATERIALIZED (SELECT ` + p.noteOID() + `)
	SELECT coalesce((SELECT md5(string_agg(concat_ws(' ', c.oid, c.relkind, c.relfilenode, c.relrowsecurity, c.relforcerowsecurity,
				(SELECT string_agg(concat(i.inhparent, '@', i.xmin), ',' ORDER BY i.inhparent) FROM pg_inherits AS i WHERE i.inhrelid = c.oid),
				(SELECT string_agg(concat(p.oid, '@', p.xmin), ',' ORDER BY p.oid) FROM pg_policy AS p WHERE p.polrelid = c.oid)),
				';' ORDER BY c.oid))
			FROM relations AS r JOIN pg_class AS c ON c.oid = r.oid WHERE r.ord = n.ord), '') AS relations,
		coalesce((SELECT md5(string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull, a.attgenerated,
				(SELECT string_agg(concat(e.oid, e.enumlabel), ',' ORDER BY e.oid) FROM pg_enum AS e WHERE e.enumtypid = a.atttypid)),
				';' ORDER BY a.attnum))
			FROM pg_attribute AS a JOIN wanted AS w ON w.ord = n.ord AND w.name = a.attname
			WHERE a.attrelid = n.oid AND a.attnum > 0 AND NOT a.attisdropped), '') AS columns,
		coalesce((SELECT md5(string_agg(concat_ws(' ', t.oid, t.tgenabled, t.tgfoid, t.xmin,
				(SELECT f.xmin FROM pg_proc AS f WHERE f.oid = t.tgfoid)), ';' ORDER BY t.oid))
			FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND (t.tgfoid = (SELECT oid FROM note) OR t.tgname IN (` + p.triggerNames() + `)) WHERE r.ord = n.ord), '') AS triggers,
		s.identity AS stored
	FROM noted AS n JOIN stored AS k ON k.ord = n.ord LEFT JOIN ` + p.named("cache_tables") + ` AS s ON s.tbl = k.tbl ORDER BY n.ord`
}

func sqliteIdentities(tables []Table) string {
	rows := make([]string, len(tables))
	for i, t := range tables {
		rows[i] = fmt.Sprintf("(%d, %s, %s)", i+1, literal(t.Name), literal(t.stored()))
	}
	return `WITH noted (ord, name, stored) AS (VALUES ` + strings.Join(rows, ", ") + `)
	SELECT coalesce((SELECT rootpage FROM sqlite_schema AS t WHERE t.type = 'table' AND t.name = n.name), '') || '' AS relations,
		coalesce((SELECT sql FROM sqlite_schema AS t WHERE t.type = 'table' AND t.name = n.name), '') AS columns,
		coalesce((SELECT group_concat(t.sql, ';' ORDER BY t.name) FROM sqlite_schema AS t
			WHERE t.type = 'trigger' AND t.tbl_name = n.name AND t.name LIKE 'cache\_outbox\_%' ESCAPE '\'), '') AS triggers,
		s.identity AS stored
	FROM noted AS n LEFT JOIN cache_tables AS s ON s.tbl = n.stored ORDER BY n.ord`
}

// changedTable is a table that has changed, or whose writes are not recorded.
type changedTable struct {
	Name   string
	What   string // how it changed; "" if it did not
	Faults []string
}

// settle stores the current state of the tables, and records the eviction of everything that
// depends on those that changed or whose writes may have been missed. remaining are differences
// that were repaired or that remain, of which those without a fix are faults. A snapshot that sees
// the eviction's transaction also sees the change.
func (p Place) settle(ctx context.Context, db Querier, tables []Table, differences []Difference, evict bool) ([]changedTable, error) {
	now, err := p.identities(ctx, db, tables)
	if err != nil {
		return nil, err
	}
	var list []changedTable
	for i, t := range tables {
		c := changedTable{Name: t.Name, What: now[i].differs()}
		touched := false
		for _, d := range differences {
			if d.Table != t.Name && (d.Table != "" || d.Kind == "trigger") {
				continue // of another table, or of one that is no longer recorded
			}
			touched = true
			if !d.Fixable() {
				c.Faults = append(c.Faults, d.String())
			}
		}
		if now[i].settled() && !touched {
			continue
		}
		list = append(list, c)
		is := now[i].String()
		if len(c.Faults) > 0 {
			is += unnoted
		}
		err := run(ctx, db, p.sql("INSERT INTO ?tables (tbl, identity) VALUES (?0, ?1) ON CONFLICT (tbl) DO UPDATE SET identity = excluded.identity", t.stored(), is))
		if err == nil && evict {
			err = run(ctx, db, p.sql("INSERT INTO ?outbox (tbl, op) VALUES (?0, ?1)", t.Name, Alter))
		}
		if err != nil {
			return nil, fmt.Errorf("outbox: record a change of table %s: %w", t.Name, err)
		}
	}
	return list, nil
}
