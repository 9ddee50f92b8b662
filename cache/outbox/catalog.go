package outbox

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// relation is a table through which statements can write rows of a recorded table: the table
// itself, its descendants, and its ancestors, whether by partitioning or by inheritance. A statement
// fires the statement triggers of the table that it names, and of no other.
type relation struct {
	Ord   int // of the recorded table, from 1
	OID   int64
	Name  string // in SQL, as the search path needs it
	Kind  string // pg_class.relkind
	Owned bool   // whether this role may do what its owner may
	Self  bool   // whether it is the recorded table itself
}

// found is an existing trigger.
type found struct {
	Relation int64 // 0 on SQLite
	On       string
	Name     string
	Enabled  string // pg_trigger.tgenabled
	Kind     int
	Args     string // in hex
	Old, New string
	Narrowed bool // by WHEN or by columns
	Ours     bool // calls the note function
	SQL      string
}

func (f found) object() Object {
	if f.Relation == 0 {
		return Object{Kind: "trigger", Name: f.Name}
	}
	return Object{Kind: "trigger", Name: f.Name + " ON " + f.On}
}

// is reports whether the trigger is as it was created.
func (f found) is(t trigger) bool {
	if f.Relation == 0 {
		return f.SQL == t.create
	}
	args := hex.EncodeToString([]byte(strings.Join(t.args, "\x00") + "\x00"))
	return f.Ours && !f.Narrowed && f.Kind == t.kind && f.Args == args && f.Old == t.old && f.New == t.new
}

// relationsOf returns the SQL of common tables: noted (ord, name, oid), where oid is NULL if there
// is no such table, and relations (ord, oid). Temporary tables are left out: nobody else sees their
// rows.
func relationsOf(tables []Table) string {
	rows := make([]string, len(tables))
	for i, t := range tables {
		rows[i] = fmt.Sprintf("(%d, %s)", i+1, literal(t.Name))
	}
	return `WITH RECURSIVE noted (ord, name, oid) AS (
		SELECT ord, name, to_regclass(quote_ident(name))::oid FROM (VALUES ` + strings.Join(rows, ", ") + `) AS n (ord, name)),
	up AS (SELECT ord, oid FROM noted WHERE oid IS NOT NULL
		UNION SELECT u.ord, i.inhparent FROM up AS u JOIN pg_inherits AS i ON i.inhrelid = u.oid),
	down AS (SELECT ord, oid FROM noted WHERE oid IS NOT NULL
		UNION SELECT d.ord, i.inhrelid FROM down AS d JOIN pg_inherits AS i ON i.inhparent = d.oid),
	relations AS (SELECT r.ord, c.oid FROM (SELECT * FROM up UNION SELECT * FROM down) AS r
		JOIN pg_class AS c ON c.oid = r.oid AND c.relpersistence <> 't')
	`
}

func (p Place) relations(ctx context.Context, db Querier, tables []Table) ([]relation, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	if !p.postgres {
		names := make([]string, len(tables))
		for i, t := range tables {
			names[i] = literal(t.Name)
		}
		there, err := column[string](ctx, db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ("+strings.Join(names, ", ")+")")
		var list []relation
		for i, t := range tables {
			if slices.Contains(there, t.Name) {
				list = append(list, relation{Ord: i + 1, Name: ident(t.Name), Kind: "r", Owned: true, Self: true})
			}
		}
		return list, err
	}
	return query(ctx, db, relationsOf(tables)+`SELECT r.ord, c.oid::bigint AS oid, c.oid::regclass::text AS name,
			c.relkind::text AS kind, pg_has_role(c.relowner, 'USAGE') AS owned, c.oid = n.oid AS self
		FROM relations AS r JOIN pg_class AS c ON c.oid = r.oid JOIN noted AS n ON n.ord = r.ord ORDER BY r.ord, c.oid`,
		func(r *relation) []any { return []any{&r.Ord, &r.OID, &r.Name, &r.Kind, &r.Owned, &r.Self} })
}

// triggers returns all triggers that record writes, or have the name of one that does.
func (p Place) triggers(ctx context.Context, db Querier) ([]found, error) {
	if !p.postgres {
		return query(ctx, db, `SELECT name, tbl_name AS "on", sql, sql LIKE '%INSERT INTO cache_outbox (%' AS ours FROM sqlite_schema
			WHERE type = 'trigger' AND (name LIKE 'cache\_outbox\_%' ESCAPE '\' OR sql LIKE '%INSERT INTO cache_outbox (%') ORDER BY name`,
			func(f *found) []any { return []any{&f.Name, &f.On, &f.SQL, &f.Ours} })
	}
	noteOID := p.noteOID()
	return query(ctx, db, `SELECT t.tgrelid::bigint AS relation, t.tgrelid::regclass::text AS "on", quote_ident(t.tgname) AS name,
			t.tgenabled::text AS enabled, t.tgtype AS kind, encode(t.tgargs, 'hex') AS args,
			coalesce(t.tgoldtable, '') AS old, coalesce(t.tgnewtable, '') AS new,
			t.tgqual IS NOT NULL OR t.tgnargs <> 4 OR t.tgattr <> '' AS narrowed,
			coalesce(t.tgfoid = `+noteOID+`, false) AS ours
		FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relpersistence <> 't'
		WHERE NOT t.tgisinternal AND (t.tgfoid = `+noteOID+` OR t.tgname IN (`+p.triggerNames()+`)
			OR t.tgname LIKE 'cache\_outbox\_%' AND NOT EXISTS (SELECT FROM pg_proc AS f WHERE f.oid = t.tgfoid AND f.proname = 'cache_outbox_note'))
		ORDER BY 2, 3`,
		func(f *found) []any {
			return []any{&f.Relation, &f.On, &f.Name, &f.Enabled, &f.Kind, &f.Args, &f.Old, &f.New, &f.Narrowed, &f.Ours}
		})
}

// noteOID is the SQL of the note function's id: found by its name or, if it was renamed, by its
// body.
func (p Place) noteOID() string {
	schema := "current_schema()::regnamespace"
	if p.schema != "" {
		schema = "(SELECT s.oid FROM pg_namespace AS s WHERE s.nspname = " + p.literal(p.schema) + ")"
	}
	return `coalesce(to_regprocedure(` + p.literal(p.named("cache_outbox_note")+"()") + `)::oid,
	(SELECT min(p.oid) FROM pg_proc AS p WHERE p.pronamespace = ` + schema + ` AND strpos(p.prosrc, '` + noteMark + `') > 0))`
}

// function is the note function in the database.
type function struct {
	Name    string // in SQL, with its arguments
	Body    string
	Ours    bool
	Safe    bool // whether it runs with its owner's rights and settings of its own
	Renamed bool
}

func (p Place) noteFunctions(ctx context.Context, db Querier) ([]function, error) {
	if !p.postgres {
		return nil, nil
	}
	return query(ctx, db, `SELECT p.oid::regprocedure::text AS name, p.prosrc AS body, strpos(p.prosrc, '`+noteMark+`') > 0 AS ours,
			p.prosecdef AND p.proconfig = '{"search_path=pg_catalog, pg_temp",extra_float_digits=1}' AS safe,
			p.proname <> 'cache_outbox_note' AS renamed
		FROM pg_proc AS p WHERE p.oid = `+p.noteOID(), func(f *function) []any { return []any{&f.Name, &f.Body, &f.Ours, &f.Safe, &f.Renamed} })
}

// place returns the SQL of the name of the schema that the outbox is in, or would be created in.
func (p Place) place(ctx context.Context, db Querier) (string, error) {
	switch {
	case !p.postgres:
		return "", nil
	case p.schema != "":
		return ident(p.schema), nil
	}
	name, err := one[string](ctx, db, `SELECT quote_ident(coalesce(
		(SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('cache_outbox')),
		current_schema()))`)
	if err != nil {
		return "", fmt.Errorf("find the schema that the outbox is in: %w", err)
	}
	return name, nil
}

// ownColumns are columns that distinguish the outbox's own tables from others of the same name.
var ownColumns = map[string][]string{
	"cache_outbox":  {"tbl", "op", "rows", "done_at"},
	"cache_horizon": {"snapshot"},
	"cache_tables":  {"tbl", "identity"},
}

// columnsOf returns the columns of one of the outbox's own tables; none if it does not exist.
func (p Place) columnsOf(ctx context.Context, db Querier, name string) ([]string, error) {
	statement := "SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = to_regclass(" + p.literal(p.named(name)) + ") AND a.attnum > 0 AND NOT a.attisdropped"
	if !p.postgres {
		statement = "SELECT name FROM pragma_table_info(" + literal(name) + ")"
	}
	columns, err := column[string](ctx, db, statement)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	return columns, nil
}

// isOwn reports whether a table with these columns is the outbox's table of this name, of any
// release.
func isOwn(name string, columns []string) bool {
	return !slices.ContainsFunc(ownColumns[name], func(c string) bool { return !slices.Contains(columns, c) })
}

// lacking returns the columns of one of the outbox's own tables that this release needs and that do
// not exist.
func (p Place) lacking(name string, columns []string) (lacks []string) {
	needed := map[string][]string{"cache_outbox": {"id", "created_at"}, "cache_horizon": {"one"}}[name]
	if p.postgres && name == "cache_outbox" {
		needed = append(needed, "xid")
	}
	for _, c := range needed {
		if !slices.Contains(columns, c) {
			lacks = append(lacks, c)
		}
	}
	return lacks
}

// ownTable reports whether one of the outbox's own tables exists, and whether it is as this release
// needs it.
func (p Place) ownTable(ctx context.Context, db Querier, name string) (there, ours bool, err error) {
	columns, err := p.columnsOf(ctx, db, name)
	return len(columns) > 0, isOwn(name, columns), err
}

// hasIndex reports whether there is an index of this name.
func (p Place) hasIndex(ctx context.Context, db Querier, name string) (bool, error) {
	statement := "SELECT 1 WHERE to_regclass(" + p.literal(p.named(name)) + ") IS NOT NULL"
	if !p.postgres {
		statement = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = " + literal(name)
	}
	rows, err := column[int](ctx, db, statement)
	return len(rows) > 0, err
}
