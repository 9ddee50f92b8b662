package outbox_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/internal/testservers"
)

// parts returns a database with a partitioned table, a table that another one inherits from, and a
// table with an odd name.
func parts(t *testing.T) (box, []outbox.Table) {
	t.Helper()
	b := open(t, testservers.Postgres(t))
	for _, s := range []string{
		"CREATE TABLE stock (id bigint, place text, name text, PRIMARY KEY (id, place)) PARTITION BY LIST (place)",
		"CREATE TABLE stock_north PARTITION OF stock FOR VALUES IN ('n') PARTITION BY RANGE (id)",
		"CREATE TABLE stock_north_1 PARTITION OF stock_north FOR VALUES FROM (0) TO (1000)",
		"CREATE TABLE stock_south PARTITION OF stock FOR VALUES IN ('s')",
		"CREATE TABLE log (id bigint PRIMARY KEY, name text)",
		"CREATE TABLE log_old (PRIMARY KEY (id)) INHERITS (log)",
		`CREATE SCHEMA "other"`, `CREATE TABLE other."Odd, ""Table""" (id bigint PRIMARY KEY, name text)`,
		`CREATE TABLE "Odd, ""Table""" ("the id,""\" bigint PRIMARY KEY, "na'me" text)`,
	} {
		b.exec(t, s)
	}
	tables := []outbox.Table{
		things,
		{Name: "stock", PrimaryKey: []string{"id", "place"}, Keys: []string{"id", "name"}, Matter: []string{"name"}},
		{Name: "log", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"name"}},
		{Name: `Odd, "Table"`, PrimaryKey: []string{`the id,"\`}, Keys: []string{`the id,"\`, "na'me"}, Matter: []string{"na'me"}},
	}
	if err := b.at.Install(t.Context(), b.db, tables); err != nil {
		t.Fatal(err)
	}
	return b, tables
}

// A statement fires only the triggers of the table that it names, so each partition has its own.
func TestFault08WritesByThePartitionsName(t *testing.T) {
	t.Parallel()
	b, _ := parts(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, want string }{
		{"INSERT INTO stock VALUES (1, 'n', 'a'), (2, 's', 'b')", ">1a[] >2b[]"},
		{"UPDATE stock_north SET name = 'c'", "1a>1c[name]"},
		{"UPDATE stock_north_1 SET name = 'd'", "1c>1d[name]"},
		{"INSERT INTO stock_south VALUES (3, 's', 'e'), (4, 's', 'f')", ">3e[] >4f[]"},
		{"DELETE FROM stock_south WHERE id = 3", "3e>[]"},
		{"UPDATE stock SET place = 's', name = 'g' WHERE id = 1", "1d>[name] >1g[name]"},
		{"TRUNCATE stock_south", "stock TRUNCATE"},
		{"INSERT INTO log_old VALUES (1, 'a')", ">1a[]"},
		{"UPDATE log SET name = 'b'", "1a>1b[name]"},
		{"UPDATE log_old SET name = 'c'", "1b>1c[name]"},
		{`INSERT INTO "Odd, ""Table""" VALUES (1, 'a')`, ">[]"},
		{`INSERT INTO other."Odd, ""Table""" VALUES (1, 'a')`, ""},
		{"INSERT INTO things (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = 'b'", ">1a[]"},
		{"INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'z') ON CONFLICT (id) DO UPDATE SET name = 'b'", "1a>1b[name] >2z[]"},
		{"MERGE INTO things AS t USING (VALUES (1, 'c'), (2, NULL), (3, 'd')) AS v (id, name) ON v.id = t.id WHEN MATCHED AND v.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)",
			"1b>1c[name] 2z>[] >3d[]"},
		{"WITH a AS (UPDATE things SET name = 'e' WHERE id = 1), b AS (UPDATE things SET name = 'f' WHERE id = 3), c AS (INSERT INTO things (id, name) VALUES (4, 'g')) DELETE FROM log",
			"1c>[] 1c>1e[name] 3d>3f[name] >4g[]"},
		{"UPDATE things SET id = 5 WHERE id = 4", "4g>[name] >5g[name]"},
		{"UPDATE things SET hidden = repeat('x', 1000000)", ""},
	} {
		b.exec(t, c.statement)
		news := b.poll(t, since)
		since = news.Snapshot
		if got := what(news); sorted(got) != sorted(c.want) {
			t.Errorf("%s: recorded %q, want %q", c.statement, got, c.want)
		}
	}
}

// watched is a watch and its log.
type watched struct {
	*outbox.Watch
	log bytes.Buffer
}

func watch(b box, tables []outbox.Table) *watched {
	w := &watched{}
	w.Watch = outbox.NewWatch(b.db.DB, b.at, tables, slog.New(slog.NewTextHandler(&w.log, nil)))
	return w
}

func (w *watched) look(t *testing.T) {
	t.Helper()
	if err := w.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A change of a table that fires no trigger evicts everything cached of the table, once. Triggers
// are repaired.
func TestFault08TablesThatChange(t *testing.T) {
	t.Parallel()
	b, tables := parts(t)
	for _, s := range []string{
		"INSERT INTO stock VALUES (1, 'n', 'a'), (2, 's', 'b')",
		"CREATE TYPE mood AS ENUM ('calm', 'wild')", "ALTER TABLE things ADD COLUMN mood mood",
		"CREATE TABLE spare (id bigint PRIMARY KEY, name text, hidden text, mood mood)",
	} {
		b.exec(t, s)
	}
	tables[0].Matter = []string{"name", "mood"}
	if err := b.at.Install(t.Context(), b.db, tables); err != nil {
		t.Fatal(err)
	}
	w, second := watch(b, tables), watch(b, tables)
	w.look(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, table, probe, noted string }{
		{"ALTER TABLE stock DETACH PARTITION stock_south", "stock", "UPDATE stock SET name = 'x'", "1a>1x[name]"},
		{"ALTER TABLE stock ATTACH PARTITION stock_south FOR VALUES IN ('s')", "stock", "UPDATE stock_south SET name = 'y'", "2b>2y[name]"},
		{"CREATE TABLE stock_east PARTITION OF stock FOR VALUES IN ('e')", "stock", "INSERT INTO stock_east VALUES (3, 'e', 'c')", ">3c[]"},
		{"DROP TABLE stock_east", "stock", "UPDATE stock_south SET name = 'z'", "2y>2z[name]"},
		{"CREATE TABLE log_new () INHERITS (log)", "log", "INSERT INTO log_new VALUES (7, 'q')", ">7q[]"},
		{"ALTER TABLE things ALTER COLUMN name TYPE text USING upper(name)", "things", "INSERT INTO things (id, name) VALUES (20, 'a')", ">20a[]"},
		{"ALTER TABLE things RENAME COLUMN name TO hidden_name; ALTER TABLE things RENAME COLUMN hidden TO name; ALTER TABLE things RENAME COLUMN hidden_name TO hidden", "things",
			"INSERT INTO things (id, name) VALUES (21, 'b')", ">21b[]"},
		{"ALTER TYPE mood RENAME VALUE 'wild' TO 'mild'", "things", "INSERT INTO things (id) VALUES (23)", ">23[]"},
		{"ALTER TABLE things DISABLE TRIGGER cache_outbox_insert; INSERT INTO things VALUES (24, 'c'); ALTER TABLE things ENABLE ALWAYS TRIGGER cache_outbox_insert", "things",
			"DELETE FROM things WHERE id = 24", "24>[]"},
		{"ALTER TABLE things DISABLE TRIGGER ALL", "things", "INSERT INTO things (id) VALUES (25)", ">25[]"},
		{"DROP TRIGGER cache_outbox_delete ON things", "things", "DELETE FROM things WHERE id = 25", "25>[]"},
		{"ALTER TABLE things RENAME TO gone; ALTER TABLE spare RENAME TO things; INSERT INTO things VALUES (1, 'swapped')", "things",
			"UPDATE things SET name = 'c'; INSERT INTO gone (id) VALUES (99)", "1swapped>1c[name] >99[]"},
		{"ALTER TABLE things ENABLE ROW LEVEL SECURITY", "things", "INSERT INTO things (id) VALUES (26)", ">26[]"},
		{"VACUUM FULL things", "things", "INSERT INTO things (id) VALUES (27)", ">27[]"},
	} {
		for _, s := range strings.Split(c.statement, "; ") {
			b.exec(t, s)
		}
		since = b.poll(t, since).Snapshot
		w.log.Reset()
		w.look(t)
		news := b.poll(t, since)
		if what(news) != c.table+" ALTER" {
			t.Errorf("%s: evicted %q, want %s", c.statement, what(news), c.table)
		}
		if n := strings.Count(w.log.String(), "\n"); n != 1 || !strings.Contains(w.log.String(), "table="+c.table) {
			t.Errorf("%s: got log %s", c.statement, &w.log)
		}
		since = news.Snapshot
		second.look(t) // another gateway finds everything repaired
		w.look(t)
		if news := b.poll(t, since); len(news.Writes) > 0 {
			t.Errorf("%s: evicted again %q", c.statement, what(news))
		}
		for _, s := range strings.Split(c.probe, "; ") {
			b.exec(t, s)
		}
		news = b.poll(t, since)
		if sorted(what(news)) != sorted(c.noted) {
			t.Errorf("%s: after %s: recorded %q, want %q", c.statement, c.probe, what(news), c.noted)
		}
		since = news.Snapshot
	}
	if w.Changes() == 0 || second.Changes() != 0 || w.Unnoted() != 0 {
		t.Errorf("got %d and %d changes, %d unrecorded tables; want changes of the first watch only", w.Changes(), second.Changes(), w.Unnoted())
	}
}

// Writes in the role of a replica are recorded too.
func TestFault08WritesOfAReplicaRole(t *testing.T) {
	t.Parallel()
	b, _ := parts(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range []string{"SET session_replication_role = replica", "INSERT INTO things (id, name) VALUES (1, 'a')"} {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if got := what(b.poll(t, since)); got != ">1a[]" {
		t.Errorf("recorded %q, want >1a[]", got)
	}
}

// If the role may not create triggers, every look evicts the table. The log reports it once.
func TestFault08TriggersThatCannotBeMended(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	b := open(t, url)
	var name string
	if err := b.db.NewRaw("SELECT 'weak_' || current_database()").Scan(t.Context(), &name); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "CREATE ROLE "+name)
	t.Cleanup(func() { _, _ = b.db.Exec("DROP OWNED BY " + name + "; DROP ROLE " + name) })
	b.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+name)
	d, err := db.Open(t.Context(), db.Options{URL: strings.Replace(url, "?", "?options=-c%20role%3D"+name+"&", 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	tables := []outbox.Table{things}
	w := watch(box{db: d.Bun(), at: d.Outbox()}, tables)
	w.look(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	b.exec(t, "DROP TRIGGER cache_outbox_update ON things")
	for range 2 {
		w.look(t)
		news := b.poll(t, since)
		if what(news) != "things ALTER" || w.Unnoted() != 1 {
			t.Errorf("evicted %q, got %d unrecorded tables, want 1", what(news), w.Unnoted())
		}
		since = news.Snapshot
	}
	if n := strings.Count(w.log.String(), "cannot be recorded"); n != 1 || !strings.Contains(w.log.String(), "migrate up") {
		t.Errorf("got log %s", &w.log)
	}
	if err := b.at.Install(t.Context(), b.db, tables); err != nil {
		t.Fatal(err)
	}
	since = b.poll(t, since).Snapshot
	w.look(t)
	if news := b.poll(t, since); len(news.Writes) > 0 || w.Unnoted() != 0 || !strings.Contains(w.log.String(), "recorded again") {
		t.Errorf("after the repair: evicted %q, got %d unrecorded tables, log %s", what(news), w.Unnoted(), &w.log)
	}
}

func TestFault08EmbeddedTablesThatChange(t *testing.T) {
	t.Parallel()
	b := open(t, "sqlite://"+t.TempDir()+"/things.db")
	tables := []outbox.Table{things}
	w := watch(b, tables)
	w.look(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for i, statements := range [][]string{
		{"DROP TRIGGER cache_outbox_things_update"},
		{"CREATE TABLE spare (id bigint PRIMARY KEY, name text, hidden text)", "ALTER TABLE things RENAME TO gone", "ALTER TABLE spare RENAME TO things"},
		{"DROP TABLE things", "CREATE TABLE things (id bigint PRIMARY KEY, name text, hidden text)"},
	} {
		for _, s := range statements {
			b.exec(t, s)
		}
		w.look(t)
		news := b.poll(t, since)
		b.exec(t, fmt.Sprintf("INSERT INTO things (id, name) VALUES (%d, 'a')", i))
		b.exec(t, fmt.Sprintf("UPDATE things SET name = 'b' WHERE id = %d", i))
		after := b.poll(t, news.Snapshot)
		if want := fmt.Sprintf(">%da[] %[1]da>%[1]db[name]", i); what(news) != "things ALTER" || sorted(what(after)) != sorted(want) {
			t.Errorf("%v: evicted %q, recorded %q", statements, what(news), what(after))
		}
		since = after.Snapshot
	}
}

func sorted(list string) string {
	words := strings.Fields(list)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// Gateways of two releases do not undo each other's triggers, and do not treat them as a change.
func TestFault08TwoReleases(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	older, newer := []outbox.Table{things}, []outbox.Table{things, {Name: "more", PrimaryKey: []string{"id"}, Keys: []string{"id"}}}
	newer[0].Matter = []string{"name", "hidden"}
	b.exec(t, "CREATE TABLE more (id bigint PRIMARY KEY)")
	if err := b.at.Install(t.Context(), b.db, newer); err != nil {
		t.Fatal(err)
	}
	first, second := watch(b, older), watch(b, newer)
	first.look(t)
	second.look(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for range 3 {
		first.look(t)
		second.look(t)
	}
	if news := b.poll(t, since); len(news.Writes) > 0 {
		t.Errorf("evicted %q, want nothing", what(news))
	}
	if left, err := b.at.Diff(t.Context(), b.db, newer); err != nil || len(left) > 0 {
		t.Errorf("the triggers of the newer release differ: %v, error %v", left, err)
	}
	// A difference of a partition, or a trigger that does not fire for replicas, does not keep a
	// gateway from starting.
	b.exec(t, "ALTER TABLE things ENABLE TRIGGER cache_outbox_insert")
	if left, err := b.at.Diff(t.Context(), b.db, newer); err != nil || len(left) != 1 || !left[0].Minor {
		t.Errorf("got differences %v, error %v; want one that is minor", left, err)
	}
}

// A view or a function that is replaced may read other rows of the table, or another table. Values
// that were cached through it are evicted, and again until no gateway relies on the old definition.
func TestRedefinedViews(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url    string
		before []string
		steps  []string // each changes a view or a function that reads things
		apart  []string // each does not
		age    string   // makes the last change look old
	}{
		"postgres": {testservers.Postgres(t),
			[]string{
				"CREATE VIEW seen AS SELECT id, name FROM things", "CREATE VIEW twice AS SELECT name || name AS name FROM seen",
				"CREATE FUNCTION named(bigint) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM things WHERE id = $1; END",
				"CREATE FUNCTION outer_named(bigint) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT named($1); END",
				"CREATE VIEW by_function AS SELECT outer_named(1) AS name",
				"CREATE TABLE others (id bigint PRIMARY KEY, name text)", "CREATE VIEW of_others AS SELECT * FROM others",
			},
			[]string{
				"CREATE OR REPLACE VIEW seen AS SELECT id, name FROM things WHERE id > 1",
				"CREATE OR REPLACE VIEW seen AS SELECT id, name FROM others",
				"CREATE OR REPLACE FUNCTION named(bigint) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT upper(name) FROM things WHERE id = $1; END",
				"CREATE OR REPLACE FUNCTION outer_named(bigint) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT named($1 + 1); END",
				"CREATE OR REPLACE VIEW by_function AS SELECT outer_named(2) AS name",
				"ALTER FUNCTION outer_named RENAME TO out_named",
				"ALTER VIEW by_function RENAME TO by_func",
				"DROP VIEW by_func",
			},
			[]string{
				"CREATE OR REPLACE VIEW of_others AS SELECT id, name FROM others WHERE id > 1", "CREATE TEMP VIEW mine AS SELECT * FROM things",
				"CREATE FUNCTION pg_temp.mine() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM things; END", "ANALYZE",
			},
			`UPDATE cache_tables SET identity = regexp_replace(identity, 'redefined@\d+', 'redefined@1')`},
		"sqlite": {"sqlite://" + t.TempDir() + "/things.db",
			[]string{"CREATE VIEW seen AS SELECT id, name FROM things"},
			[]string{"DROP VIEW seen", "CREATE VIEW seen AS SELECT id, upper(name) AS name FROM things"},
			[]string{"ANALYZE"},
			"UPDATE cache_tables SET identity = substr(identity, 1, instr(identity, '@')) || 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, tables := open(t, c.url), []outbox.Table{things}
			for _, s := range c.before {
				b.exec(t, s)
			}
			if err := b.at.Install(t.Context(), b.db, tables); err != nil {
				t.Fatal(err)
			}
			w, second := watch(b, tables), watch(b, tables)
			since := b.poll(t, cache.Snapshot{}).Snapshot
			look := func(w *watched, after, want string) {
				t.Helper()
				w.look(t)
				news := b.poll(t, since)
				if what(news) != want {
					t.Errorf("after %s: evicted %q, want %q", after, what(news), want)
				}
				since = news.Snapshot
			}
			for _, s := range c.steps {
				w.log.Reset()
				b.exec(t, s)
				look(w, s, "things ALTER")
				look(second, s+", for another gateway", "things ALTER")
				look(w, s+", again", "things ALTER")
				if n := strings.Count(w.log.String(), "\n"); n != 1 || !strings.Contains(w.log.String(), "views or functions that read it") {
					t.Errorf("%s: got log %s", s, &w.log)
				}
				b.exec(t, c.age)
				look(w, s+", for the last time", "things ALTER")
				look(w, s+", and all is settled", "")
				look(second, s+", and all is settled", "")
			}
			for _, s := range c.apart {
				b.exec(t, s)
				look(w, s, "")
			}
		})
	}
}
