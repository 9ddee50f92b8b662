package outbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Alter is the kind of a change that was not made by a statement on rows: the table was replaced, or
// its rows changed in a way that no trigger sees.
const Alter Op = "ALTER"

// identity describes a recorded table. It differs for another table of the same name, and for the
// same table after a change that no trigger saw.
type identity struct {
	// Relations describes the table and its relatives: their oids, storage and row security.
	// TRUNCATE, VACUUM FULL and an ALTER that rewrites rows change the storage. After a crash PostgreSQL
	// empties an UNLOGGED table in its place, and resets its statistics.
	Relations string
	// Columns describes the columns of interest and their types, with the labels of enums in these.
	Columns string
	// Triggers describes the triggers that record writes, each with the last transaction that
	// changed it: even a trigger that was disabled only briefly leaves a trace.
	Triggers string
	// Definitions describes the views and functions that read the table, directly or through others,
	// each with the last transaction that changed it. Only functions with a compiled body are known.
	// On SQLite it describes all views.
	Definitions string
	// Stored is the description in cache_tables; nil if there is none.
	Stored *string
	// Now is the time of the database, in seconds.
	Now int64
}

func (i identity) String() string {
	return i.Relations + " " + i.Columns + " " + i.Triggers + " " + i.Definitions
}

// Marks that are appended to the stored identity.
const (
	// unnoted marks a table whose writes are not all recorded.
	unnoted = " unnoted"
	// redefined, followed by a time, marks a table whose definitions changed then.
	redefined = " redefined@"
)

// redefinedFor is how long every check evicts a table after a change of its definitions. For that long a gateway may use the
// tables that a statement read before the change, see [Observer], and store values that writes to other tables do not evict.
const redefinedFor = refreshViewsAfter + queryTimeout

// parts returns the stored identity without its marks, and the time of the redefined mark, or 0.
func (i identity) parts() (parts []string, since int64) {
	for _, part := range strings.Fields(*i.Stored) {
		if at, ok := strings.CutPrefix(part, redefined[1:]); ok {
			since, _ = strconv.ParseInt(at, 10, 64)
		} else if part != unnoted[1:] {
			parts = append(parts, part)
		}
	}
	return parts, since
}

// redefined returns the time to store with the redefined mark, or 0 if the definitions did not change recently.
func (i identity) redefined() int64 {
	if i.Stored == nil {
		return 0
	}
	was, since := i.parts()
	switch {
	case len(was) == 4 && was[3] != i.Definitions:
		return i.Now
	case i.Now-since >= int64(redefinedFor/time.Second):
		return 0
	}
	return min(since, i.Now)
}

// settled reports whether the identity equals the stored one and all writes are recorded.
func (i identity) settled() bool { return i.Stored != nil && *i.Stored == i.String() }

// differs describes how the table differs from the stored identity, or returns "".
func (i identity) differs() string {
	if i.Stored == nil {
		return "not looked at before"
	}
	was, _ := i.parts()
	is := strings.Fields(i.String())
	if len(was) != len(is) {
		return "not looked at before"
	}
	var parts []string
	for n, part := range []string{"its storage or partitions", "its columns", "its triggers", "the views or functions that read it"} {
		if was[n] != is[n] {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// identities returns the identities of the tables, with one statement.
func (p Place) identities(ctx context.Context, db Querier, tables []Table) ([]identity, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	statement := sqliteIdentities(tables)
	if p.postgres {
		statement = p.postgresIdentities(tables)
	}
	list, err := query(ctx, db, statement, func(i *identity) []any {
		return []any{&i.Relations, &i.Columns, &i.Triggers, &i.Definitions, &i.Stored, &i.Now}
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: look up the tables: %w", err)
	}
	for i := range list {
		for _, part := range []*string{&list[i].Relations, &list[i].Columns, &list[i].Triggers, &list[i].Definitions} {
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
	note (oid) AS MATERIALIZED (SELECT ` + p.noteOID() + `),
	readers (ord, classid, objid) AS (
		SELECT ord, 'pg_class'::regclass::oid, oid FROM relations
		UNION
		SELECT x.ord, CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END, coalesce(r.ev_class, d.objid) FROM readers AS x
			JOIN pg_depend AS d ON d.refclassid = x.classid AND d.refobjid = x.objid
				AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
			LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid)
	SELECT coalesce((SELECT md5(string_agg(concat_ws(' ', c.oid, c.relkind, c.relfilenode, c.relrowsecurity, c.relforcerowsecurity,
				CASE WHEN c.relpersistence = 'u' THEN extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()) END,
				(SELECT string_agg(concat(i.inhparent, '@', i.xmin), ',' ORDER BY i.inhparent) FROM pg_inherits AS i WHERE i.inhrelid = c.oid),
				(SELECT string_agg(concat(p.oid, '@', p.xmin), ',' ORDER BY p.oid) FROM pg_policy AS p WHERE p.polrelid = c.oid)),
				';' ORDER BY c.oid))
			FROM relations AS r JOIN pg_class AS c ON c.oid = r.oid WHERE r.ord = n.ord), '') AS relations,
		coalesce((SELECT md5(string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull, a.attgenerated,
				(WITH RECURSIVE types (oid) AS (SELECT a.atttypid
						UNION SELECT inner_type.oid FROM types JOIN pg_type AS t ON t.oid = types.oid CROSS JOIN LATERAL (
							SELECT t.typbasetype UNION ALL SELECT t.typelem
							UNION ALL SELECT m.atttypid FROM pg_attribute AS m WHERE t.typtype = 'c' AND m.attrelid = t.typrelid AND m.attnum > 0) AS inner_type (oid)
						WHERE inner_type.oid <> 0)
					SELECT string_agg(concat(e.oid, e.enumlabel), ',' ORDER BY e.oid) FROM pg_enum AS e WHERE e.enumtypid IN (SELECT types.oid FROM types))),
				';' ORDER BY a.attnum))
			FROM pg_attribute AS a JOIN wanted AS w ON w.ord = n.ord AND w.name = a.attname
			WHERE a.attrelid = n.oid AND a.attnum > 0 AND NOT a.attisdropped), '') AS columns,
		coalesce((SELECT md5(string_agg(concat_ws(' ', t.oid, t.tgenabled, t.tgfoid, t.xmin,
				(SELECT f.xmin FROM pg_proc AS f WHERE f.oid = t.tgfoid)), ';' ORDER BY t.oid))
			FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND (t.tgfoid = (SELECT oid FROM note) OR t.tgname IN (` + p.triggerNames() + `)) WHERE r.ord = n.ord), '') AS triggers,
		coalesce((SELECT md5(string_agg(concat_ws(' ', x.classid, x.objid, v.xmin, f.xmin,
				(SELECT string_agg(concat(w.oid, '@', w.xmin), ',' ORDER BY w.oid) FROM pg_rewrite AS w WHERE w.ev_class = v.oid)), ';' ORDER BY x.classid, x.objid))
			FROM readers AS x LEFT JOIN pg_class AS v ON x.classid = 'pg_class'::regclass AND v.oid = x.objid AND v.relkind = 'v' AND v.relpersistence <> 't'
				LEFT JOIN pg_proc AS f ON x.classid = 'pg_proc'::regclass AND f.oid = x.objid
					AND f.pronamespace NOT IN (SELECT t.oid FROM pg_namespace AS t WHERE t.nspname LIKE 'pg\_temp\_%')
			WHERE x.ord = n.ord AND (v.oid IS NOT NULL OR f.oid IS NOT NULL)), '') AS definitions,
		s.identity AS stored, extract(epoch FROM statement_timestamp())::bigint AS now
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
		coalesce((SELECT group_concat(v.sql, ';' ORDER BY v.name) FROM sqlite_schema AS v WHERE v.type = 'view'), '') AS definitions,
		s.identity AS stored, unixepoch() AS now
	FROM noted AS n LEFT JOIN cache_tables AS s ON s.tbl = n.stored ORDER BY n.ord`
}

// changedTable is a table that has changed, or whose writes are not recorded.
type changedTable struct {
	Name   string
	What   string // how it changed; "" if it did not
	Again  bool   // evicted only because of a change that was found before
	Faults []string
}

// settle stores the current identities of the tables. With evict it also records the eviction of
// everything that depends on tables that changed or whose writes may have been missed. differences
// were repaired, or remain if they have no fix; those that remain are faults. A snapshot that sees
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
				continue // concerns another table, or one that is no longer recorded
			}
			touched = true
			if !d.fixable() {
				c.Faults = append(c.Faults, d.String())
			}
		}
		if now[i].settled() && !touched {
			continue
		}
		is := now[i].String()
		if since := now[i].redefined(); since > 0 {
			is += redefined + strconv.FormatInt(since, 10)
		}
		c.Again = c.What == "" && !touched
		list = append(list, c)
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
