package gqlcache_test

import (
	"database/sql"
	"log/slog"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

// Uninstall restores the database of a project that stops using the package, and keeps its data. A
// Gateway that is still open serves correct responses.
func TestUninstall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ driver, url, objects string }{
		{"sqlite", "file:" + t.TempDir() + "/a.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)",
			"SELECT count(*) FROM sqlite_master WHERE name LIKE '%cache%'"},
		{"pgx", testservers.Postgres(t), `SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '%cache\_%' AND relnamespace = 'public'::regnamespace)
			+ (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)`},
	} {
		db, err := sql.Open(c.driver, c.url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), starwars.Tables); err != nil {
			t.Fatal(err)
		}
		count := func() (n int) {
			if err := db.QueryRowContext(t.Context(), c.objects).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := count()
		if left, err := gqlcache.Uninstall(t.Context(), db, ""); err != nil || len(left) > 0 {
			t.Errorf("%s: nothing is installed: got %v, error %v", c.driver, left, err)
		}
		for range 2 { // it can be installed again
			schema := starwars.NewExecutableSchema(starwars.Config{Resolvers: &starwars.Resolver{DB: db}})
			g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			url := listen(t, g.Handler(newServer(schema, g)))
			request := func() string {
				body, _ := post(t, url, `{character(id:"1000"){name}}`)
				return body
			}
			if count() == before {
				t.Errorf("%s: Open installed nothing", c.driver)
			}
			request()
			if left, err := gqlcache.Uninstall(t.Context(), db, ""); err != nil || len(left) > 0 {
				t.Errorf("%s: Uninstall left %v, error %v", c.driver, left, err)
			}
			if n := count(); n != before {
				t.Errorf("%s: got %d objects, want %d as before", c.driver, n, before)
			}
			if _, err := db.ExecContext(t.Context(), "UPDATE characters SET name = name || '!' WHERE id = '1000'"); err != nil {
				t.Fatal(err)
			}
			var name string
			if err := db.QueryRowContext(t.Context(), "SELECT name FROM characters WHERE id = '1000'").Scan(&name); err != nil {
				t.Fatal(err)
			}
			s := trackerSite{t: t}
			s.eventually("an open Gateway serves cached values without an outbox", func() bool { return strings.Contains(request(), name) })
			if err := g.Close(); err != nil {
				t.Logf("%s: Close: %v", c.driver, err)
			}
		}
	}
	if _, err := gqlcache.Uninstall(t.Context(), nil, ""); err == nil {
		t.Error("Uninstall accepted a nil database")
	}
}
