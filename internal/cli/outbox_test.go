package cli

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	gqltransport "github.com/99designs/gqlgen/graphql/handler/transport"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

// A project's migration tool can run what `outbox sql` prints. Then a Gateway that may not change
// the database opens, writes evict, and the output of --down removes everything again.
func TestCommandOutbox(t *testing.T) {
	t.Parallel()
	// Also declare rows for a field without a resolver, which otherwise only the project's Go types
	// would reveal.
	text, err := os.ReadFile("../shapes/starwars/schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	const plain, declares = "  mass: Float\n", "  mass: Float @cacheControl(maxAge: 5) @cacheRows(table: \"notes\", match: \"id = {$parent.id}\", columns: [\"body\"])\n"
	if !strings.Contains(string(text), plain) {
		t.Fatalf("%q is not in the schema", plain)
	}
	text = []byte(strings.Replace(string(text), plain, declares, 1))
	schema := filepath.Join(t.TempDir(), "schema.graphqls")
	if err := os.WriteFile(schema, text, 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := gqlparser.LoadSchema(&ast.Source{Name: schema, Input: string(text)}, &ast.Source{Input: gqlcache.Directives})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "the app's.db")
	for _, c := range []struct {
		name, driver string
		url          func(testing.TB) string
		flags        []string
		in           string
		watch        bool
	}{
		{name: "PostgreSQL", driver: "pgx", url: testservers.Postgres},
		{name: "PostgreSQL, in a schema", driver: "pgx", url: testservers.Postgres, flags: []string{"--in", "app_cache"}, in: "app_cache"},
		{name: "PostgreSQL, watched", driver: "pgx", url: testservers.Postgres, flags: []string{"--watch", "--table", "others"}, watch: true},
		{name: "SQLite", driver: "sqlite", url: func(testing.TB) string {
			return "file:" + file + "?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)"
		},
			flags: []string{"--dialect", "sqlite", "--database-url", "sqlite://" + file}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open(c.driver, c.url(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			execute := func(text string) {
				t.Helper()
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err, tx.Rollback())
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			printed := func(args ...string) string {
				t.Helper()
				text, _ := finish(t, nil, 0, append(append([]string{"outbox", "sql"}, c.flags...), args...)...)
				return text
			}
			execute(starwars.Tables)
			execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text, other text)")
			execute("CREATE TABLE others (id bigint PRIMARY KEY, body text)")
			before := everything(t, db, c.driver)
			for range 2 {
				execute(printed("--schema", schema))
			}
			resolvers := starwars.NewExecutableSchema(starwars.Config{Schema: parsed, Resolvers: &starwars.Resolver{DB: db}})
			var log bytes.Buffer
			o := gqlcache.Options{Database: db, Schema: c.in, Migrate: gqlcache.Verify, Log: slog.New(slog.NewTextHandler(&log, nil))}
			if c.watch {
				o.Watch = new(cache.Watch)
			}
			installed := everything(t, db, c.driver)
			g, err := gqlcache.Open(t.Context(), resolvers, o)
			if err != nil {
				t.Fatal(err)
			}
			if after := everything(t, db, c.driver); after != installed {
				t.Errorf("Open changed the database from %s to %s", installed, after)
			}
			srv := handler.New(resolvers)
			srv.AddTransport(gqltransport.POST{})
			srv.Use(g)
			site := httptest.NewServer(g.Handler(srv))
			defer site.Close()
			const query = `{character(id:"1000"){name}}`
			until(t, "the response is not cached", func() bool {
				_, status := post(t, site.URL, query)
				return strings.Contains(status, "hit")
			})
			execute("UPDATE characters SET name = 'Wormie' WHERE id = '1000'")
			until(t, "a write by SQL evicts nothing", func() bool {
				body, _ := post(t, site.URL, query)
				return strings.Contains(body, "Wormie")
			})
			// A Gateway that installs has nothing to do either.
			o.Migrate, o.Watch = gqlcache.Install, nil
			if !c.watch {
				again, err := gqlcache.Open(t.Context(), resolvers, o)
				if err != nil {
					t.Fatal(err)
				}
				if after := everything(t, db, c.driver); after != installed {
					t.Errorf("Open with Install made %s, want %s", after, installed)
				}
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			execute(printed("--down"))
			if after := strings.TrimSpace(strings.TrimSuffix(everything(t, db, c.driver), c.in)); after != before {
				t.Errorf("after --down got %s, want %s as before", after, before)
			}
		})
	}
}

// everything lists the objects of a database: relations, triggers with their definitions, functions
// and schemas.
func everything(t *testing.T, db *sql.DB, driver string) (list string) {
	t.Helper()
	statement := "SELECT group_concat(name || coalesce(sql, ''), '\n' ORDER BY name) FROM sqlite_schema WHERE name <> 'sqlite_sequence'"
	if driver == "pgx" {
		statement = `SELECT concat_ws(E'\n',
			(SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY 1) FROM (SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
				WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY c.oid::regclass::text) AS c),
			(SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ' ' ORDER BY pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal),
			(SELECT string_agg(pg_get_functiondef(p.oid), ' ') FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')),
			(SELECT string_agg(nspname, ' ' ORDER BY nspname = 'public' DESC, nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'))`
	}
	if err := db.QueryRowContext(t.Context(), statement).Scan(&list); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(list)
}

// post sends a query, and returns the body and Cache-Status.
func post(t *testing.T, url, query string) (body, status string) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer), r.Header.Get("Cache-Status")
}

// until polls until is returns true.
func until(t *testing.T, fault string, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-t.Context().Done():
			t.Fatal(fault)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestCommandOutboxRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bare := write("bare.graphqls", "type Query { a: Int @cacheControl(maxAge: 1) }")
	good := write("good.graphqls", `extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", import: ["@key"])
		type Query { things: [Thing!]! @cacheControl(maxAge: 1) @goField(forceResolver: true) }
		type Thing @key(fields: "name", resolvable: false) @cacheRows(table: "things") @goModel(model: "x.Thing") { name(a: Int @length(max: 3)): ID! @goTag(key: "a") }
		enum Colour { RED @goEnum(value: "x.Red") }`)
	bad := write("bad.graphqls", `type Query { a: Int @cacheControl(maxAge: -1) b: Int @cacheControl(maxAge: 1) @cacheRows(table: "t", match: "id") }`)
	broken := write("broken.graphqls", "type {")
	empty := write("empty.db", "")
	for _, c := range []struct {
		name string
		args []string
		exit int
		want string
	}{
		{"no word", nil, 2, "requires one argument: sql"},
		{"another word", []string{"table"}, 2, "sql"},
		{"no file", []string{"sql"}, 2, "--schema schema.graphqls"},
		{"a file that is not there", []string{"sql", "none.graphqls"}, 1, "none.graphqls: no such file"},
		{"no GraphQL", []string{"sql", broken}, 1, "broken.graphqls"},
		{"directives that contradict", []string{"sql", bad}, 1, "maxAge"},
		{"nothing declared", []string{"sql", bare}, 1, "nothing to record"},
		{"unknown dialect", []string{"sql", good, "--dialect", "mysql"}, 2, "postgres or sqlite"},
		{"a schema of SQLite", []string{"sql", good, "--dialect", "sqlite", "--in", "x"}, 2, "SQLite has no schemas"},
		{"SQLite without a file", []string{"sql", good, "--dialect", "sqlite", "--database-url", "sqlite://" + dir + "/none.db"}, 1, "must be a file with the tables"},
		{"SQLite by a PostgreSQL database", []string{"sql", good, "--dialect", "sqlite", "--database-url", "postgres://x/y"}, 2, "sqlite://path"},
		{"SQLite without the tables", []string{"sql", good, "--dialect", "sqlite", "--database-url", "sqlite://" + empty}, 1, `no table "things"`},
		{"tables without watching", []string{"sql", good, "--table", "x"}, 2, "OUTBOX_WATCH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if stdout, stderr := finish(t, nil, c.exit, append([]string{"outbox"}, c.args...)...); stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("got stdout %q and stderr %q, want %q in stderr", stdout, stderr, c.want)
			}
		})
	}
	// Directives of other tools need no definition, and several files make one schema.
	more := write("more.graphqls", `extend type Thing { more: Int @cacheControl(maxAge: 1) @cacheRows(table: "others", match: "thing = {$parent.name}") }`)
	text, _ := finish(t, nil, 0, "outbox", "sql", good, "--schema", more)
	if !strings.Contains(text, "'things'") || !strings.Contains(text, "'others'") {
		t.Errorf("printed %s, want the triggers of things and others", text)
	}
}
