package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// testDB is an empty database of one test.
type testDB struct {
	*DB
	url string
}

// each runs a test on every kind of database.
func each(t *testing.T, test func(t *testing.T, d testDB)) {
	t.Helper()
	t.Run("sqlite file", func(t *testing.T) {
		t.Parallel()
		test(t, openTest(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db")))
	})
	t.Run("sqlite memory", func(t *testing.T) {
		t.Parallel()
		test(t, openTest(t, "sqlite::memory:"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, openPostgresTest(t))
	})
}

func openPostgresTest(t *testing.T) testDB {
	t.Helper()
	return openTest(t, testservers.Postgres(t))
}

func openTest(t *testing.T, url string) testDB {
	t.Helper()
	d := must(Open(t.Context(), Options{URL: url, Rows: cachedRows, BusyTimeout: 30 * time.Second}))(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return testDB{DB: d, url: url}
}

// must fails the test if the call returned an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func execute(t *testing.T, d testDB, statements string) {
	t.Helper()
	if _, err := d.Bun().NewRaw("?", bun.Safe(statements)).Exec(t.Context()); err != nil {
		t.Fatalf("%.60s: %v", statements, err)
	}
}

func count(t *testing.T, d testDB, table string) int64 {
	t.Helper()
	return must(d.Bun().NewSelect().Table(table).Count(t.Context()))(t)
}

func databaseName(ctx context.Context, d testDB) (name string, err error) {
	err = d.Bun().NewRaw("SELECT current_database()").Scan(ctx, &name)
	return name, err
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options Options
		want    string
	}{
		{"other scheme", Options{URL: "mysql://me:geheim@host/db"}, "mysql:… has an unknown scheme; allowed are postgres://user:password@host:port/database, sqlite://path (a file) and sqlite::memory:"},
		{"no scheme", Options{URL: "geheim"}, "allowed are postgres://"},
		{"sqlite without slashes", Options{URL: "sqlite:geheim.db"}, "the form for SQLite is sqlite::memory: or sqlite://path/of/file.db"},
		{"sqlite without path", Options{URL: "sqlite://"}, "the form for SQLite is sqlite::memory: or sqlite://path/of/file.db"},
		{"sqlite with options", Options{URL: "sqlite://a.db?_pragma=geheim"}, "without options"},
		{"sqlite folder missing", Options{URL: "sqlite:///nowhere/at/all/shop.db"}, `the folder "/nowhere/at/all" for "shop.db" does not exist`},
		{"password with a slash", Options{URL: "postgres://me:ge/heim@host/db"}, "percent-encode"},
		{"password like a port", Options{URL: "postgres://me:geheim"}, "percent-encode"},
		{"bad ssl mode", Options{URL: "postgres://me:geheim@host/db?sslmode=geheim"}, "sslmode"},
		{"bad connect timeout", Options{URL: "postgres://me:geheim@host/db?connect_timeout=soon"}, "soon"},
		{"server down", Options{URL: "postgres://me:geheim@127.0.0.1:1/db"}, "open PostgreSQL database db on 127.0.0.1:1"},
		{"negative pool", Options{URL: "sqlite::memory:", MaxOpenConns: -1, MaxIdleConns: -2}, "MaxOpenConns is -1; it must be at least 1"},
		{"negative time", Options{URL: "sqlite::memory:", ConnMaxLifetime: -1, BusyTimeout: -1}, "BusyTimeout is -1ns; it must be positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, err := Open(t.Context(), c.options)
			if err == nil {
				t.Fatalf("opened %v", errors.Join(d.Close()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
			if c.name != "bad ssl mode" && (strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "heim@")) {
				t.Errorf("the error reveals the password: %q", err)
			}
		})
	}
}

func TestOpenDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	d := must(Open(t.Context(), Options{}))(t)
	if err := d.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if d.String() != "SQLite file fieldcache.db" || d.Postgres() {
		t.Errorf("opened %v", d)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if files := must(filepath.Glob("*"))(t); !slices.Equal(files, []string{"fieldcache.db"}) {
		t.Errorf("files after Close: %v", files)
	}
	if err := d.Ping(t.Context()); err == nil {
		t.Error("Ping of a closed database returned no error")
	}
}

// Paths are not parsed as URLs beyond percent-decoding.
func TestOpenSQLitePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want []string
	for _, name := range []string{"100%25.db", "a&b=c;d.db", "plain.db", "with space.db", "ünïcode.db"} {
		execute(t, openTest(t, "sqlite://"+filepath.Join(dir, name)), "CREATE TABLE t (n int)")
		want = append(want, filepath.Join(dir, strings.ReplaceAll(name, "%25", "%")))
	}
	if files := must(filepath.Glob(filepath.Join(dir, "*.db")))(t); !slices.Equal(files, want) {
		t.Errorf("got the files %q, want %q", files, want)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	show := func(t *testing.T, d testDB, setting string) (value string) {
		t.Helper()
		query := "PRAGMA ?"
		if d.Postgres() {
			query = "SHOW ?"
		}
		if err := d.Bun().NewRaw(query, bun.Safe(setting)).Scan(t.Context(), &value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := testservers.Postgres(t)
		sep := "?"
		if strings.Contains(url, "?") {
			sep = "&"
		}
		for _, c := range []struct{ query, setting, want string }{
			{"", "standard_conforming_strings", "on"},
			{"", "timezone", "UTC"},
			{"", "statement_timeout", "30s"},
			{"", "application_name", "fieldcache"},
			{"standard_conforming_strings=off", "standard_conforming_strings", "on"},
			{"client_encoding=LATIN1", "client_encoding", "UTF8"},
			{"TimeZone=Europe/Oslo", "timezone", "Europe/Oslo"},
			{"statement_timeout=1234", "statement_timeout", "1234ms"},
			{"options=-c%20statement_timeout%3D77", "statement_timeout", "77ms"},
			{"application_name=shop", "application_name", "shop"},
		} {
			if got := show(t, openTest(t, url+sep+c.query), c.setting); got != c.want {
				t.Errorf("with %q: %s is %s, want %s", c.query, c.setting, got, c.want)
			}
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		file := openTest(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db"))
		for setting, want := range map[string]string{"journal_mode": "wal", "foreign_keys": "1", "recursive_triggers": "1", "synchronous": "1", "busy_timeout": "30000"} {
			if got := show(t, file, setting); got != want {
				t.Errorf("%s is %s, want %s", setting, got, want)
			}
		}
		memory := openTest(t, "sqlite::memory:")
		if got := show(t, memory, "foreign_keys"); got != "1" {
			t.Errorf("in memory foreign_keys is %s, want 1", got)
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	for _, url := range []string{testservers.Postgres(t), "sqlite://" + filepath.Join(t.TempDir(), "shop.db"), "sqlite::memory:"} {
		d := must(Open(t.Context(), Options{URL: url, MaxOpenConns: 2}))(t)
		a, b := must(d.Bun().Conn(t.Context()))(t), must(d.Bun().Conn(t.Context()))(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := d.Bun().Conn(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: a third connection: got %v, want a timeout", d, err)
		}
		cancel()
		if err := errors.Join(a.Close(), b.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Each open of a memory database makes a new one, and all its connections see the same data.
func TestMemoryIsOnePerOpen(t *testing.T) {
	t.Parallel()
	one, two := openTest(t, "sqlite::memory:"), openTest(t, "sqlite::memory:")
	execute(t, one, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
	a, b := must(one.Bun().Conn(t.Context()))(t), must(one.Bun().Conn(t.Context()))(t)
	for _, conn := range []bun.Conn{a, b} {
		var n int
		if err := conn.QueryRowContext(t.Context(), "SELECT n FROM t").Scan(&n); err != nil || n != 1 {
			t.Errorf("got %d, %v", n, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := two.Bun().ExecContext(t.Context(), "SELECT n FROM t"); err == nil {
		t.Error("the other database has the table too")
	}
}

func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		const writers, rounds = 8, 25
		execute(t, d, "CREATE TABLE t (n int); INSERT INTO t VALUES (0)")
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					err := d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
						if _, err := tx.NewRaw("UPDATE t SET n = n + 1").Exec(ctx); err != nil {
							return err
						}
						return tx.NewRaw("SELECT n FROM t").Scan(ctx, new(int))
					})
					if err != nil {
						t.Errorf("write: %v", err)
						return
					}
				}
			})
			wg.Go(func() {
				for range rounds {
					if err := d.Bun().NewRaw("SELECT n FROM t").Scan(t.Context(), new(int)); err != nil {
						t.Errorf("read: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		var n int
		if err := d.Bun().NewRaw("SELECT n FROM t").Scan(t.Context(), &n); err != nil || n != writers*rounds {
			t.Errorf("got %d, %v; want %d", n, err, writers*rounds)
		}
	})
}

func TestTimesRoundTrip(t *testing.T) {
	t.Parallel()
	oslo := time.FixedZone("", 2*60*60)
	times := []time.Time{ // in ascending order
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC),
		time.Date(2025, 1, 2, 3, 4, 5, 1000, time.UTC),
		time.Date(2025, 1, 2, 3, 4, 5, 50_000_000, time.UTC),
		time.Date(2025, 1, 2, 3, 4, 5, 500_000_000, time.UTC),
		time.Date(2025, 1, 2, 5, 4, 5, 600_000_000, oslo),
		time.Date(2025, 1, 2, 5, 4, 6, 0, oslo),
	}
	each(t, func(t *testing.T, d testDB) {
		must(d.MigrateUp(t.Context()))(t)
		for i, at := range slices.Backward(times) {
			u := &User{Name: "Liv", Email: fmt.Sprint(i), CreatedAt: Time{Time: at}, UpdatedAt: Time{Time: at}}
			must(d.Bun().NewInsert().Model(u).Exec(t.Context()))(t)
		}
		var users []User
		if err := d.Bun().NewSelect().Model(&users).Order("created_at").Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, u := range users {
			if want := times[i].UTC().Truncate(time.Microsecond); u.CreatedAt.Time != want {
				t.Errorf("got %v, want %v", u.CreatedAt, want)
			}
		}
		start := time.Now().Add(-time.Minute)
		execute(t, d, "INSERT INTO users (name, email) VALUES ('Now', 'now@shop.example')")
		var now User
		if err := d.Bun().NewSelect().Model(&now).Where("name = 'Now'").Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now.CreatedAt.Before(start) || now.CreatedAt.After(start.Add(2*time.Minute)) || now.CreatedAt.Location() != time.UTC {
			t.Errorf("got %v for the database's own time", now.CreatedAt)
		}
	})
}

// Ids of deleted rows are never reused: a cache or a client may still hold them.
func TestIDsAreNotReused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		must(d.MigrateUp(t.Context()))(t)
		for want := range int64(3) {
			u := &User{Name: "Liv", Email: "liv@shop.example", CreatedAt: Time{Time: time.Now()}, UpdatedAt: Time{Time: time.Now()}}
			must(d.Bun().NewInsert().Model(u).Exec(t.Context()))(t)
			if u.ID != want+1 {
				t.Errorf("got id %d, want %d", u.ID, want+1)
			}
			must(d.Bun().NewDelete().Model(u).WherePK().Exec(t.Context()))(t)
		}
	})
}

func TestLowerKnowsAllLetters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		var got sql.NullString
		if err := d.Bun().NewRaw("SELECT lower(?)", "ÅSE MÜLLER ЖУК").Scan(t.Context(), &got); err != nil || got.String != "åse müller жук" {
			t.Errorf("lower: got %q, %v", got.String, err)
		}
		if err := d.Bun().NewRaw("SELECT lower(NULL)").Scan(t.Context(), &got); err != nil || got.Valid {
			t.Errorf("lower(NULL): got %v, %v", got, err)
		}
	})
}

// Arguments are written into the text of the statement: nothing in them may end the literal.
func TestArgumentsStayText(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		for _, text := range []string{`'`, `''; DROP TABLE users; --`, `\`, `\'; SELECT 1; --`, `a ? b ?0`, `$1`, "line\nbreak", `"`, `:x`, `{id}`} {
			var got string
			if err := d.Bun().NewRaw("SELECT ?", text).Scan(t.Context(), &got); err != nil || got != text {
				t.Errorf("%q: got %q, %v", text, got, err)
			}
		}
	})
}

// A separate pool does not wait for connections that others hold.
func TestAside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		aside := must(d.Aside(ctx, 2))(t)
		if d.Postgres() {
			for range d.options.MaxOpenConns {
				conn := must(d.Bun().DB.Conn(ctx))(t)
				defer conn.Close()
			}
			if n := aside.Bun().Stats().MaxOpenConnections; n != 2 {
				t.Errorf("the pool allows %d connections, want 2", n)
			}
		}
		if err := aside.Ping(ctx); err != nil {
			t.Error(err)
		}
		if err := aside.Close(); err != nil {
			t.Error(err)
		}
		if !d.Postgres() {
			if err := d.Ping(ctx); err != nil {
				t.Errorf("after the separate pool was closed: %v", err)
			}
		}
	})
}

type recorder struct {
	mu         sync.Mutex
	statements []string
}

func (*recorder) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (r *recorder) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, e.Query)
}

// Tests count statements with a hook on one of two handles.
func TestHooksSeeEveryStatement(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		r := new(recorder)
		hooked := testDB{DB: d.WithQueryHook(r)}
		execute(t, hooked, "SELECT 1")
		err := hooked.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw("SELECT ?", 2).Exec(ctx)
			return err
		})
		execute(t, d, "SELECT 3")
		if want := []string{"SELECT 1", "BEGIN", "SELECT 2", "COMMIT"}; err != nil || !slices.Equal(r.statements, want) {
			t.Errorf("got %q, %v; want %q", r.statements, err, want)
		}
	})
}
