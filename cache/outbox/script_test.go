package outbox_test

import (
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

// rowsOf are rows of every form, of tables with odd names, with partitions and with inheritance.
var rowsOf = []outbox.Rows{
	{Of: "Stock", Table: "stock", Own: true, Columns: []string{"name"}},
	{Of: "Stock.byName", Table: "stock", Match: []string{"name"}, Columns: []string{}},
	{Of: "Query.log", Table: "log"},
	{Of: "Odd", Table: `Odd, "Table"`, Match: []string{"na'me"}, Columns: []string{`the id,"\`}},
	{Of: "Keyless", Table: "keyed", Own: true},
}

// After the script of InstallSQL there is nothing left to install, whatever existed before. The
// script of RemoveSQL removes all of it.
func TestScriptInstallsAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ at, setting string }{
		"current schema":       {"", ""},
		"a schema of its own":  {`Cache "of" us`, ""},
		"backslashes escape":   {"", "standard_conforming_strings=off"},
		"a reserved word":      {"user", ""},
		"a plain name":         {"app_cache", ""},
		"another search path":  {"", "search_path=\"Else where\",public"},
		"quotes in the search": {"it's", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testservers.Postgres(t)
			if c.setting != "" {
				key, value, _ := strings.Cut(c.setting, "=")
				url = with(t, url, key, value)
			}
			db := opened(t, "pgx", url)
			execute(t, db,
				`CREATE SCHEMA "Else where"`,
				"CREATE TABLE stock (place text, id bigint, name text, rest text, PRIMARY KEY (place, id)) PARTITION BY LIST (place)",
				"CREATE TABLE stock_north PARTITION OF stock FOR VALUES IN ('n')",
				"CREATE TABLE log (id bigint PRIMARY KEY, name text, gone text)", "ALTER TABLE log DROP COLUMN gone", "CREATE TABLE log_old (PRIMARY KEY (id)) INHERITS (log)",
				`CREATE TABLE "Odd, ""Table""" ("the id,""\" bigint PRIMARY KEY, "na'me" text)`,
				"CREATE TABLE keyed (b text NOT NULL, a bigint NOT NULL, UNIQUE (b, a))",
			)
			place := outbox.PostgreSQL(c.at)
			var names []string
			for _, r := range rowsOf {
				names = append(names, r.Table)
			}
			found, err := place.Describe(t.Context(), db, names...)
			if err != nil {
				t.Fatal(err)
			}
			compile := func(rows []outbox.Rows) []outbox.Table {
				tags, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok }, rows...)
				if err != nil {
					t.Fatal(err)
				}
				return tags.Tables()
			}
			// Rows were added and removed in releases of the project. Each release ran its script.
			for _, rows := range [][]outbox.Rows{rowsOf[:2], rowsOf, rowsOf[1:], rowsOf, rowsOf} {
				script, err := place.InstallSQL(t.Context(), nil, rows...)
				if err != nil {
					t.Fatal(err)
				}
				execute(t, db, script)
				differences, err := place.Diff(t.Context(), db, compile(rows))
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range differences {
					t.Errorf("after a script for %d rows: got difference %s", len(rows), d)
				}
			}
			o, err := outbox.New(db, place, evictions)
			if err != nil {
				t.Fatal(err)
			}
			since, err := o.Poll(t.Context(), cache.Page{})
			if err != nil {
				t.Fatal(err)
			}
			execute(t, db, "INSERT INTO stock_north VALUES ('n', 1, 'a')")
			if news, err := o.Poll(t.Context(), cache.Page{Since: since.Snapshot}); err != nil || len(news.Writes) != 1 {
				t.Errorf("a write to a partition: got %v, error %v; want one write", news, err)
			}
			script, err := place.RemoveSQL(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(script, "CASCADE") {
				t.Errorf("the script may remove objects that are not part of the outbox: %s", script)
			}
			execute(t, db, script, script)
			if removed, left, err := outbox.PostgreSQL(c.at).Remove(t.Context(), db); removed || len(left) > 0 || err != nil {
				t.Errorf("after the script: got removed %v, left %v, error %v; want nothing to remove", removed, left, err)
			}
		})
	}
}

// A script reports everything that is missing at once, and then changes nothing. A table that only
// has the name of one of the outbox's tables is kept.
func TestScriptRefuses(t *testing.T) {
	t.Parallel()
	db := opened(t, "pgx", testservers.Postgres(t))
	place := outbox.PostgreSQL("")
	execute(t, db, "CREATE TABLE keyless (name text)", "CREATE TABLE thin (id bigint PRIMARY KEY)", "CREATE VIEW seen AS SELECT * FROM thin",
		"CREATE TABLE good (id bigint PRIMARY KEY)")
	names := func() (all string) {
		err := db.QueryRowContext(t.Context(), `SELECT (SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace) ||
			(SELECT count(*) FROM pg_trigger) || (SELECT count(*) FROM pg_proc)`).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	script, err := place.InstallSQL(t.Context(), nil, outbox.Any("good"), outbox.Any("none"), outbox.Any("keyless"), outbox.Any("seen"),
		outbox.Rows{Table: "thin", Own: true, Columns: []string{"fat"}})
	if err != nil {
		t.Fatal(err)
	}
	before := names()
	_, err = db.ExecContext(t.Context(), script)
	for _, want := range []string{`no table "none"`, "keyless has no primary key", "seen is a view", "thin has no column fat"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %s in it", err, want)
		}
	}
	if after := names(); after != before {
		t.Errorf("the failed script left %s, want %s as before", after, before)
	}
	execute(t, db, "CREATE TABLE cache_tables (mine text)")
	if script, err = place.InstallSQL(t.Context(), nil, outbox.Any("good")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), script); err == nil || !strings.Contains(err.Error(), "table cache_tables exists, but is not the outbox's") {
		t.Errorf("a table of the same name: got error %v", err)
	}
	if script, err = place.RemoveSQL(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	execute(t, db, script, "INSERT INTO cache_tables VALUES ('kept')")
}
