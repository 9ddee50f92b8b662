package outbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/internal/testservers"
)

func (b box) prune(t testing.TB, keep time.Duration, onlyDone bool) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = b.Prune(t.Context(), keep, onlyDone); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		b.exec(t, "INSERT INTO things (id, name) VALUES (1, 'a')")
		b.exec(t, "INSERT INTO things (id, name) VALUES (2, 'b')")
		before := b.poll(t, beginning)
		b.prune(t, time.Hour, false)
		if news := b.poll(t, beginning); what(news) != what(before) || !news.Horizon.IsZero() {
			t.Errorf("young rows were pruned: got %+v", news)
		}
		first, second := before.Writes[0].Xid, before.Writes[1].Xid
		if err := b.Done(t.Context(), before.Snapshot.Epoch, []uint64{first}); err != nil {
			t.Fatal(err)
		}
		b.prune(t, 0, false)
		last := b.poll(t, beginning)
		if len(last.Writes) > 0 || !last.Horizon.Sees(first) || !last.Horizon.Sees(second) {
			t.Errorf("got %+v, want everything pruned", last)
		}
		if !last.Snapshot.Covers(before.Snapshot) || !last.Snapshot.Covers(last.Horizon) {
			t.Errorf("pruning moved the snapshot back, from %v to %v", before.Snapshot, last.Snapshot)
		}
	})
}

// Rows that no gateway relayed do not accumulate, and neither do manual evictions. Pruning replaces
// them by a row that evicts their table, or every table.
func TestFault27PruneWhatIsNotDone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		ctx := t.Context()
		for range 2 {
			for range 3 {
				if _, _, err := b.Record(ctx, cache.Eviction{Keys: []cache.Key{"by hand"}}); err != nil {
					t.Fatal(err)
				}
			}
			b.exec(t, "INSERT INTO things (id, name) SELECT coalesce(max(id), 0) + 1, 'a' FROM things")
			b.exec(t, "INSERT INTO things (id, name) SELECT max(id) + 1, 'b' FROM things")
			before := b.poll(t, beginning)
			newest := before.Writes[len(before.Writes)-1].Xid
			b.prune(t, 0, true)
			news := b.poll(t, beginning)
			if what(news) != "" || !news.Horizon.Sees(newest) {
				t.Errorf("got %+v, want nothing left", news)
			}
			// A gateway that has polled the writes gets no more news of them.
			if news = b.poll(t, before.Snapshot); what(news) != "" {
				t.Errorf("got news %+v, want none", news)
			}
		}
		if backlog, err := b.Backlog(ctx); backlog.Rows != 2 || err != nil {
			t.Errorf("got backlog %+v, error %v; want 2 rows", backlog, err)
		}
		var relayed cache.Eviction
		r, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(_ context.Context, ev cache.Eviction) error { relayed = ev; return nil })
		if r.Rows != 2 || err != nil || fmt.Sprint(relayed.Keys, relayed.Tags) != "[] [things TRUNCATE things TRUNCATE]" {
			t.Errorf("relayed %+v, error %v: %v", r, err, relayed)
		}
		b.prune(t, 0, true)
		if news := b.poll(t, beginning); len(news.Writes) > 0 {
			t.Errorf("got %+v, want nothing left", news)
		}
	})
}

// The horizon does not see a transaction that was in progress while others were pruned.
func TestTheHorizonKnowsWhoWasUnderWay(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	slow, err := b.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var xid uint64
	if err := slow.NewRaw("INSERT INTO things (id, name) VALUES (1, 'slow') RETURNING pg_current_xact_id()::text").Scan(t.Context(), &xid); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "INSERT INTO things (id, name) VALUES (2, 'quick')")
	quick := b.poll(t, beginning).Writes[0].Xid
	b.prune(t, 0, false)
	news := b.poll(t, beginning)
	if len(news.Writes) > 0 || quick < xid || news.Horizon.Sees(xid) || !news.Horizon.Sees(quick) {
		t.Errorf("%d is in progress, %d was pruned, got horizon %v", xid, quick, news.Horizon)
	}
	if !news.Snapshot.Covers(news.Horizon) {
		t.Errorf("the snapshot %v does not cover the horizon %v", news.Snapshot, news.Horizon)
	}
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	if after := b.poll(t, news.Snapshot); what(after) != ">1slow[]" {
		t.Errorf("got %s, want >1slow[]", what(after))
	}
	b.prune(t, 0, false)
	if after := b.poll(t, news.Snapshot); !after.Horizon.Sees(xid) || !after.Horizon.Covers(news.Horizon) {
		t.Errorf("got horizon %v after %v", after.Horizon, news.Horizon)
	}
}

// All rows of a transaction are pruned together, however many gateways prune.
func TestPruneByMany(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		var seen []uint64
		for range 5 {
			err := b.db.RunInTx(t.Context(), nil, func(_ context.Context, tx bun.Tx) error {
				for range 3 {
					if _, err := tx.NewRaw("INSERT INTO things (id, name) SELECT coalesce(max(id), 0) + 1, 'a' FROM things").Exec(t.Context()); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, xids(b.poll(t, beginning))...)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { b.prune(t, 0, false) })
			}
			wg.Wait()
			news := b.poll(t, beginning)
			if len(news.Writes) > 0 {
				t.Errorf("got %s, want nothing left", what(news))
			}
			for _, x := range seen {
				if !news.Horizon.Sees(x) {
					t.Errorf("%d was pruned, got horizon %v", x, news.Horizon)
				}
			}
		}
	})
}
