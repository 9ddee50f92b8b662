package db

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"
)

// TestRowBeforeAWaitingUpdate makes an update wait for another write of its row. The old row that
// it returns is the one that the other write made, not the one from when the update began.
func TestRowBeforeAWaitingUpdate(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	for name, index := range map[string]string{"by the index": "on", "by a scan of the table": "off"} {
		if _, err := d.Bun().NewRaw("UPDATE products SET category = 'tea' WHERE id = 1").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		other, err := d.Bun().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.NewRaw("UPDATE products SET category = 'herbs' WHERE id = 1").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		var commit Commit
		done := make(chan error)
		go func() {
			var err error
			commit, err = d.change(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.NewRaw("SELECT set_config(s, ?, true) FROM unnest('{enable_indexscan,enable_bitmapscan}'::text[]) AS s", index).Exec(ctx); err != nil {
					return err
				}
				args := d.argumentsIn(tx)
				var row returned
				err := d.updateOf(tx, args, (*ProductRow)(nil), 1).Set("category = ?", args.add("spices")).
					Returning("?", d.returning("UPDATE")).Conn(args.conn()).Scan(ctx, &row)
				if err != nil {
					return err
				}
				changes, err := row.change("products", "UPDATE")
				if err == nil && (changes[0].Rows[0].Was["category"] != "herbs" || changes[0].Rows[0].Is["category"] != "spices") {
					t.Errorf("%s: got the row %v before and %v after; want herbs, then spices", name, changes[0].Rows[0].Was, changes[0].Rows[0].Is)
				}
				return err
			})
			done <- err
		}()
		for waits := false; !waits && !t.Failed(); time.Sleep(time.Millisecond) {
			err := d.Bun().NewRaw("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(t.Context(), &waits)
			fail(t, "look whether it waits", err)
		}
		if err := other.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if r := commit.Changes[0].Rows[0]; r.Was["category"] != "herbs" || r.Is["category"] != "spices" {
			t.Errorf("%s: the commit has %v before and %v after; want herbs, then spices", name, r.Was, r.Is)
		}
	}
}
