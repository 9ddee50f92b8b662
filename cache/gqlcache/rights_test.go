package gqlcache_test

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

func sqlOpen(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqlExec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%.80s: %v", s, err)
		}
	}
}

// as returns the URL of the same database for another role.
func as(t testing.TB, text, role string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// newRole creates a role that may log in.
func newRole(t testing.TB, db *sql.DB) string {
	t.Helper()
	role := "fieldcache_" + strings.ToLower(rand.Text()[:12])
	sqlExec(t, db, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() {
		for _, s := range []string{"DROP OWNED BY " + role + " CASCADE", "DROP ROLE " + role} {
			if _, err := db.Exec(s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
	})
	return role
}

// catalogue lists everything in PostgreSQL that Open could install or change.
func catalogue(t testing.TB, db *sql.DB) (list string) {
	t.Helper()
	err := db.QueryRowContext(t.Context(), `SELECT concat_ws(E'\n',
		(SELECT string_agg(concat_ws(' ', n.nspname, c.relname, c.oid, c.relacl, (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)), E'\n' ORDER BY c.oid)
			FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')),
		(SELECT string_agg(oid || pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY oid) FROM pg_trigger WHERE NOT tgisinternal),
		(SELECT string_agg(p.oid || prosrc, E'\n' ORDER BY p.oid) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')),
		(SELECT string_agg(nspname, ' ' ORDER BY oid) FROM pg_namespace))`).Scan(&list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func starwarsOf(db *sql.DB) *starwars.Config {
	return &starwars.Config{Resolvers: &starwars.Resolver{DB: db}}
}

// Open refuses a database that a Gateway cannot work with. It says what to do, and leaves the
// database unchanged.
func TestOpenRefusesDatabases(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		before   []string // run by the owner; "?" stands for the role that opens
		o        gqlcache.Options
		messages []string
	}{
		{"a read-only role", []string{"ALTER ROLE ? SET default_transaction_read_only = on"}, gqlcache.Options{},
			[]string{"it is read-only: give the one that is written to"}},
		{"no right to create tables", []string{"GRANT TRIGGER ON ALL TABLES IN SCHEMA public TO ?"}, gqlcache.Options{},
			[]string{"? lacks the privilege CREATE: GRANT CREATE ON SCHEMA public TO ?"}},
		{"no right to create a schema", []string{"GRANT TRIGGER ON ALL TABLES IN SCHEMA public TO ?"}, gqlcache.Options{Schema: "mine"},
			[]string{"? lacks the privilege CREATE: GRANT CREATE ON DATABASE"}},
		{"no right to create triggers", []string{"GRANT CREATE ON SCHEMA public TO ?", "GRANT TRIGGER ON characters TO ?"}, gqlcache.Options{},
			[]string{"? lacks the privilege TRIGGER: GRANT TRIGGER ON TABLE friends TO ?", "ON TABLE reviews TO ?", "ON TABLE starships TO ?"}},
		{"no outbox", nil, gqlcache.Options{Migrate: gqlcache.Verify}, []string{"table cache_outbox is missing", "trigger cache_outbox_insert ON characters is missing"}},
		{"an outbox that lacks a column", []string{"install", "own", "ALTER TABLE cache_outbox DROP COLUMN created_at"}, gqlcache.Options{},
			[]string{"table cache_outbox is of another release, without created_at: remove the outbox with gqlcache.Uninstall"}},
		{"an outbox that lacks a column, to be verified", []string{"install", "own", "ALTER TABLE cache_horizon DROP COLUMN one"}, gqlcache.Options{Migrate: gqlcache.Verify},
			[]string{"table cache_horizon is of another release, without one: remove the outbox with gqlcache.Uninstall"}},
		{"a function of another release", []string{"install", "own",
			`DO $do$ BEGIN EXECUTE replace(pg_get_functiondef('cache_outbox_note()'::regprocedure), '1000', '1001'); END $do$`}, gqlcache.Options{Migrate: gqlcache.Verify},
			[]string{"function cache_outbox_note is of another release, or was changed"}},
		{"a trigger of another release", []string{"install", "own", "DROP TRIGGER cache_outbox_insert ON characters",
			"CREATE TRIGGER cache_outbox_insert AFTER INSERT ON characters REFERENCING NEW TABLE AS cache_new FOR EACH STATEMENT EXECUTE FUNCTION cache_outbox_note('{}')"},
			gqlcache.Options{Migrate: gqlcache.Verify}, []string{"trigger cache_outbox_insert ON characters is of another release, or was changed"}},
		{"an unrelated table of the same name", []string{"GRANT TRIGGER ON ALL TABLES IN SCHEMA public TO ?", "GRANT CREATE ON SCHEMA public TO ?", "CREATE TABLE cache_tables (mine text)"}, gqlcache.Options{},
			[]string{"table cache_tables exists, but is not the outbox's: rename it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := testservers.Postgres(t)
			owner := sqlOpen(t, "pgx", address)
			role := newRole(t, owner)
			sqlExec(t, owner, starwars.Tables)
			for _, s := range c.before {
				switch s {
				case "install":
					g, err := gqlcache.Open(t.Context(), starwars.NewExecutableSchema(*starwarsOf(owner)), gqlcache.Options{Database: owner, Log: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					if err := g.Close(); err != nil {
						t.Fatal(err)
					}
				case "own":
					for _, name := range []string{"cache_outbox", "cache_horizon", "cache_tables"} {
						sqlExec(t, owner, "ALTER TABLE "+name+" OWNER TO "+role)
					}
				default:
					sqlExec(t, owner, strings.ReplaceAll(s, "?", role))
				}
			}
			before := catalogue(t, owner)
			c.o.Database, c.o.Log = sqlOpen(t, "pgx", as(t, address, role)), slog.New(slog.DiscardHandler)
			g, err := gqlcache.Open(t.Context(), starwars.NewExecutableSchema(*starwarsOf(owner)), c.o)
			if err == nil {
				_ = g.Close()
				t.Fatal("Open succeeded, want an error")
			}
			for _, want := range c.messages {
				if want = strings.ReplaceAll(want, "?", role); !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v\nwant %s in it", err, want)
				}
			}
			if after := catalogue(t, owner); after != before {
				t.Errorf("Open changed the catalogue to\n%s\nwant\n%s", after, before)
			}
		})
	}
}

// A standby may lag behind and cannot have triggers, so Open refuses it.
func TestOpenRefusesStandby(t *testing.T) {
	t.Parallel()
	primary := testservers.PrimaryServer(t)
	sqlExec(t, sqlOpen(t, "pgx", primary.URL()), starwars.Tables)
	standby := sqlOpen(t, "pgx", primary.Standby().URL())
	before := catalogue(t, standby)
	for _, migrate := range []gqlcache.Migration{gqlcache.Install, gqlcache.Verify} {
		g, err := gqlcache.Open(t.Context(), starwars.NewExecutableSchema(*starwarsOf(standby)), gqlcache.Options{Database: standby, Migrate: migrate, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			_ = g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "it is a replica: give the primary, which is written to") {
			t.Errorf("got error %v", err)
		}
	}
	if after := catalogue(t, standby); after != before {
		t.Errorf("Open changed the catalogue to %s", after)
	}
}

// A file that was opened for reading is distinguished from one that can be written.
func TestOpenRefusesReadOnlyFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.db")
	sqlExec(t, sqlOpen(t, "sqlite", "file:"+file), starwars.Tables)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"mode=ro", "_pragma=query_only(1)"} {
		db := sqlOpen(t, "sqlite", "file:"+file+"?"+setting)
		g, err := gqlcache.Open(t.Context(), starwars.NewExecutableSchema(*starwarsOf(db)), gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			_ = g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "it is read-only: give the one that is written to") {
			t.Errorf("%s: got error %v", setting, err)
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("Open changed the file, %v", err)
	}
}

// A role with exactly the privileges that docs/adopting.md lists can read, write and evict. If one
// is missing, Open names it.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		migrate gqlcache.Migration
		rights  []string // "right ON object"
	}{
		{"that verifies", gqlcache.Verify, []string{
			"USAGE ON SCHEMA app_cache",
			"SELECT ON TABLE app_cache.cache_outbox", "INSERT ON TABLE app_cache.cache_outbox", "UPDATE ON TABLE app_cache.cache_outbox", "DELETE ON TABLE app_cache.cache_outbox",
			"SELECT ON TABLE app_cache.cache_horizon", "INSERT ON TABLE app_cache.cache_horizon", "UPDATE ON TABLE app_cache.cache_horizon",
			"SELECT ON TABLE app_cache.cache_tables", "INSERT ON TABLE app_cache.cache_tables", "UPDATE ON TABLE app_cache.cache_tables",
		}},
		{"that installs", gqlcache.Install, []string{
			"CREATE ON SCHEMA app_cache", "USAGE ON SCHEMA app_cache",
			"TRIGGER ON TABLE characters", "TRIGGER ON TABLE friends", "TRIGGER ON TABLE reviews", "TRIGGER ON TABLE starships",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := testservers.Postgres(t)
			owner := sqlOpen(t, "pgx", address)
			role := newRole(t, owner)
			sqlExec(t, owner, starwars.Tables, "CREATE SCHEMA app_cache", "GRANT SELECT, UPDATE ON characters TO "+role)
			if c.migrate == gqlcache.Verify {
				g, err := gqlcache.Open(t.Context(), starwars.NewExecutableSchema(*starwarsOf(owner)), gqlcache.Options{Database: owner, Schema: "app_cache", Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
			}
			grant := func(verb, to, right string) { sqlExec(t, owner, verb+" "+right+to+role) }
			for _, right := range c.rights {
				grant("GRANT", " TO ", right)
			}
			db := sqlOpen(t, "pgx", as(t, address, role))
			log := &syncBuffer{}
			o := gqlcache.Options{Database: db, Schema: "app_cache", Migrate: c.migrate, Log: slog.New(slog.NewTextHandler(log, nil))}
			schema := starwars.NewExecutableSchema(*starwarsOf(db))
			for _, right := range c.rights {
				grant("REVOKE", " FROM ", right)
				before := catalogue(t, owner)
				g, err := gqlcache.Open(t.Context(), schema, o)
				if err == nil {
					_ = g.Close()
				}
				if want := "GRANT " + right; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("without %s: got error %v", right, err)
				}
				if after := catalogue(t, owner); after != before {
					t.Errorf("without %s: Open changed the catalogue to %s", right, after)
				}
				grant("GRANT", " TO ", right)
			}
			g, err := gqlcache.Open(t.Context(), schema, o)
			if err != nil {
				t.Fatal(err)
			}
			site := listen(t, g.Handler(newServer(schema, g)))
			s := trackerSite{t: t}
			request := func() (body string, hit bool) {
				body, header := post(t, site, `{character(id:"1000"){name}}`)
				return body, strings.Contains(header.Get("Cache-Status"), "hit")
			}
			hit := func() bool { _, hit := request(); return hit }
			s.eventually("nothing is cached", hit)
			for i, write := range []func(name string){
				func(name string) { post(t, site, fmt.Sprintf(`mutation{rename(id:"1000",name:%q){name}}`, name)) },
				func(name string) { sqlExec(t, db, "UPDATE characters SET name = '"+name+"' WHERE id = '1000'") },
				func(name string) { sqlExec(t, owner, "UPDATE characters SET name = '"+name+"' WHERE id = '1000'") },
			} {
				name := fmt.Sprintf("Name %d", i)
				write(name)
				s.eventually("a write evicts nothing", func() bool { body, _ := request(); return strings.Contains(body, name) })
				s.eventually("nothing is cached again", hit)
			}
			if err := g.Evict(t.Context(), cache.Eviction{Tags: []cache.Tag{cache.Rows("characters")}}); err != nil {
				t.Error(err)
			}
			if hit() {
				t.Error("Evict evicted nothing")
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if strings.Contains(log.String(), "permission denied") || strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("got errors in the log: %s", log)
			}
		})
	}
}
