package outbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// notes returns the name of the table under which a trigger records rows, or "".
func (f found) notes(p Place) string {
	if !p.postgres {
		return f.On
	}
	args, err := hex.DecodeString(f.Args)
	parts := strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	if err != nil || len(parts) != 4 {
		return ""
	}
	return parts[3]
}

var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/|--[^\n]*`)
	// idle matches statements that read no table.
	idle = regexp.MustCompile(`(?i)^\s*((begin|start\s+transaction|commit|end|rollback|abort|savepoint|release|reset|listen|unlisten|notify|deallocate|discard|analyze|vacuum)\b` +
		`|set\s+(local\s+|session\s+)?[a-z_.]+(\s*=|\s+to\b)|pragma\s+[a-z_.]+\s*=)`)
	// temporary matches statements that use temporary tables, which hide others of the same name in
	// their session.
	temporary = regexp.MustCompile(`(?is)\b(create\s+(local\s+|global\s+)?|select\b.*\binto\s+)temp(orary)?\b|\bpg_temp\b`)
	// elsewhere matches expressions whose result does not depend on tables alone: PostgreSQL's own
	// tables and large objects, functions that read what their arguments name, and values that differ
	// between connections. It is also applied to the definitions of views, since PostgreSQL does not
	// record dependencies on its built-in functions.
	elsewhere = `\m(query|table|schema|database|cursor)_to_xml|\m(ts_stat|ts_rewrite|lo_[a-z]|loread|(sh)?obj_description|col_description|has_[a-z_]+_privilege|txid_)` +
		`|\m(nextval|currval|lastval|setval|current_schemas?|current_query|getpgusername)\M` +
		`|\m(pg_[a-z]|information_schema|current_setting|current_user|session_user|current_role|inet_)|[^"'a-z0-9_.]user[^"'a-z0-9_]`
	dynamic = regexp.MustCompile(`(?i)` + strings.NewReplacer(`\m`, `\b`, `\M`, `\b`).Replace(elsewhere) +
		`|\bsqlite_(schema|master|temp|sequence|stat)|\b(last_insert_rowid|total_changes|changes)\s*\(|^\s*pragma\s+[a-z_.]+\s*($|[(;])`)
)

// judge examines the text of a statement. It returns why it cannot be known what the statement reads,
// whether the statement reads no table, and why from now on table names are ambiguous.
func judge(statement string) (unknown string, nothing bool, poison string) {
	text := strings.TrimSpace(comments.ReplaceAllString(statement, " "))
	switch {
	case text == "":
		return "the text of a statement is unknown", false, ""
	case temporary.MatchString(text) || temporary.MatchString(statement):
		return "", false, "a statement uses temporary tables, which may hide tables of the same name"
	case strings.Contains(strings.TrimSuffix(strings.TrimSpace(statement), ";"), ";"):
		// Only the database can split the text, and asking it must not run a statement.
		return "a text may contain several statements", false, ""
	case dynamic.MatchString(statement):
		return "a statement may read system tables, or values that differ between connections", false, ""
	case idle.MatchString(text):
		return "", true, ""
	}
	return "", false, ""
}

// readPostgres creates a temporary function with the statement as its body, follows the dependencies
// that PostgreSQL records for it, and rolls back.
func readPostgres(ctx context.Context, db *sql.DB, statement string) (r *readTables, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	version, err := one[int](ctx, tx, "SELECT current_setting('server_version_num')::int")
	if err != nil {
		return nil, err
	}
	if version < 14_00_00 {
		return &readTables{unknown: "finding the tables that statements read requires PostgreSQL 14 or later"}, nil
	}
	// A prepared statement outlives a rollback, so it is deallocated first. If this fails, there is none.
	if err := run(ctx, tx, "PREPARE fieldcache_observed AS "+statement+"\n"); err != nil {
		return nil, err
	}
	types, err := one[string](ctx, tx, `SELECT coalesce((SELECT string_agg(t::text, ', ' ORDER BY n) FROM unnest(parameter_types) WITH ORDINALITY AS p (t, n)), '')
		FROM pg_prepared_statements WHERE name = 'fieldcache_observed'`)
	if err != nil {
		return nil, err
	}
	if err := run(ctx, tx, "DEALLOCATE fieldcache_observed"); err != nil {
		return nil, err
	}
	body := strings.TrimRight(strings.TrimSpace(statement), "; \t\r\n")
	if err := run(ctx, tx, "CREATE FUNCTION pg_temp.fieldcache_observed("+types+") RETURNS void LANGUAGE sql BEGIN ATOMIC "+body+"\n; END"); err != nil {
		return nil, err
	}
	type row struct{ What, Name string }
	list, err := query(ctx, tx, strings.ReplaceAll(readsOf, "?0", PostgreSQL("").literal(elsewhere)), func(r *row) []any { return []any{&r.What, &r.Name} })
	if err != nil {
		return nil, err
	}
	r = &readTables{}
	for _, l := range list {
		switch l.What {
		case "table":
			if !slices.Contains(r.tables, l.Name) {
				r.tables = append(r.tables, l.Name)
			}
		case "view":
			r.views = true
		default:
			r.unknown = l.Name
			return r, nil
		}
	}
	return r, nil
}

// readsOf returns the objects on which pg_temp.fieldcache_observed depends, directly or through views
// and functions with SQL-standard bodies. PostgreSQL does not record dependencies on built-in
// objects.
const readsOf = `WITH RECURSIVE deps (classid, objid) AS (
		SELECT d.refclassid, d.refobjid FROM pg_depend AS d JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
		WHERE p.proname = 'fieldcache_observed' AND p.pronamespace = pg_my_temp_schema()
		UNION
		SELECT d.refclassid, d.refobjid FROM deps AS x
			LEFT JOIN pg_rewrite AS r ON x.classid = 'pg_class'::regclass AND r.ev_class = x.objid
			LEFT JOIN pg_operator AS o ON x.classid = 'pg_operator'::regclass AND o.oid = x.objid
			JOIN LATERAL (
				SELECT d.refclassid, d.refobjid FROM pg_depend AS d
				WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refobjid <> x.objid
					OR d.classid = 'pg_proc'::regclass AND x.classid = 'pg_proc'::regclass AND d.objid = x.objid
					OR d.classid = 'pg_constraint'::regclass AND x.classid = 'pg_type'::regclass
						AND d.objid IN (SELECT k.oid FROM pg_constraint AS k WHERE k.contypid = x.objid) AND d.refobjid <> x.objid
				UNION ALL SELECT 'pg_proc'::regclass, o.oprcode WHERE o.oid IS NOT NULL) AS d ON true),
	family (oid) AS (
		SELECT objid FROM deps WHERE classid = 'pg_class'::regclass
		UNION SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.oid)
	SELECT CASE
			WHEN c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
				THEN CASE WHEN pg_get_viewdef(c.oid) ~* ?0 THEN 'unknown' ELSE 'view' END
			WHEN c.relkind IN ('c', 'i', 'I') THEN 'nothing'
			WHEN c.relkind NOT IN ('r', 'p') OR c.relrowsecurity OR n.nspname IN ('pg_catalog', 'information_schema')
				OR NOT pg_table_is_visible(coalesce(root.oid, c.oid)) OR others.n > 1 THEN 'unknown'
			ELSE 'table' END,
		CASE
			WHEN c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
				THEN 'a statement reads the view ' || c.relname || ', which may read system tables, or values that differ between connections'
			WHEN n.nspname IN ('pg_catalog', 'information_schema') THEN 'a statement reads the system table ' || c.relname
			WHEN c.relkind = 'm' THEN 'a statement reads the materialized view ' || c.relname || ', whose refreshes are not recorded'
			WHEN c.relkind NOT IN ('r', 'p') THEN 'a statement reads ' || c.relname || ', which is not a table: its writes cannot be recorded'
			WHEN c.relrowsecurity THEN 'a statement reads ' || c.relname || ', whose row security shows each role other rows'
			WHEN others.n > 1 THEN 'a statement reads ' || c.relname || ', and several schemas have a table of that name'
			WHEN NOT pg_table_is_visible(coalesce(root.oid, c.oid)) THEN 'a statement reads ' || c.oid::regclass || ', which is not in the search path'
			ELSE coalesce(root.relname, c.relname) END
	FROM family AS f JOIN pg_class AS c ON c.oid = f.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_class AS root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
		CROSS JOIN LATERAL (SELECT count(*) AS n FROM pg_class AS o JOIN pg_namespace AS s ON s.oid = o.relnamespace
			WHERE o.relname = coalesce(root.relname, c.relname) AND o.relkind IN ('r', 'p', 'v', 'm', 'f')
				AND s.nspname NOT IN ('pg_catalog', 'information_schema') AND s.nspname !~ '^pg_(toast|temp)') AS others
	UNION ALL
	SELECT CASE WHEN p.provolatile = 'i' AND l.lanname IN ('internal', 'c') OR p.prosqlbody IS NOT NULL AND pg_get_function_sqlbody(p.oid) !~* ?0
			THEN 'view' ELSE 'unknown' END,
		'a statement calls the function ' || p.proname || ', which may read any table'
	FROM deps AS d JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid JOIN pg_language AS l ON l.oid = p.prolang
	WHERE p.oid >= 16384`

var numbered = regexp.MustCompile(`[?$]([0-9]+)`)

var parameters = regexp.MustCompile(`[:@$]([A-Za-z_][A-Za-z0-9_]*)`)

// readSQLite finds the tables in a statement's bytecode, which opens each table or index that it reads.
func readSQLite(ctx context.Context, db *sql.DB, statement string) (r *readTables, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	type op struct {
		Code, Text string
		Root, Db   int64
	}
	explain := func(args []any) (list []op, err error) {
		rows, err := conn.QueryContext(ctx, "EXPLAIN "+statement, args...)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var o op
			var rest [4]any
			var text sql.NullString
			if err := rows.Scan(&rest[0], &o.Code, &rest[1], &o.Root, &o.Db, &text, &rest[2], &rest[3]); err != nil {
				return nil, err
			}
			o.Text = text.String
			list = append(list, o)
		}
		return list, rows.Err()
	}
	var program []op
	for _, args := range arguments(statement) {
		if program, err = explain(args); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	type object struct {
		Root int64
		Name string
	}
	objects, err := query(ctx, conn, "SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 0", func(o *object) []any { return []any{&o.Root, &o.Name} })
	if err != nil {
		return nil, err
	}
	views, err := one[int](ctx, conn, "SELECT count(*) FROM sqlite_schema WHERE type = 'view'")
	if err != nil {
		return nil, err
	}
	r = &readTables{views: views > 0}
	recording := false // inside the program of one of the outbox's triggers
	for _, o := range program {
		if o.Code == "Init" {
			recording = strings.HasPrefix(o.Text, "-- TRIGGER cache_outbox_")
		}
		if recording {
			continue
		}
		switch o.Code {
		case "OpenRead", "ReopenIdx", "OpenWrite":
		case "VOpen":
			r.unknown = "a statement reads a virtual table, whose writes are not recorded"
			return r, nil
		default:
			continue
		}
		i := slices.IndexFunc(objects, func(b object) bool { return b.Root == o.Root })
		if o.Db != 0 || i < 0 {
			r.unknown = "a statement reads a table that is temporary, a system table, or in another file"
			return r, nil
		}
		if objects[i].Name == "sqlite_sequence" {
			continue // by an INSERT into a table with AUTOINCREMENT; judge refuses statements that name it
		}
		if !slices.Contains(r.tables, objects[i].Name) {
			r.tables = append(r.tables, objects[i].Name)
		}
	}
	return r, nil
}

// arguments returns candidates for a statement's arguments: each possible number of positional ones,
// and the named ones. All are nil, since EXPLAIN runs nothing.
func arguments(statement string) (all [][]any) {
	most := strings.Count(statement, "?") + strings.Count(statement, "$") + strings.Count(statement, ":") + strings.Count(statement, "@")
	for _, m := range numbered.FindAllStringSubmatch(statement, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			most = max(most, n)
		}
	}
	most = min(most, 1000)
	for n := 0; n <= most; n++ {
		all = append(all, make([]any, n))
	}
	var named []any
	for _, m := range parameters.FindAllStringSubmatch(statement, -1) {
		if arg := sql.Named(m[1], nil); !slices.ContainsFunc(named, func(a any) bool { return a.(sql.NamedArg).Name == arg.Name }) {
			named = append(named, arg)
		}
	}
	if named != nil {
		all = append(all, named)
	}
	return all
}
