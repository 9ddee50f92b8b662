package gqlcache_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	graphgophers "github.com/graph-gophers/dataloader/v7"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/vikstrous/dataloadgen"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/pgxwatch"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// observer is a project whose field motto declares no rows and is resolved by the test, with a
// Gateway that observes its statements.
type observer struct {
	*trackerSite
	config  *pgx.ConnConfig
	watch   *cache.Watch
	watched *sql.DB // the database of its resolvers
	url     string
	reads   atomic.Int64 // calls of the resolver
}

const observedTables = `
	CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL, other int NOT NULL DEFAULT 0);
	CREATE TABLE others (id int PRIMARY KEY, body text NOT NULL);
	INSERT INTO notes (id, body) VALUES (1, 'one'), (2, 'two');
	INSERT INTO others (id, body) VALUES (1, 'un'), (2, 'deux');
	CREATE VIEW seen AS SELECT id, body FROM notes WHERE id > 0;
	CREATE VIEW twice AS SELECT s.id, s.body || s.body AS body FROM seen AS s;`

func observe(t *testing.T, url string, motto func(context.Context, *observer) (string, error), change func(*gqlcache.Options), behind ...func(*observer, http.Handler) http.Handler) *observer {
	t.Helper()
	o := &observer{trackerSite: &trackerSite{t: t, log: &syncBuffer{}}, watch: new(cache.Watch)}
	t.Cleanup(o.close)
	var err error
	if o.config, err = pgx.ParseConfig(url); err != nil {
		t.Fatal(err)
	}
	o.db = stdlib.OpenDB(*o.config)
	o.config.Tracer = pgxwatch.New(o.watch)
	o.watched = stdlib.OpenDB(*o.config)
	o.closing(o.db.Close)
	o.closing(o.watched.Close)
	if !o.has("notes") {
		o.exec(observedTables)
		o.exec(tracker.Tables)
	}
	o.tables = &tracker.Resolver{DB: o.watched}
	resolvers := root{o.tables, func(ctx context.Context) (*string, error) {
		o.reads.Add(1)
		text, err := motto(ctx, o)
		return &text, err
	}}
	options := gqlcache.Options{Database: o.db, Viewer: tracker.ViewerOf, Watch: o.watch, Log: slog.New(slog.NewTextHandler(o.log, nil))}
	if change != nil {
		change(&options)
	}
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: resolvers})
	gateway, err := gqlcache.Open(t.Context(), schema, gqlcache.Patient(options))
	if err != nil {
		t.Fatal(err)
	}
	o.closing(gateway.Close)
	var server http.Handler = newServer(schema, gateway)
	for _, b := range behind {
		server = b(o, server)
	}
	o.url = listen(t, gateway.Handler(server))
	return o
}

func (o *observer) has(table string) bool {
	var n int
	return o.db.QueryRowContext(o.t.Context(), "SELECT count(*) FROM "+table).Scan(&n) == nil
}

func (o *observer) motto() string {
	body, _ := post(o.t, o.url, `{motto}`)
	return body
}

// stored waits until motto is served from the cache.
func (o *observer) stored() {
	o.t.Helper()
	o.eventually("the value is not cached", func() bool {
		before := o.reads.Load()
		o.motto()
		return o.reads.Load() == before
	})
}

// read returns the values of a statement with one column, separated by spaces.
func read(ctx context.Context, db *sql.DB, statement string, args ...any) (string, error) {
	rows, err := db.QueryContext(ctx, statement, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			return "", err
		}
		all = append(all, s.String)
	}
	return strings.Join(all, " "), rows.Err()
}

// The Gateway asks the database which tables a field reads. Every write to one of them evicts the
// field, whoever makes it. Writes to other tables do not.
func TestObservedStatements(t *testing.T) {
	for name, tt := range map[string]struct {
		setup     string
		statement string
		args      []any
		write     string // must evict
		beside    string // must not evict
	}{
		"a table":               {statement: `SELECT body FROM notes WHERE id = 1`, write: `UPDATE notes SET body = 'new' WHERE id = 1`, beside: `UPDATE others SET body = 'x'`},
		"a parameter":           {statement: `SELECT body FROM notes WHERE id = $1`, args: []any{1}, write: `UPDATE notes SET body = 'new' WHERE id = 1`},
		"a comment that varies": {statement: `SELECT body FROM notes WHERE id = 1 /* trace %d */`, write: `UPDATE notes SET body = 'new' WHERE id = 1`},
		"a view of a view":      {statement: `SELECT body FROM twice WHERE id = 1`, write: `UPDATE notes SET body = 'new' WHERE id = 1`, beside: `UPDATE others SET body = 'x'`},
		"a join":                {statement: `SELECT n.body || o.body FROM notes AS n JOIN others AS o USING (id) WHERE id = 2`, write: `UPDATE others SET body = 'new' WHERE id = 2`},
		"a common table":        {statement: `WITH o AS (SELECT id FROM others WHERE body = 'un') SELECT n.body FROM notes AS n WHERE n.id IN (SELECT id FROM o)`, write: `UPDATE others SET body = 'un' WHERE id = 2`},
		"an empty one":          {statement: `SELECT body FROM notes WHERE id = 7`, write: `INSERT INTO notes VALUES (7, 'seven')`},
		"TRUNCATE":              {statement: `SELECT count(*)::text FROM notes`, write: `TRUNCATE notes`},
		"a partitioned table": {setup: `CREATE TABLE logs (id int, day int, body text, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
			CREATE TABLE logs_1 PARTITION OF logs FOR VALUES IN (1); CREATE TABLE logs_2 PARTITION OF logs FOR VALUES IN (2); INSERT INTO logs VALUES (1, 2, 'a')`,
			statement: `SELECT body FROM logs WHERE id = 1 AND day = 2`, write: `UPDATE logs_2 SET body = 'b'`},
		"a partition by its name": {setup: `CREATE TABLE logs (id int, day int, body text, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
			CREATE TABLE logs_1 PARTITION OF logs FOR VALUES IN (1); INSERT INTO logs VALUES (1, 1, 'a')`,
			statement: `SELECT body FROM logs_1 WHERE id = 1`, write: `UPDATE logs SET body = 'b' WHERE day = 1`},
		"one that inherits": {setup: `CREATE TABLE more (extra int, PRIMARY KEY (id)) INHERITS (notes)`, statement: `SELECT body FROM notes ORDER BY id`, write: `INSERT INTO more (id, body) VALUES (9, 'nine')`},
		"a function that is compiled": {setup: `CREATE FUNCTION first_note() RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT body FROM notes WHERE id = 1; END`,
			statement: `SELECT first_note()`, write: `UPDATE notes SET body = 'new' WHERE id = 1`},
		"after settings":      {statement: `SET LOCAL work_mem = '1MB'; SELECT body FROM notes WHERE id = 1`, write: `UPDATE notes SET body = 'new' WHERE id = 1`},
		"RETURNING of a lock": {statement: `SELECT body FROM notes WHERE id = 1 FOR SHARE`, write: `UPDATE notes SET body = 'new' WHERE id = 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			o := observe(t, testservers.Postgres(t), func(ctx context.Context, o *observer) (string, error) {
				statement := tt.statement
				if strings.Contains(statement, "%d") {
					n++
					statement = fmt.Sprintf(statement, n)
				}
				set, rest, sets := strings.Cut(statement, "; ")
				if !sets {
					return read(ctx, o.watched, statement, tt.args...)
				}
				tx, err := o.watched.BeginTx(ctx, nil)
				if err != nil {
					return "", err
				}
				defer func() { _ = tx.Rollback() }()
				if _, err := tx.ExecContext(ctx, set); err != nil {
					return "", err
				}
				var body string
				err = tx.QueryRowContext(ctx, rest).Scan(&body)
				return body, err
			}, nil)
			if tt.setup != "" {
				o.exec(tt.setup)
			}
			o.stored()
			before, reads := o.motto(), o.reads.Load()
			if tt.beside != "" {
				o.exec(tt.beside)
				o.stored()
			}
			o.exec(tt.write)
			o.eventually("the write does not evict", func() bool { return o.motto() != before })
			if o.reads.Load() == reads {
				t.Error("the resolver was not called after the write")
			}
			o.stored()
		})
	}
}

// A field whose dependencies cannot be determined is not cached, and the log says why.
func TestUnobservable(t *testing.T) {
	for name, tt := range map[string]struct{ setup, statement, why string }{
		"a function that is not compiled": {`CREATE FUNCTION hidden() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT body FROM notes WHERE id = 1); END'`, `SELECT hidden()`, "function hidden"},
		"a materialized view":             {`CREATE MATERIALIZED VIEW old AS SELECT body FROM notes`, `SELECT body FROM old`, "materialized view old"},
		"a table without a key":           {`CREATE TABLE keyless (body text); INSERT INTO keyless VALUES ('a')`, `SELECT body FROM keyless`, "no primary key"},
		"a table of another schema":       {`CREATE SCHEMA far; CREATE TABLE far.things (id int PRIMARY KEY); INSERT INTO far.things VALUES (1)`, `SELECT id::text FROM far.things`, "not in the search path"},
		"a name in two schemas":           {`CREATE SCHEMA tenant; CREATE TABLE tenant.notes (id int PRIMARY KEY)`, `SELECT body FROM notes WHERE id = 1`, "several schemas"},
		"row security":                    {`ALTER TABLE notes ENABLE ROW LEVEL SECURITY`, `SELECT body FROM notes WHERE id = 1`, "row security"},
		"the system's tables":             {``, `SELECT relname::text FROM pg_class WHERE relname = 'notes'`, "system tables"},
		"several at once":                 {``, `SELECT 'a'; SELECT body FROM notes WHERE id = 1`, "several statements"},
		"a query in an argument":          {``, `SELECT word FROM ts_stat('SELECT to_tsvector(body) FROM notes') ORDER BY word`, "system tables"},
		"a large object":                  {`CREATE TABLE files (id int PRIMARY KEY, content oid); INSERT INTO files VALUES (1, lo_from_bytea(0, 'a'))`, `SELECT convert_from(lo_get(content), 'utf8') FROM files`, "system tables"},
		"the outbox itself":               {``, `SELECT count(*)::text FROM cache_outbox`, "the outbox"},
		"a setting":                       {``, `SHOW work_mem`, "cannot tell which tables a statement reads"},
		"a temporary table":               {``, `CREATE TEMPORARY TABLE IF NOT EXISTS notes (body text); SELECT body FROM notes`, "temporary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testservers.Postgres(t)
			o := observe(t, url, func(ctx context.Context, o *observer) (string, error) {
				if strings.Contains(tt.statement, ";") { // only the simple protocol accepts several statements
					conn, err := pgx.ConnectConfig(ctx, o.config)
					if err != nil {
						return "", err
					}
					defer conn.Close(ctx)
					_, err = conn.Exec(ctx, tt.statement, pgx.QueryExecModeSimpleProtocol)
					return "several", err
				}
				return read(ctx, o.watched, tt.statement)
			}, nil)
			if tt.setup != "" {
				o.exec(tt.setup)
			}
			for range 5 {
				before := o.reads.Load()
				if body := o.motto(); strings.Contains(body, "errors") {
					t.Fatal(body)
				}
				if o.reads.Load() == before {
					t.Fatal("the value was cached")
				}
			}
			o.exec(`UPDATE notes SET other = other + 1`) // no attempt to cache the value blocks this write
			if !strings.Contains(o.log.String(), tt.why) {
				t.Errorf("want %q in the log, got %s", tt.why, o.log)
			}
		})
	}
}

// However and for whomever a loader reads, every write to a table that it read evicts.
func TestObservedLoaders(t *testing.T) {
	t.Parallel()
	all := func(ctx context.Context, o *observer, ids []int) ([]string, []error) {
		texts := make([]string, len(ids))
		for i, id := range ids {
			var err error
			if texts[i], err = read(ctx, o.watched, `SELECT body FROM notes WHERE id = $1`, id); err != nil {
				return nil, []error{err}
			}
		}
		return texts, nil
	}
	for name, load := range map[string]func(o *observer) func(context.Context) (string, error){
		"under another context": func(o *observer) func(context.Context) (string, error) {
			return func(context.Context) (string, error) {
				return read(context.Background(), o.watched, `SELECT body FROM notes WHERE id = 1`)
			}
		},
		"dataloadgen, shared by all requests": func(o *observer) func(context.Context) (string, error) {
			loader := dataloadgen.NewLoader(func(ctx context.Context, ids []int) ([]string, []error) { return all(ctx, o, ids) }, dataloadgen.WithoutCache())
			return func(ctx context.Context) (string, error) { return loader.Load(ctx, 1) }
		},
		"graph-gophers, with a context of its own": func(o *observer) func(context.Context) (string, error) {
			loader := graphgophers.NewBatchedLoader(func(_ context.Context, ids []int) []*graphgophers.Result[string] {
				texts, errs := all(context.Background(), o, ids)
				results := make([]*graphgophers.Result[string], len(ids))
				for i := range ids {
					results[i] = &graphgophers.Result[string]{}
					if errs != nil {
						results[i].Error = errs[0]
					} else {
						results[i].Data = texts[i]
					}
				}
				return results
			}, graphgophers.WithCache[int, string](&graphgophers.NoCache[int, string]{}))
			return func(ctx context.Context) (string, error) { return loader.Load(ctx, 1)() }
		},
		"pgx without database/sql, in a batch": func(o *observer) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				conn, err := pgx.ConnectConfig(ctx, o.config)
				if err != nil {
					return "", err
				}
				defer conn.Close(context.WithoutCancel(ctx))
				batch := &pgx.Batch{}
				batch.Queue(`SELECT 'x'`)
				batch.Queue(`SELECT body FROM notes WHERE id = @id`, pgx.NamedArgs{"id": 1})
				results := conn.SendBatch(ctx, batch)
				if _, err := results.Exec(); err != nil {
					return "", err
				}
				var text string
				err = results.QueryRow().Scan(&text)
				return text, err
			}
		},
		"prepared by name": func(o *observer) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				statement, err := o.watched.PrepareContext(ctx, `SELECT body FROM notes WHERE id = $1`)
				if err != nil {
					return "", err
				}
				defer statement.Close()
				var text string
				err = statement.QueryRowContext(ctx, 1).Scan(&text)
				return text, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			var read func(context.Context) (string, error)
			o := observe(t, testservers.Postgres(t), func(ctx context.Context, o *observer) (string, error) {
				once.Do(func() { read = load(o) })
				return read(ctx)
			}, nil)
			o.stored()
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 25 {
				want := fmt.Sprintf("note %d", i)
				o.exec(`UPDATE notes SET body = $1 WHERE id = 1`, want)
				o.eventually("a write does not evict", func() bool {
					var wg sync.WaitGroup
					var old atomic.Int64
					for range 1 + random.IntN(4) {
						wg.Go(func() {
							if !strings.Contains(o.motto(), want) {
								old.Add(1)
							}
						})
					}
					wg.Wait()
					return old.Load() == 0
				})
				if i%5 == 0 {
					o.stored()
				}
			}
		})
	}
}

// A value that a loader remembers for its request may be older than a write that was evicted before
// the field began. It is not cached.
func TestObservedRowsAreAsOldAsTheRequest(t *testing.T) {
	type titleKey struct{}
	var write atomic.Bool
	o := observe(t, testservers.Postgres(t), func(ctx context.Context, _ *observer) (string, error) {
		return ctx.Value(titleKey{}).(string), nil
	}, nil, func(o *observer, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			title, err := read(r.Context(), o.watched, `SELECT title FROM issues WHERE id = $1`, bug)
			if err != nil {
				t.Error(err)
			}
			if write.CompareAndSwap(true, false) { // the write is evicted before the mutation returns
				post(t, o.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:"written"){id}}`, bug))
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), titleKey{}, title)))
		})
	})
	o.seed()
	o.stored()
	for range 5 {
		o.exec(`UPDATE issues SET title = 'before' WHERE id = $1`, bug)
		o.eventually("the write does not evict", func() bool { return strings.Contains(o.motto(), "before") })
		o.exec(`UPDATE issues SET title = 'read' WHERE id = $1`, bug) // so that the next request is a miss
		write.Store(true)
		o.eventually("the read is not a miss", func() bool { o.motto(); return !write.Load() })
		if body := o.motto(); !strings.Contains(body, "written") {
			t.Fatalf("after the mutation: got %s", body)
		}
	}
}

// If nothing may be installed, a value read from a table without triggers is not cached.
func TestObservedInstallsNothing(t *testing.T) {
	url := testservers.Postgres(t)
	motto := func(ctx context.Context, o *observer) (string, error) {
		return read(ctx, o.watched, `SELECT body FROM notes WHERE id = 1`)
	}
	t.Run("Verify", func(t *testing.T) {
		first := observe(t, url, func(context.Context, *observer) (string, error) { return "", nil }, nil)
		first.close() // it installed the outbox, and never read notes
		o := observe(t, url, motto, func(o *gqlcache.Options) { o.Migrate = gqlcache.Verify })
		for range 3 {
			before := o.reads.Load()
			o.motto()
			if o.reads.Load() == before {
				t.Fatal("the value was cached")
			}
		}
		if !strings.Contains(o.log.String(), "creating them is not permitted") {
			t.Error(o.log)
		}
	})
	t.Run("after another process", func(t *testing.T) {
		o := observe(t, url, motto, nil)
		o.stored()
		o.close()
		next := observe(t, url, motto, func(o *gqlcache.Options) { o.Migrate = gqlcache.Verify })
		next.stored()
		before := next.motto()
		next.exec(`UPDATE notes SET body = 'by psql'`)
		next.eventually("the write does not evict", func() bool { return next.motto() != before })
	})
}
