package cache_test

import (
	"context"
	"testing"
	"time"

	"fieldcache/cache"
)

// recordedElsewhere is an outbox that records evictions in another database than it polls.
type recordedElsewhere struct {
	cache.Outbox
	epoch cache.Epoch
	xid   uint64
}

func (o *recordedElsewhere) Record(context.Context, cache.Eviction) (cache.Epoch, uint64, error) {
	return o.epoch, o.xid, nil
}

// A soft eviction may have been recorded in a database that failed over since. A write of the new one
// that has the same number is not taken for it.
func TestSoftEvictionsOfAnotherEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.epoch = "new"
		d.seed("user:1", "old")
		elsewhere := &recordedElsewhere{epoch: "old", xid: d.next}
		p := begin(t, d, nil, func(o *cache.Options) { elsewhere.Outbox, o.Outbox = o.Outbox, elsewhere })
		p.reads(t, "user:1", "old", cache.SourceTier)
		if _, err := p.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{"user:1"}, Soft: true}); err != nil {
			t.Fatal(err)
		}
		if w := d.run(set("user:1", "new")); w.Xid != elsewhere.xid {
			t.Fatalf("the write has the number %d, want %d", w.Xid, elsewhere.xid)
		}
		time.Sleep(time.Second)
		p.reads(t, "user:1", "new", cache.SourceTier)
	})
}
