package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// Prune implements [cache.Outbox]. Of two that prune at the same time one waits for the other.
func (o *Outbox) Prune(ctx context.Context, keep time.Duration, onlyDone bool) error {
	// Behind the first transaction, by number, that is to be kept nothing is deleted: so the index is read
	// up to there and the rest of the table not at all. All rows of a transaction are equally old.
	remove := "DELETE FROM cache_outbox AS o WHERE o.?number < coalesce(" +
		"(SELECT ?number FROM cache_outbox AS o WHERE ?age < ?0 ORDER BY ?number LIMIT 1), ?next)"
	if onlyDone {
		remove += " AND NOT EXISTS (SELECT 1 FROM cache_outbox AS u WHERE u.?number = o.?number AND u.done_at IS NULL)"
	}
	err := o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewRaw("INSERT INTO cache_horizon (one, snapshot) VALUES (true, ?) ON CONFLICT (one) DO NOTHING", cache.Snapshot{}.String()).Exec(ctx)
		if err != nil {
			return err
		}
		var before string
		if err := o.raw(tx, "SELECT o.snapshot FROM cache_horizon AS o ?lock").Scan(ctx, &before); err != nil {
			return err
		}
		horizon, err := cache.ParseSnapshot(before)
		if err != nil {
			return err
		}
		var gone []struct {
			Xid  uint64
			Seen string
		}
		if err := o.raw(tx, remove+" RETURNING CAST(?number AS text) AS xid, ?seen AS seen", keep.Seconds()).Scan(ctx, &gone); err != nil {
			return err
		}
		if len(gone) == 0 {
			return nil
		}
		during, err := cache.ParseSnapshot(gone[0].Seen)
		if err != nil {
			return err
		}
		newest := uint64(0)
		for _, g := range gone {
			newest = max(newest, g.Xid)
		}
		horizon = union(horizon, upTo(newest, during))
		_, err = tx.NewRaw("UPDATE cache_horizon SET snapshot = ?", horizon.String()).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("outbox: prune: %w", err)
	}
	return nil
}

// upTo is the snapshot that saw what s saw of the transactions up to and including xid, one that s saw.
func upTo(xid uint64, s cache.Snapshot) cache.Snapshot {
	i, _ := slices.BinarySearch(s.Xip, xid)
	return snapshot(xid+1, s.Xip[:i])
}

// union is the smallest snapshot that saw what a saw and what b saw.
func union(a, b cache.Snapshot) cache.Snapshot {
	var underWay []uint64
	for _, x := range slices.Concat(a.Xip, b.Xip) {
		if !a.Sees(x) && !b.Sees(x) {
			underWay = append(underWay, x)
		}
	}
	slices.Sort(underWay)
	return snapshot(max(a.Xmax, b.Xmax), slices.Compact(underWay))
}

// snapshot is the one that saw everything below xmax but those under way, which are in ascending order.
func snapshot(xmax uint64, underWay []uint64) cache.Snapshot {
	s := cache.Snapshot{Xmin: xmax, Xmax: xmax, Xip: underWay}
	if len(underWay) > 0 {
		s.Xmin = underWay[0]
	}
	return s
}
