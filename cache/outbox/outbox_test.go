package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// box is an outbox with a table of things.
type box struct {
	*outbox.Outbox
	db       *bun.DB
	at       outbox.Place
	postgres bool
}

// things is the table whose writes are recorded. Its column hidden does not matter.
var things = outbox.Table{Name: "things", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"name"}}

// each runs a test on both databases.
func each(t *testing.T, test func(t *testing.T, b box)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, testservers.Postgres(t)))
	})
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, "sqlite://"+filepath.Join(t.TempDir(), "things.db")))
	})
}

func open(t testing.TB, url string) box {
	d, err := db.Open(t.Context(), db.Options{URL: url, BusyTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	o, err := outbox.New(d.Bun().DB, d.Outbox(), evictions)
	if err != nil {
		t.Fatal(err)
	}
	b := box{Outbox: o, db: d.Bun(), at: d.Outbox(), postgres: d.Postgres()}
	b.exec(t, "CREATE TABLE things (id bigint PRIMARY KEY, name text, hidden text)")
	if err := b.at.Install(t.Context(), b.db, []outbox.Table{things}); err != nil {
		t.Fatal(err)
	}
	return b
}

// evictions returns a key for each changed row, made of the row before, the row after, and the
// changed columns. A change without rows gets a tag.
func evictions(changes ...outbox.Change) (ev cache.Eviction) {
	for _, c := range changes {
		if c.Rows == nil {
			ev.Tags = append(ev.Tags, cache.Tag(c.Table+" "+string(c.Op)))
		}
		for _, r := range c.Rows {
			ev.Keys = append(ev.Keys, cache.Key(fmt.Sprint(r.Was["id"], r.Was["name"], ">", r.Is["id"], r.Is["name"], r.Changed)))
		}
	}
	return ev
}

func (b box) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := b.db.NewRaw("?", bun.Safe(statement)).Exec(t.Context()); err != nil {
		t.Fatalf("%.60s: %v", statement, err)
	}
}

// beginning is before every retained write.
var beginning = cache.SnapshotAfter(0)

func (b box) poll(t testing.TB, since cache.Snapshot) cache.News {
	t.Helper()
	news, err := b.Poll(t.Context(), cache.Page{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	return news
}

// what returns what the writes of a poll evict, sorted.
func what(news cache.News) string {
	var names []string
	for _, w := range news.Writes {
		for _, k := range w.Keys {
			names = append(names, string(k))
		}
		for _, g := range w.Tags {
			names = append(names, string(g))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func xids(news cache.News) (list []uint64) {
	for _, w := range news.Writes {
		list = append(list, w.Xid)
	}
	return list
}

func TestPollBringsEveryWriteOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		first := b.poll(t, beginning)
		if len(first.Writes) > 0 || first.Snapshot.IsZero() || !first.Horizon.IsZero() {
			t.Errorf("empty outbox: got %+v", first)
		}
		b.exec(t, "INSERT INTO things VALUES (1, 'a', NULL), (2, NULL, 'x')")
		b.exec(t, "UPDATE things SET hidden = 'y'") // no column that matters
		b.exec(t, "UPDATE things SET name = 'b', hidden = 'z' WHERE id = 1")
		second := b.poll(t, first.Snapshot)
		if got := what(second); got != "1a>1b[name] >1a[] >2[]" && got != ">1a[] >2[] 1a>1b[name]" {
			t.Errorf("got %s", got)
		}
		for _, w := range second.Writes {
			if first.Snapshot.Sees(w.Xid) || !second.Snapshot.Sees(w.Xid) || w.Done || w.Age < 0 || w.Age > time.Minute {
				t.Errorf("got %+v between %v and %v", w, first.Snapshot, second.Snapshot)
			}
		}
		if third := b.poll(t, second.Snapshot); len(third.Writes) > 0 || !third.Snapshot.Covers(second.Snapshot) {
			t.Errorf("second poll: got %+v, want no writes", third)
		}
		if all := b.poll(t, beginning); what(all) != what(second) {
			t.Errorf("from the beginning: got %s, want %s", what(all), what(second))
		}
	})
}

// Transactions may commit in another order than they began. A cursor on ids would miss the one that
// commits last.
func TestPollIsNoCursorOnIDs(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	begin := func(id int) bun.Tx {
		tx, err := b.db.BeginTx(t.Context(), nil)
		if err == nil {
			_, err = tx.NewRaw("INSERT INTO things (id, name) VALUES (?, 'x')", id).Exec(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx bun.Tx) {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := begin(1), begin(2), begin(3)
	commit(two)
	news := b.poll(t, beginning)
	if what(news) != ">2x[]" {
		t.Errorf("got %s, want the committed write", what(news))
	}
	four := begin(4)
	commit(one)
	commit(four)
	if news = b.poll(t, news.Snapshot); what(news) != ">1x[] >4x[]" {
		t.Errorf("got %s, want the writes committed since, in whatever order they began", what(news))
	}
	if err := three.Rollback(); err != nil {
		t.Fatal(err)
	}
	if news = b.poll(t, news.Snapshot); len(news.Writes) > 0 {
		t.Errorf("got %s, which was rolled back or polled before", what(news))
	}
}

// With many concurrent writers, each of two pollers gets every write exactly once.
func TestPollUnderLoad(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		const writers, rounds = 6, 25
		var writing, polling sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			polling.Go(func() {
				seen := map[string]int{}
				since := beginning
				for last := false; ; {
					news, err := b.Poll(context.WithoutCancel(t.Context()), cache.Page{Since: since})
					if err != nil {
						t.Error(err)
						return
					}
					since = news.Snapshot
					for _, w := range news.Writes {
						for _, k := range w.Keys {
							seen[string(k)]++
						}
					}
					if last {
						break
					}
					select {
					case <-stop:
						last = true
					default:
					}
				}
				if len(seen) != writers*rounds {
					t.Errorf("got %d writes, want %d", len(seen), writers*rounds)
				}
				for k, n := range seen {
					if n != 1 {
						t.Errorf("got %s %d times, want once", k, n)
					}
				}
			})
		}
		for w := range writers {
			writing.Go(func() {
				for r := range rounds {
					if _, err := b.db.NewRaw("INSERT INTO things (id, name) VALUES (?, 'x')", w*rounds+r).Exec(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writing.Wait()
		close(stop)
		polling.Wait()
	})
}

func TestRecord(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		ev := cache.Eviction{Keys: []cache.Key{"user:42"}, Tags: []cache.Tag{"{User}"}}
		before := b.poll(t, beginning)
		_, xid, err := b.Record(t.Context(), ev)
		if err != nil {
			t.Fatal(err)
		}
		news := b.poll(t, before.Snapshot)
		if len(news.Writes) != 1 || news.Writes[0].Xid != xid || fmt.Sprint(news.Writes[0].Eviction) != fmt.Sprint(ev) {
			t.Errorf("got %+v, want %d %+v", news.Writes, xid, ev)
		}
	})
}

func TestDone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		b.exec(t, "INSERT INTO things (id, name) VALUES (1, 'a')")
		b.exec(t, "INSERT INTO things (id, name) VALUES (2, 'b')")
		news := b.poll(t, beginning)
		first, second := news.Writes[0].Xid, news.Writes[1].Xid
		isDone := func(xid uint64) bool {
			done, err := b.IsDone(t.Context(), xid)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		if isDone(first) {
			t.Error("IsDone returns true before Done")
		}
		if err := errors.Join(b.Done(t.Context(), news.Snapshot.Epoch, nil), b.Done(t.Context(), news.Snapshot.Epoch, []uint64{first, 1 << 62})); err != nil {
			t.Fatal(err)
		}
		if !isDone(first) || isDone(second) {
			t.Errorf("IsDone returns %v, %v; want true for the first only", isDone(first), isDone(second))
		}
		news = b.poll(t, beginning)
		if !news.Writes[0].Done || news.Writes[1].Done {
			t.Errorf("got %+v, want only the first done", news.Writes)
		}
	})
}

// PostgreSQL's statistics count Done as one statement, however many writes are done: else each number
// of writes would take one of the few thousand entries of pg_stat_statements.
func TestDoneIsOneStatement(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	b.exec(t, "CREATE EXTENSION pg_stat_statements")
	epoch := b.poll(t, beginning).Snapshot.Epoch
	for _, n := range []int{1, 2, 20} {
		list := make([]uint64, n)
		for i := range list {
			list[i] = uint64(1<<62 + i)
		}
		if err := b.Done(t.Context(), epoch, list); err != nil {
			t.Fatal(err)
		}
	}
	var entries, calls int
	row := b.db.QueryRowContext(t.Context(), `SELECT count(*), sum(calls) FROM pg_stat_statements
		WHERE query LIKE 'UPDATE%cache_outbox%done_at =%' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if err := row.Scan(&entries, &calls); err != nil {
		t.Fatal(err)
	}
	if entries != 1 || calls != 3 {
		t.Errorf("got %d statements and %d calls, want 1 and 3", entries, calls)
	}
}

func TestRelay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		ctx := t.Context()
		b.exec(t, "INSERT INTO things (id, name) VALUES (1, 'a')")
		never := func(context.Context, cache.Eviction) error {
			t.Error("evict was called although there was nothing to relay")
			return nil
		}
		if r, err := b.Relay(ctx, cache.Piece{Age: time.Hour, Rows: 10}, never); r.Rows != 0 || err != nil {
			t.Errorf("young rows: got %+v, error %v", r, err)
		}
		boom := errors.New("boom")
		r, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(context.Context, cache.Eviction) error { return boom })
		if !errors.Is(err, boom) || r.Rows != 1 || r.First == 0 {
			t.Errorf("failed eviction: got %+v, error %v", r, err)
		}
		if r, err := b.Relay(ctx, cache.Piece{Rows: 10, Except: []int64{r.First, 1 << 40}}, never); r.Rows != 0 || err != nil {
			t.Errorf("excepted rows: got %+v, error %v", r, err)
		}
		var relayed cache.Eviction
		r, err = b.Relay(ctx, cache.Piece{Rows: 10}, func(_ context.Context, ev cache.Eviction) error { relayed = ev; return nil })
		if r.Rows != 1 || r.Writes != 1 || err != nil || len(relayed.Keys) != 1 || relayed.Keys[0] != ">1a[]" {
			t.Errorf("relayed %+v, error %v: %v", r, err, relayed)
		}
		if r, err := b.Relay(ctx, cache.Piece{Rows: 10}, never); r.Rows != 0 || err != nil {
			t.Errorf("done rows: got %+v, error %v", r, err)
		}
		if done, err := b.IsDone(ctx, xids(b.poll(t, beginning))[0]); !done || err != nil {
			t.Errorf("IsDone returns %v, error %v", done, err)
		}
		for i := range 25 {
			b.exec(t, fmt.Sprintf("INSERT INTO things (id, name) VALUES (%d, 'a')", 10+i))
		}
		if backlog, err := b.Backlog(ctx); backlog.Rows != 25 || backlog.Oldest <= 0 || err != nil {
			t.Errorf("got backlog %+v, error %v; want 25 rows", backlog, err)
		}
		names := map[cache.Key]int{}
		for pieces := 1; ; pieces++ {
			r, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(_ context.Context, ev cache.Eviction) error {
				for _, k := range ev.Keys {
					names[k]++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Rows < 10 {
				if len(names) != 25 || pieces != 3 || names[">10a[]"] != 1 {
					t.Errorf("relayed %v in %d pieces, want 25 names in 3 pieces", names, pieces)
				}
				break
			}
		}
		b.exec(t, "INSERT INTO things (id, name) VALUES (100, 'a')")
		_, err = b.Relay(ctx, cache.Piece{Rows: 1, ByTable: true}, func(_ context.Context, ev cache.Eviction) error { relayed = ev; return nil })
		if err != nil || fmt.Sprint(relayed.Keys, relayed.Tags) != "[] [things TRUNCATE]" {
			t.Errorf("relayed by table: got %v, error %v", relayed, err)
		}
		if backlog, err := b.Backlog(ctx); backlog != (cache.Backlog{}) || err != nil {
			t.Errorf("got backlog %+v, error %v; want none", backlog, err)
		}
	})
}

// While one gateway relays a write, another gateway skips it.
func TestRelayByTwo(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	ctx := t.Context()
	b.exec(t, "INSERT INTO things (id, name) VALUES (1, 'a')")
	_, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(context.Context, cache.Eviction) error {
		b.exec(t, "INSERT INTO things (id, name) VALUES (2, 'b')")
		r, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(_ context.Context, ev cache.Eviction) error {
			if len(ev.Keys) != 1 || ev.Keys[0] != ">2b[]" {
				t.Errorf("the other gateway relays %v, want thing 2", ev)
			}
			return nil
		})
		if r.Rows != 1 {
			t.Errorf("the other gateway relayed %d rows, want 1", r.Rows)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if backlog, err := b.Backlog(ctx); backlog.Rows != 0 || err != nil {
		t.Errorf("got %d rows that are not done, error %v", backlog.Rows, err)
	}
}

// An error names what was attempted, and wraps its cause.
func TestErrors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, poll := b.Poll(ctx, cache.Page{})
		_, _, record := b.Record(ctx, cache.Eviction{})
		_, isDone := b.IsDone(ctx, 1)
		_, relay := b.Relay(ctx, cache.Piece{}, nil)
		_, backlog := b.Backlog(ctx)
		_, prune := b.Prune(ctx, 0, false)
		for name, err := range map[string]error{
			"poll": poll, "record": record, "check whether": isDone, "relay": relay,
			"mark as done": b.Done(ctx, "", []uint64{1}), "prune": prune, "count the backlog": backlog,
		} {
			if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "outbox: ") || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: got error %v", name, err)
			}
		}
	})
}
