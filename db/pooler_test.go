package db

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"fieldcache/internal/testservers"
)

// TestFault14Pooler uses PgBouncer with its defaults, which refuse or ignore a startup parameter:
// with few server sessions, which others share, and in both modes that allow transactions.
func TestFault14Pooler(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"transaction mode":                 {"pool_mode=transaction"},
		"transaction mode, two sessions":   {"pool_mode=transaction", "default_pool_size=2"},
		"transaction mode, ignores it all": {"pool_mode=transaction", "ignore_startup_parameters=statement_timeout"},
		"session mode":                     {"pool_mode=session"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testservers.Postgres(t)
			d := openTest(t, testservers.PgBouncer(t, server, settings...).URL())
			fillShop(t, d) // also migrates, which needs session features
			if err := d.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
			want := []any{2, 2, 5, 5, int64(1), 1, 1, 2, int64(7), "a '$1' ? bio", "Bo", "stock"}
			check(t, all(t, d), want)
			want[2], want[3] = 7, 7
			var readers sync.WaitGroup
			for range 16 { // more than there are sessions
				readers.Go(func() {
					for range 20 {
						if _, _, err := d.ProductsByID(t.Context(), []int64{1, 2}, ProductColumns{Product: true}); err != nil {
							t.Error(err)
						}
						if _, err := d.SetStock(t.Context(), 1, 7); err != nil {
							t.Error(err)
						}
					}
				})
			}
			readers.Wait()
			check(t, all(t, d), want)
			if n := must(countPrepared(t, d))(t); n != 0 {
				t.Errorf("%d statements are prepared in a session that others get next, want 0", n)
			}
			if name == "session mode" {
				return
			}
			var timeout string
			if err := d.Bun().NewRaw("SHOW statement_timeout").Scan(t.Context(), &timeout); err != nil || timeout != "0" {
				t.Errorf("other clients' sessions have the statement_timeout %s, %v; want 0", timeout, err)
			}
			err := d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				return tx.NewRaw("SHOW statement_timeout").Scan(ctx, &timeout)
			})
			if err != nil || timeout != "30s" {
				t.Errorf("in a transaction statement_timeout is %s (%v), want 30s", timeout, err)
			}
		})
	}
}

// A mode without transactions is reported when the database is opened.
func TestFault14StatementMode(t *testing.T) {
	t.Parallel()
	url := testservers.PgBouncer(t, testservers.Postgres(t), "pool_mode=statement").URL()
	d, err := Open(t.Context(), Options{URL: url})
	if err == nil {
		_ = d.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "pool_mode = transaction") {
		t.Errorf("Open returned %v, want the mode in it", err)
	}
}

// A gateway that was started without a pooler keeps working when one replaces the server.
func TestFault14PoolerComesLater(t *testing.T) {
	t.Parallel()
	server := testservers.Postgres(t)
	bouncer := testservers.PgBouncer(t, server, "pool_mode=transaction", "default_pool_size=2")
	proxy := testservers.NewProxy(t, server)
	d := openTest(t, proxy.URL())
	fillShop(t, d)
	all(t, d)
	if n := must(countPrepared(t, d))(t); n == 0 {
		t.Error("no statements are prepared without a pooler")
	}
	proxy.Redirect(t, bouncer.URL())
	for range 3 {
		if _, err := d.SetStock(t.Context(), 1, 5); err != nil {
			t.Fatal(err)
		}
		all(t, d)
	}
	// The statement that opened the first connection was already sent as a prepared one.
	if n := must(countPrepared(t, d))(t); n > 1 {
		t.Errorf("%d statements are prepared behind the pooler, want at most 1", n)
	}
}
