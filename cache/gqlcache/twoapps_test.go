package gqlcache_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

// application is one of two applications on a database, with an outbox in a schema of its own.
type application struct {
	name, url string
	gateway   *gqlcache.Gateway
	log       *syncBuffer
}

// request returns a response, and whether it came from the cache.
func (a application) request(t *testing.T) (body string, hit bool) {
	body, header := post(t, a.url, `{character(id:"1000"){name}}`)
	return body, strings.Contains(header.Get("Cache-Status"), "hit")
}

// Two applications on one database do not disturb each other. A write evicts only in the
// applications that read the table, and removing the outbox of one does not affect the other.
func TestTwoApplications(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		shared  bool // whether both read the tables of schema public
		outbox  func(app string) string
		touched map[string][]string // the applications in which a write to a table of the schema evicts
	}{
		{"tables of their own", false, func(app string) string { return app + "_cache" }, map[string][]string{"north": {"north"}, "south": {"south"}}},
		{"tables of their own, and a shared outbox", false, func(app string) string { return app }, map[string][]string{"north": {"north"}, "south": {"south"}}},
		{"the same tables", true, func(app string) string { return app + "_cache" }, map[string][]string{"public": {"north", "south"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := testservers.Postgres(t)
			owner := sqlOpen(t, "pgx", address)
			before := catalogue(t, owner)
			if c.shared {
				sqlExec(t, owner, starwars.Tables)
			}
			apps := map[string]*application{}
			for _, name := range []string{"north", "south"} {
				dsn := address
				if !c.shared {
					sqlExec(t, owner, "CREATE SCHEMA "+name)
					separator := "?"
					if strings.Contains(address, "?") {
						separator = "&"
					}
					dsn += separator + "search_path=" + name
					sqlExec(t, sqlOpen(t, "pgx", dsn), starwars.Tables)
				}
				db := sqlOpen(t, "pgx", dsn)
				a := &application{name: name, log: &syncBuffer{}}
				schema := starwars.NewExecutableSchema(*starwarsOf(db))
				var err error
				a.gateway, err = gqlcache.Open(t.Context(), schema, gqlcache.Patient(gqlcache.Options{Database: db, Schema: c.outbox(name), Log: slog.New(slog.NewTextHandler(a.log, nil))}))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = a.gateway.Close() })
				a.url = listen(t, a.gateway.Handler(newServer(schema, a.gateway)))
				apps[name] = a
			}
			s := trackerSite{t: t}
			cached := func(names ...string) {
				t.Helper()
				for _, name := range names {
					s.eventually(name+" caches nothing", func() bool { _, hit := apps[name].request(t); return hit })
				}
			}
			outbox := func(app string) (rows int) {
				t.Helper()
				if err := owner.QueryRowContext(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s.cache_outbox WHERE tbl = 'characters' AND op = 'UPDATE'", c.outbox(app))).Scan(&rows); err != nil {
					t.Fatal(err)
				}
				return rows
			}
			for of, touched := range c.touched {
				cached("north", "south")
				rows := map[string]int{"north": outbox("north"), "south": outbox("south")}
				value := "from " + of
				sqlExec(t, owner, fmt.Sprintf("UPDATE %s.characters SET name = '%s' WHERE id = '1000'", of, value))
				for _, name := range touched {
					s.eventually("a write does not evict in "+name, func() bool { body, _ := apps[name].request(t); return strings.Contains(body, value) })
					rows[name]++
				}
				for name, want := range rows {
					if got := outbox(name); got != want {
						t.Errorf("a write to a table of %s left %d records with %s, want %d", of, got, name, want)
					}
				}
				for name, a := range apps {
					if want := strings.Contains(strings.Join(touched, " "), name); !want {
						if _, hit := a.request(t); !hit {
							t.Errorf("a write to a table of %s evicted in %s", of, name)
						}
					}
				}
			}
			// Remove the first application.
			if err := apps["north"].gateway.Close(); err != nil {
				t.Error(err)
			}
			if left, err := gqlcache.Uninstall(t.Context(), owner, c.outbox("north")); err != nil || len(left) > 0 {
				t.Fatalf("Uninstall left %v, error %v", left, err)
			}
			cached("south")
			table := "public"
			if !c.shared {
				table = "south"
			}
			sqlExec(t, owner, fmt.Sprintf("UPDATE %s.characters SET name = 'afterwards' WHERE id = '1000'", table))
			s.eventually("after north was uninstalled, south evicts nothing", func() bool { body, _ := apps["south"].request(t); return strings.Contains(body, "afterwards") })
			for name, a := range apps {
				if log := a.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "changed; evicted") {
					t.Errorf("got log of %s: %s", name, log)
				}
			}
			// Remove the second one. Nothing of either remains.
			if err := apps["south"].gateway.Close(); err != nil {
				t.Error(err)
			}
			if left, err := gqlcache.Uninstall(t.Context(), owner, c.outbox("south")); err != nil || len(left) > 0 {
				t.Fatalf("Uninstall left %v, error %v", left, err)
			}
			sqlExec(t, owner, "DROP SCHEMA IF EXISTS north, south, north_cache, south_cache CASCADE")
			if c.shared {
				sqlExec(t, owner, "DROP TABLE characters, friends, starships, reviews")
			}
			if after := catalogue(t, owner); after != before {
				t.Errorf("got catalogue %s, want it as before", after)
			}
		})
	}
}

// Open says which declared tables may hold other rows for a resolver than for the triggers.
func TestOpenDoubts(t *testing.T) {
	t.Parallel()
	db := sqlOpen(t, "pgx", testservers.Postgres(t))
	sqlExec(t, db, starwars.Tables, "ALTER TABLE reviews ENABLE ROW LEVEL SECURITY",
		`CREATE SCHEMA "Tenant"`, `CREATE TABLE "Tenant".starships (id text)`, "CREATE VIEW \"Tenant\".friends AS SELECT 1")
	log := &syncBuffer{}
	schema := starwars.NewExecutableSchema(*starwarsOf(db))
	gateway, err := gqlcache.Open(t.Context(), schema, gqlcache.Patient(gqlcache.Options{Database: db, Log: slog.New(slog.NewTextHandler(log, nil))}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gateway.Close() })
	for _, want := range []string{"table reviews: its row security", `table starships: \"Tenant\", public have a table of that name: only writes to that of public`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("got log %s, want %s", log, want)
		}
	}
	if n := strings.Count(log.String(), "other rows than those"); n != 2 {
		t.Errorf("got %d warnings, want 2: %s", n, log)
	}
}
