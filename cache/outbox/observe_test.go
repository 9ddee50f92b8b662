package outbox_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// On SQLite the program of a statement shows what it reads. Observe does not run the statement.
func TestObserveSQLite(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/observed.db?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE notes (id integer PRIMARY KEY, body text); CREATE INDEX notes_body ON notes (body);
		CREATE TABLE others (id text PRIMARY KEY, body text) WITHOUT ROWID; CREATE VIEW seen AS SELECT * FROM notes;
		CREATE TABLE "ord""er" (id integer PRIMARY KEY); CREATE VIRTUAL TABLE words USING fts5(body);
		CREATE TABLE lists (id integer PRIMARY KEY, body text);
		CREATE TRIGGER filled BEFORE UPDATE ON lists WHEN (SELECT count(*) FROM others) > 9 BEGIN SELECT RAISE(IGNORE); END`)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.SQLite().Install(t.Context(), tx, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	observer := outbox.NewObserver(outbox.ObserverOptions{Database: db, Place: outbox.SQLite(), Install: true})
	for name, tt := range map[string]struct {
		statement string
		tables    []string // nil: unknown
	}{
		"a table":           {`SELECT body FROM notes WHERE id = ?`, []string{"notes"}},
		"an index only":     {`SELECT body FROM notes WHERE body > :least AND body < :most`, []string{"notes"}},
		"a numbered one":    {`SELECT body FROM notes WHERE id = ?2`, []string{"notes"}},
		"a view and a join": {`SELECT s.body FROM seen AS s JOIN others AS o ON o.body = s.body`, []string{"notes", "others"}},
		"a quoted name":     {`SELECT id FROM "ord""er"`, []string{`ord"er`}},
		"a recursive one":   {`WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n JOIN notes ON id = i) SELECT * FROM n`, []string{"notes"}},
		"no table":          {`SELECT 1`, []string{}},
		"BEGIN":             {`BEGIN`, []string{}},
		"a virtual table":   {`SELECT * FROM words WHERE words MATCH 'a'`, nil},
		"the system's":      {`SELECT name FROM sqlite_schema`, nil},
		"its own INSERT":    {`INSERT INTO notes (id, body) SELECT 99, '' WHERE false RETURNING id`, []string{"notes"}},
		"its own UPDATE":    {`UPDATE notes SET body = ? WHERE id = ? RETURNING id`, []string{"notes"}},
		"its own DELETE":    {`DELETE FROM notes WHERE id = ?`, []string{"notes"}},
		"a trigger's":       {`UPDATE lists SET body = ?`, []string{"lists", "others"}},
		"SET of a pragma":   {`PRAGMA busy_timeout = 100`, []string{}},
		"a pragma":          {`PRAGMA user_version`, nil},
		"the last id":       {`SELECT last_insert_rowid()`, nil},
		"two statements":    {`SELECT 1; INSERT INTO notes VALUES (77, '')`, nil},
		"not there":         {`SELECT * FROM nowhere`, nil},
		"no text":           {``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var tags []cache.Tag
			var unknown string
			for end := time.Now().Add(time.Minute); time.Now().Before(end); { // triggers are created first, and Observe may stop waiting for the result
				tags, unknown = observer.Observe(t.Context(), []string{tt.statement})
				if unknown == "" || !strings.Contains(unknown, "recorded until now") && !strings.Contains(unknown, "in time") {
					break
				}
			}
			if (tt.tables == nil) != (unknown != "") {
				t.Fatalf("got tags %q, unknown %q", tags, unknown)
			}
			for _, table := range tt.tables {
				if !slices.Contains(tags, cache.Rows(table)) {
					t.Errorf("got no tag of %s: %q", table, tags)
				}
			}
			if len(tags) != 2*len(tt.tables) {
				t.Errorf("got tags %q", tags)
			}
		})
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM notes").Scan(&n); err != nil || n != 0 {
		t.Errorf("Observe wrote %d rows, error %v", n, err)
	}
	exec(`INSERT INTO notes (body) VALUES ('a')`)
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM cache_outbox WHERE tbl = 'notes' AND op = 'INSERT'").Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d recorded writes, error %v; want 1", n, err)
	}
}

func BenchmarkObserve(b *testing.B) {
	db, err := sql.Open("sqlite", "file:"+b.TempDir()+"/observed.db")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	observer := outbox.NewObserver(outbox.ObserverOptions{Database: db, Place: outbox.SQLite()})
	statements := []string{`SELECT 1`}
	for {
		if _, unknown := observer.Observe(b.Context(), statements); unknown == "" {
			break
		}
	}
	watch := new(cache.Watch)
	watch.RememberStatements(false)
	b.ReportAllocs()
	for b.Loop() {
		watch.Began(b.Context(), statements[0])
		watch.Ended(b.Context(), statements[0])
		if _, unknown := observer.Observe(b.Context(), statements); unknown != "" {
			b.Fatal(unknown)
		}
	}
}
