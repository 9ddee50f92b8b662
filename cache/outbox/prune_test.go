package outbox_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/internal/testservers"
)

func (b box) prune(t testing.TB, keep time.Duration, onlyDone bool) {
	t.Helper()
	if err := b.Prune(t.Context(), keep, onlyDone); err != nil {
		t.Fatal(err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		b.exec(t, "INSERT INTO things (id, name) VALUES (1, 'a')")
		b.exec(t, "INSERT INTO things (id, name) VALUES (2, 'b')")
		before := b.poll(t, cache.Snapshot{})
		b.prune(t, time.Hour, false)
		if news := b.poll(t, cache.Snapshot{}); what(news) != what(before) || !news.Horizon.IsZero() {
			t.Errorf("what is young was pruned: %+v", news)
		}
		b.prune(t, 0, true)
		if news := b.poll(t, cache.Snapshot{}); what(news) != what(before) || !news.Horizon.IsZero() {
			t.Errorf("what is not done was pruned: %+v", news)
		}
		first, second := before.Writes[0].Xid, before.Writes[1].Xid
		if err := b.Done(t.Context(), []uint64{second}); err != nil {
			t.Fatal(err)
		}
		b.prune(t, 0, true)
		news := b.poll(t, cache.Snapshot{})
		if len(news.Writes) != 1 || news.Writes[0].Xid != first || !news.Horizon.Sees(second) {
			t.Errorf("only the second is done, left is %+v", news)
		}
		b.prune(t, 0, false)
		last := b.poll(t, cache.Snapshot{})
		if len(last.Writes) > 0 || !last.Horizon.Sees(first) || !last.Horizon.Covers(news.Horizon) {
			t.Errorf("left is %+v", last)
		}
		if !last.Snapshot.Covers(before.Snapshot) || !last.Snapshot.Covers(last.Horizon) {
			t.Errorf("pruning set the snapshot back: from %v to %v", before.Snapshot, last.Snapshot)
		}
	})
}

// A transaction that was under way while others were pruned is no part of what the horizon saw.
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
	quick := b.poll(t, cache.Snapshot{}).Writes[0].Xid
	b.prune(t, 0, false)
	news := b.poll(t, cache.Snapshot{})
	if len(news.Writes) > 0 || quick < xid || news.Horizon.Sees(xid) || !news.Horizon.Sees(quick) {
		t.Errorf("under way is %d, pruned %d, the horizon %v", xid, quick, news.Horizon)
	}
	if !news.Snapshot.Covers(news.Horizon) {
		t.Errorf("the snapshot %v does not cover the horizon %v", news.Snapshot, news.Horizon)
	}
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	if after := b.poll(t, news.Snapshot); what(after) != ">1slow[]" {
		t.Errorf("polled %s", what(after))
	}
	b.prune(t, 0, false)
	if after := b.poll(t, news.Snapshot); !after.Horizon.Sees(xid) || !after.Horizon.Covers(news.Horizon) {
		t.Errorf("the horizon is %v after %v", after.Horizon, news.Horizon)
	}
}

// All rows of a transaction go together, however many gateways prune.
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
			seen = append(seen, xids(b.poll(t, cache.Snapshot{}))...)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { b.prune(t, 0, false) })
			}
			wg.Wait()
			news := b.poll(t, cache.Snapshot{})
			if len(news.Writes) > 0 {
				t.Errorf("left is %s", what(news))
			}
			for _, x := range seen {
				if !news.Horizon.Sees(x) {
					t.Errorf("%d was pruned, the horizon is %v", x, news.Horizon)
				}
			}
		}
	})
}
