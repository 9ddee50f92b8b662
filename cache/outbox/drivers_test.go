package outbox_test

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

// with returns a URL with one more parameter.
func with(t testing.TB, text, name, value string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func opened(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%.60s: %v", s, err)
		}
	}
}

// The outbox works in the same way with every driver, and however the driver sends statements.
func TestAnyDriver(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) (driver, dsn string){
		"pgx, prepared": func(t testing.TB) (string, string) { return "pgx", testservers.Postgres(t) },
		"pgx, simple protocol": func(t testing.TB) (string, string) {
			return "pgx", with(t, testservers.Postgres(t), "default_query_exec_mode", "simple_protocol")
		},
		"pgx, backslashes escape": func(t testing.TB) (string, string) {
			return "pgx", with(t, testservers.Postgres(t), "standard_conforming_strings", "off")
		},
		"lib/pq": func(t testing.TB) (string, string) { return "postgres", testservers.Postgres(t) },
		"SQLite, modernc": func(t testing.TB) (string, string) {
			return "sqlite", "file:" + filepath.Join(t.TempDir(), "things.db") + "?_pragma=busy_timeout(10000)"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driver, dsn := open(t)
			throughout(t, opened(t, driver, dsn), "")
		})
	}
}

// throughout uses everything that an outbox does.
func throughout(t *testing.T, db *sql.DB, schema string) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at, err := outbox.Find(ctx, db, schema)
	must(err)
	execute(t, db, "CREATE TABLE things (id bigint PRIMARY KEY, name text, hidden text)")
	tables := []outbox.Table{things}
	tx, err := db.BeginTx(ctx, nil)
	must(err)
	must(at.Install(ctx, tx, tables))
	must(tx.Commit())
	if left, err := at.Diff(ctx, db, tables); err != nil || len(left) > 0 {
		t.Errorf("after the installation: got differences %v, error %v", left, err)
	}
	o, err := outbox.New(db, at, evictions)
	must(err)
	start, err := o.Poll(ctx, cache.Page{})
	must(err)
	execute(t, db, "INSERT INTO things VALUES (1, 'a', NULL)", "UPDATE things SET name = 'b' WHERE id = 1")
	odd := cache.Eviction{Keys: []cache.Key{`it's "\ ?0 $1`}, Tags: []cache.Tag{"ü"}}
	epoch, xid, err := o.Record(ctx, odd)
	must(err)
	news, err := o.Poll(ctx, cache.Page{Since: start.Snapshot})
	must(err)
	if got := what(news); !strings.Contains(got, ">1a[]") || !strings.Contains(got, "1a>1b[name]") {
		t.Errorf("got %s", got)
	}
	last := news.Writes[len(news.Writes)-1]
	if last.Xid != xid || news.Snapshot.Epoch != epoch || !reflect.DeepEqual(last.Eviction, odd) {
		t.Errorf("recorded as %d in epoch %s, polled %+v", xid, epoch, last)
	}
	page, err := o.Poll(ctx, cache.Page{Until: news.Snapshot, Detail: cache.ByName})
	must(err)
	if len(page.Sum.Keys) != 3 || !page.Sum.Undone {
		t.Errorf("got sum %+v of the page by name", page.Sum)
	}
	must(o.Done(ctx, epoch, []uint64{xid}))
	if done, err := o.IsDone(ctx, xid); err != nil || !done {
		t.Errorf("IsDone returns %v, error %v", done, err)
	}
	if b, err := o.Backlog(ctx); err != nil || b.Rows != 2 {
		t.Errorf("got backlog %+v, error %v; want 2 rows", b, err)
	}
	r, err := o.Relay(ctx, cache.Piece{Rows: 10}, func(context.Context, cache.Eviction) error { return nil })
	if err != nil || r.Rows != 2 {
		t.Errorf("relayed %+v, error %v; want 2 rows", r, err)
	}
	_, err = o.Prune(ctx, 0, true)
	must(err)
	if news, err = o.Poll(ctx, cache.Page{Since: start.Snapshot}); err != nil || len(news.Writes) > 0 || !news.Horizon.Sees(xid) {
		t.Errorf("after pruning: got %+v, error %v", news, err)
	}
	must(outbox.NewWatch(db, at, tables, nil).Look(ctx))
	_, err = o.Database(ctx)
	must(err)
	if tx, err = db.BeginTx(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if removed, left, err := at.Remove(ctx, tx); err != nil || !removed || len(left) > 0 {
		t.Errorf("got removed %v, left %v, error %v", removed, left, err)
	}
	must(tx.Commit())
	execute(t, db, "INSERT INTO things VALUES (2, 'a', NULL)")
}
