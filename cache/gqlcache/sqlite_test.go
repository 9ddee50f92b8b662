package gqlcache_test

import (
	"database/sql"
	"log/slog"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// liteTables are the tables of the tracker for SQLite.
const liteTables = `
	CREATE TABLE accounts (id TEXT PRIMARY KEY, handle TEXT NOT NULL UNIQUE, secret TEXT);
	CREATE TABLE projects (key TEXT PRIMARY KEY, name TEXT NOT NULL);
	CREATE TABLE members (project_key TEXT NOT NULL REFERENCES projects ON DELETE CASCADE, account_id TEXT NOT NULL, role TEXT NOT NULL,
		UNIQUE (project_key, account_id));
	CREATE TABLE issues (id TEXT PRIMARY KEY, project_key TEXT NOT NULL REFERENCES projects ON DELETE CASCADE, number INTEGER NOT NULL, title TEXT NOT NULL,
		state TEXT NOT NULL DEFAULT 'OPEN', points REAL, labels TEXT NOT NULL DEFAULT '[]', author_id TEXT REFERENCES accounts ON DELETE SET NULL);
	CREATE TABLE comments (id TEXT PRIMARY KEY, issue_id TEXT NOT NULL REFERENCES issues ON DELETE CASCADE, author_id TEXT, body TEXT NOT NULL,
		created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
	CREATE TABLE watches (account_id TEXT NOT NULL, issue_id TEXT NOT NULL, PRIMARY KEY (account_id, issue_id));
	INSERT INTO accounts VALUES ('1', 'ann', 'a'), ('2', 'bob', 'b');
	INSERT INTO projects VALUES ('core', 'Core'), ('docs', 'Documentation');
	INSERT INTO members VALUES ('core', '1', 'lead'), ('core', '2', 'dev');
	INSERT INTO issues (id, project_key, number, title, author_id, points) VALUES ('7', 'core', 1, 'It fails', '1', 1.5), ('8', 'docs', 1, 'Do more', NULL, NULL);
	INSERT INTO comments (id, issue_id, author_id, body) VALUES ('c1', '7', '2', 'Me too');
	INSERT INTO watches VALUES ('2', '7')`

// With SQLite as with PostgreSQL, fields are cached by their directives and evicted by writes of
// another connection.
func TestFieldsOnSQLite(t *testing.T) {
	file := "file:" + t.TempDir() + "/tracker.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(30000)&_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)"
	open := func() *sql.DB {
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	s := &trackerSite{t: t, db: open(), log: &syncBuffer{}}
	t.Cleanup(s.close)
	s.closing(s.db.Close)
	s.exec(liteTables)
	cached := open()
	s.closing(cached.Close)
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: cached}})
	metrics := prometheus.NewRegistry()
	gateway, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{
		Database: cached, Viewer: tracker.ViewerOf, Log: slog.New(slog.NewTextHandler(s.log, nil)), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.closing(gateway.Close)
	misses := func() (n float64) {
		t.Helper()
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, label := range m.GetLabel() {
					if f.GetName() == "fieldcache_field_requests_total" && label.GetValue() == "miss" {
						n += m.GetCounter().GetValue()
					}
				}
			}
		}
		return n
	}
	s.cached = executor.New(schema)
	s.cached.Use(gateway)
	s.plain = executor.New(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: s.db}}))
	queries := []string{
		`{account(handle:"ann"){id handle secret}}`,
		`{project(key:"core"){name openCount members{account role load}}}`,
		`{issue(id:"7"){title state points author{handle} comments{body author{handle}} commentCount score watched stats{readingTime}}}`,
		`{feed{__typename ... on Issue{title} ... on Comment{body}}}`,
		`{of:written(author:"1") nobodys:written}`,
	}
	for _, write := range []string{
		`SELECT 1`,
		`UPDATE issues SET title = 'It fails still' WHERE id = '7'`,
		`UPDATE issues SET author_id = NULL WHERE id = '7'`,
		`UPDATE issues SET author_id = '1', state = 'CLOSED'`,
		`UPDATE issues SET project_key = 'core', state = 'OPEN' WHERE id = '8'`,
		`UPDATE accounts SET secret = 'other', handle = 'ann' WHERE id = '1'`,
		`INSERT OR REPLACE INTO issues (id, project_key, number, title) VALUES ('8', 'core', 2, 'Do less')`,
		`INSERT OR REPLACE INTO members VALUES ('core', '2', 'lead')`,
		`UPDATE OR REPLACE members SET account_id = '2' WHERE account_id = '1'`,
		`UPDATE members SET role = 'guest' WHERE account_id = '2'`,
		`INSERT INTO comments (id, issue_id, body) VALUES ('c2', '7', 'one more')`,
		`DELETE FROM watches`,
		`DELETE FROM accounts WHERE id = '1'`,
		`DELETE FROM projects WHERE key = 'core'`,
	} {
		s.exec(write)
		for _, q := range queries {
			for _, viewer := range []string{"", "1", "2"} {
				s.same(viewer, q)
			}
		}
		if misses() == 0 {
			t.Fatal("no field was cached")
		}
		for _, q := range queries {
			s.eventually(q+": a resolver is called although nothing changed", func() bool {
				before := misses()
				responseTo(t, s.cached, "2", q)
				return misses() == before
			})
		}
	}
	const title = `{issue(id:"8"){title} feed{... on Issue{title}}}`
	s.exec(`INSERT INTO projects VALUES ('core', 'Again')`)
	s.exec(`INSERT INTO issues (id, project_key, number, title) VALUES ('8', 'core', 1, 'Back')`)
	s.same("", title)
	responseTo(t, s.cached, "", `mutation{setTitle(id:"8",title:"by hand"){title}}`)
	if got, want := responseTo(t, s.cached, "", title), responseTo(t, s.plain, "", title); got != want {
		t.Errorf("right after a mutation: got %s, want %s", got, want)
	}
}

// Rows that REPLACE removes fire no trigger in SQLite unless the connection says so. The log warns of one that does not.
func TestSQLiteWithoutRecursiveTriggers(t *testing.T) {
	t.Parallel()
	for pragma, warnings := range map[string]int{"off": 1, "on": 0} {
		db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/tracker.db?_pragma=busy_timeout(30000)&_pragma=recursive_triggers("+pragma+")")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if _, err := db.ExecContext(t.Context(), liteTables); err != nil {
			t.Fatal(err)
		}
		log := &syncBuffer{}
		schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: db}})
		gateway, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = gateway.Close() })
		if n := strings.Count(log.String(), "recursive_triggers = on"); n != warnings {
			t.Errorf("with recursive_triggers %s: logged %d times, want %d: %s", pragma, n, warnings, log)
		}
	}
}
