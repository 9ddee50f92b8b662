package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// InstallSQL returns the statements of [Place.Install] for the tables of rows, as text for a
// migration tool. They may be run again, also with other rows: they recreate the triggers.
//
// For PostgreSQL it is one statement, which looks up primary keys, columns and partitions when it
// runs, and fails if something is missing; db is not used and may be nil. For SQLite, whose triggers
// name columns, InstallSQL looks up the columns in db and returns an error for missing ones; run the
// statements in one transaction.
func (p Place) InstallSQL(ctx context.Context, db Querier, rows ...Rows) (string, error) {
	if p.postgres {
		return p.do(p.installBlock(rows)), nil
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Table)
	}
	slices.Sort(names)
	found, err := p.Describe(ctx, db, slices.Compact(names)...)
	if err != nil {
		return "", err
	}
	tags, err := NewRowTags(func(table string) (TableInfo, bool) { i, ok := found[table]; return i, ok }, rows...)
	if err != nil {
		return "", err
	}
	differences, err := p.Diff(ctx, db, tags.Tables())
	if err != nil {
		return "", err
	}
	var faults []error
	for _, d := range differences {
		if !d.fixable() {
			faults = append(faults, errors.New(d.String()))
		}
	}
	there, err := p.triggers(ctx, db)
	if err = errors.Join(append(faults, err)...); err != nil {
		return "", fmt.Errorf("outbox: %w", err)
	}
	var statements []string
	for _, o := range p.Objects() {
		create := "CREATE " + strings.ToUpper(o.Kind) + " "
		statements = append(statements, strings.Replace(o.Create, create, create+"IF NOT EXISTS ", 1))
	}
	var drops, creates []string
	for _, f := range there {
		if f.Ours {
			drops = append(drops, "DROP TRIGGER IF EXISTS "+ident(f.Name))
		}
	}
	for _, t := range tags.Tables() {
		for _, w := range t.rowTriggers() {
			drops = append(drops, "DROP TRIGGER IF EXISTS "+ident(w.name))
			creates = append(creates, w.create)
		}
	}
	statements = append(append(statements, unique(drops)...), creates...)
	return strings.Join(statements, ";\n") + ";\n", nil
}

// RemoveSQL returns the statements of [Place.Remove], as text for a migration tool. For PostgreSQL
// it is one statement, and db may be nil. For SQLite the triggers are those of db.
func (p Place) RemoveSQL(ctx context.Context, db Querier) (string, error) {
	if p.postgres {
		return p.do(p.removeBlock()), nil
	}
	there, err := p.triggers(ctx, db)
	if err != nil {
		return "", fmt.Errorf("outbox: look up the triggers: %w", err)
	}
	var statements []string
	for _, f := range there {
		if f.Ours {
			statements = append(statements, "DROP TRIGGER IF EXISTS "+ident(f.Name))
		}
	}
	for _, o := range slices.Backward(p.Objects()) {
		if o.Kind != "table" {
			continue
		}
		there, ours, err := p.ownTable(ctx, db, o.Name)
		if err != nil {
			return "", fmt.Errorf("outbox: %w", err)
		}
		if ours || !there {
			statements = append(statements, "DROP TABLE IF EXISTS "+o.Name)
		}
	}
	return strings.Join(statements, ";\n") + ";\n", nil
}

// do returns a statement that runs a block of PL/pgSQL.
func (p Place) do(block string) string {
	tag := "$fieldcache$"
	for n := 1; strings.Contains(block, tag); n++ { // a table's name may be anything
		tag = "$fieldcache" + strconv.Itoa(n) + "$"
	}
	return "DO " + tag + block + tag + ";\n"
}

// declared is what the declarations say of a table, before it is looked up in a database.
type declared struct {
	own     bool // whether a declaration matches the primary key
	all     bool // whether a declaration counts every column
	match   map[string]bool
	columns map[string]bool
}

func declaredTables(rows []Rows) map[string]*declared {
	tables := map[string]*declared{}
	for _, r := range rows {
		t := tables[r.Table]
		if t == nil {
			t = &declared{match: map[string]bool{}, columns: map[string]bool{}}
			tables[r.Table] = t
		}
		t.own, t.all = t.own || r.Own, t.all || r.Columns == nil
		if !r.Own {
			for _, c := range r.Match {
				t.match[c] = true
			}
		}
		for _, c := range r.Columns {
			t.columns[c] = true
		}
	}
	return tables
}

// placeholder is replaced by the name of the schema when the statement runs.
const placeholder = "@schema@"

func (p Place) installBlock(rows []Rows) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
DECLARE
	home text;
	fault text;
	faults text;
	seen record;
	act record;
BEGIN
	-- A gateway that installs triggers itself takes the same lock.
	PERFORM pg_advisory_xact_lock(%d);
`, InstallLock)
	if p.schema != "" {
		fmt.Fprintf(&b, "\tIF to_regnamespace(%s) IS NULL THEN\n\t\tCREATE SCHEMA %s;\n\tEND IF;\n", p.literal(ident(p.schema)), ident(p.schema))
	}
	for _, o := range p.objects(placeholder) {
		name := p.literal(p.named(o.Name))
		switch o.Kind {
		case "table":
			fmt.Fprintf(&b, "\tIF to_regclass(%s) IS NULL THEN\n\t\t%s;\n\tELSIF %s THEN\n\t\tRAISE EXCEPTION 'table %% exists, but is not the outbox''s: rename it', %[1]s;\n\tEND IF;\n",
				name, strings.ReplaceAll(o.Create, "\n", "\n\t\t"), p.foreign(o.Name))
		case "index":
			fmt.Fprintf(&b, "\tIF to_regclass(%s) IS NULL THEN\n\t\t%s;\n\tEND IF;\n", name, o.Create)
		}
	}
	note := p.literal(p.named("cache_outbox_note") + "()")
	home := p.literal(ident(p.schema))
	if p.schema == "" {
		home = "(SELECT quote_ident(n.nspname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('cache_outbox'))"
	}
	fmt.Fprintf(&b, `	home := %[1]s;
	IF EXISTS (SELECT FROM pg_proc AS f WHERE f.oid = to_regprocedure(%[2]s) AND strpos(f.prosrc, '%[3]s') = 0) THEN
		RAISE EXCEPTION 'function %% exists, but is not the outbox''s: rename it', %[2]s;
	END IF;
	EXECUTE replace($create$%[4]s$create$, '%[5]s', home);
	-- The triggers of each table.
	FOR seen IN SELECT t.tgrelid::regclass AS relation, t.tgname AS name FROM pg_trigger AS t WHERE t.tgfoid = to_regprocedure(%[2]s) AND NOT t.tgisinternal LOOP
		EXECUTE format('DROP TRIGGER %%I ON %%s', seen.name, seen.relation);
	END LOOP;
`, home, note, noteMark, p.noteFunction(placeholder), placeholder)
	tables := declaredTables(rows)
	names := slices.Sorted(maps.Keys(tables))
	if len(names) == 0 {
		return b.String() + "END\n"
	}
	noted := make([]Table, len(names))
	lines := make([]string, len(names))
	for i, name := range names {
		t := tables[name]
		noted[i].Name = name
		columns := "NULL"
		if !t.all {
			columns = p.literal(array(slices.Sorted(maps.Keys(t.columns))))
		}
		lines[i] = fmt.Sprintf("(%d, %t, %s::text[], %s::text[])", i+1, t.own, p.literal(array(slices.Sorted(maps.Keys(t.match)))), columns)
	}
	described := strings.TrimSpace(relationsOf(noted)) + `,
	-- Whether the primary key selects rows, which other columns do, and which count; NULL: all.
	declared (ord, own, match, matter) AS (VALUES
		` + strings.Join(lines, ",\n\t\t") + `),
	there AS (SELECT n.ord, n.name, n.oid, d.own, d.match, d.matter,
			ARRAY(SELECT a.attname::text FROM (` + strings.ReplaceAll(keyIndex, "?0", "n.oid") + `) AS i,
				unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place) JOIN pg_attribute AS a ON a.attrelid = n.oid AND a.attnum = k.attnum
				WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS pk,
			ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = n.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
		FROM noted AS n JOIN declared AS d USING (ord))`
	fmt.Fprintf(&b, `	FOR seen IN %s
		SELECT c.oid::regclass AS relation, pg_has_role(c.relowner, 'USAGE') AS owned, t.name, t.pk = '{}' AS keyless,
			c.relkind NOT IN ('r', 'p') AS view,
			ARRAY(SELECT c FROM unnest(t.match || t.matter) AS c WHERE c <> ALL (t.columns)) AS missing,
			%s AS pk,
			%s AS keys,
			%s AS matter
		FROM there AS t LEFT JOIN relations AS p USING (ord) LEFT JOIN pg_class AS c ON c.oid = p.oid ORDER BY t.ord, c.oid LOOP
		fault := CASE WHEN seen.relation IS NULL THEN format('the database has no table %%I', seen.name)
			WHEN seen.view THEN format('%%s is a view or a foreign table: triggers cannot record its writes', seen.relation)
			WHEN seen.missing <> '{}' THEN format('table %%I has no column %%s', seen.name, array_to_string(seen.missing, ', '))
			WHEN seen.keyless THEN format('table %%I has no primary key', seen.name) END;
		IF fault IS NOT NULL THEN
			faults := concat_ws('; ', faults, fault);
			CONTINUE;
		END IF;
		FOR act IN VALUES
`, described,
		arrayText("SELECT c, place FROM unnest(t.pk) WITH ORDINALITY AS u (c, place)", "place"),
		arrayText("SELECT DISTINCT c FROM unnest(t.pk || t.match) AS c", `c COLLATE "C"`),
		arrayText("SELECT DISTINCT c FROM unnest(t.match || CASE WHEN t.own THEN t.pk ELSE '{}' END || coalesce(t.matter, t.columns)) AS c", `c COLLATE "C"`))
	for i, w := range statementKinds {
		end := ","
		if i == len(statementKinds)-1 {
			end = " LOOP"
		}
		fmt.Fprintf(&b, "\t\t\t(%s, '%s', '%s')%s\n", p.literal(quoted(p.triggerName(w.op))), w.op, w.referencing(), end)
	}
	fmt.Fprintf(&b, `			EXECUTE format('CREATE TRIGGER %%s AFTER %%s ON %%s%%s FOR EACH STATEMENT EXECUTE FUNCTION %%s(%%L, %%L, %%L, %%L)',
				act.column1, act.column2, seen.relation, act.column3, %s, seen.pk, seen.keys, seen.matter, seen.name);
			-- Also when session_replication_role is replica. Only the owner may do this.
			IF seen.owned THEN
				EXECUTE format('ALTER TABLE ONLY %%s ENABLE ALWAYS TRIGGER %%s', seen.relation, act.column1);
			END IF;
		END LOOP;
	END LOOP;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION 'writes cannot be recorded: %%', faults;
	END IF;
END
`, p.literal(p.named("cache_outbox_note")))
	return b.String()
}

// arrayText returns SQL for the names that query returns as c, in the form of [array].
func arrayText(query, order string) string {
	return "(SELECT '{' || coalesce(string_agg(chr(34) || replace(replace(c, chr(92), chr(92) || chr(92)), chr(34), chr(92) || chr(34)) || chr(34), ',' ORDER BY " +
		order + "), '') || '}' FROM (" + query + ") AS q)"
}

// foreign returns SQL for whether a table of this name is not the outbox's.
func (p Place) foreign(name string) string {
	columns := make([]string, len(ownColumns[name]))
	for i, c := range ownColumns[name] {
		columns[i] = literal(c)
	}
	return fmt.Sprintf("(SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%s) AND NOT a.attisdropped AND a.attname IN (%s)) < %d",
		p.literal(p.named(name)), strings.Join(columns, ", "), len(columns))
}

func (p Place) removeBlock() string {
	var b strings.Builder
	note := p.named("cache_outbox_note") + "()"
	fmt.Fprintf(&b, `
DECLARE
	seen record;
BEGIN
	IF EXISTS (SELECT FROM pg_proc AS f WHERE f.oid = to_regprocedure(%[1]s) AND strpos(f.prosrc, '%[2]s') > 0) THEN
		-- If anything else depends on the function, DROP FUNCTION fails.
		FOR seen IN SELECT t.tgrelid::regclass AS relation, t.tgname AS name FROM pg_trigger AS t
				WHERE t.tgfoid = to_regprocedure(%[1]s) AND NOT t.tgisinternal LOOP
			EXECUTE format('DROP TRIGGER %%I ON %%s', seen.name, seen.relation);
		END LOOP;
		DROP FUNCTION %[3]s;
	END IF;
`, p.literal(note), noteMark, note)
	for _, o := range slices.Backward(p.objects("")) {
		if o.Kind == "table" {
			fmt.Fprintf(&b, "\tIF to_regclass(%s) IS NOT NULL AND NOT %s THEN\n\t\tDROP TABLE %s;\n\tEND IF;\n",
				p.literal(p.named(o.Name)), p.foreign(o.Name), p.named(o.Name))
		}
	}
	return b.String() + "END\n"
}
