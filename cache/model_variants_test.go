package cache_test

import (
	"slices"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

// variants are broken variants of the protocol, each with the world in which that shows.
var variants = map[string]struct {
	world string
	make  func(*rules)
}{
	"a fill does not check its token": {"fills during writes", func(r *rules) {
		r.fill = func(_, token string) bool { return token != "" }
	}},
	"keys are unlinked before fences": {"fills during writes", func(r *rules) {
		r.steps = []protocol.Step{protocol.UnlinkKeys, protocol.UnlinkFences, protocol.UnlinkGenerations}
	}},
	"generations are not evicted": {"a list during writes", func(r *rules) {
		r.steps = []protocol.Step{protocol.UnlinkFences, protocol.UnlinkKeys}
	}},
	"stamps and fences are taken after the read": {"fills during writes", func(r *rules) { r.late = true }},
	"no floors": {"an old dump", func(r *rules) {
		r.judge = func(s cache.Snapshot, k protocol.Known) protocol.Verdict {
			k.Floors = nil
			return protocol.Judge(s, k)
		}
	}},
	"only the floor of the key is checked": {"an old dump of a list", func(r *rules) {
		r.judge = func(s cache.Snapshot, k protocol.Known) protocol.Verdict {
			k.Floors = k.Floors[:1]
			return protocol.Judge(s, k)
		}
	}},
	"a floor is the newest write instead of all": {"commits out of order", func(r *rules) {
		r.raise = func(f protocol.Floor, xid uint64) protocol.Floor {
			for _, x := range f.Xids {
				xid = max(xid, x)
			}
			return protocol.Floor{Xids: []uint64{xid}}
		}
	}},
	"no horizon": {"a gateway that starts", func(r *rules) {
		r.judge = func(s cache.Snapshot, k protocol.Known) protocol.Verdict {
			k.Horizon = cache.Snapshot{}
			return protocol.Judge(s, k)
		}
	}},
	"the shared tier is used before the retained writes are read": {"a gateway that starts", func(r *rules) { r.trusts = true }},
	"the horizon is from before the retained writes were read": {"a gateway that starts", func(r *rules) {
		r.pruned = func(start, _ uint8) uint8 { return start }
	}},
	"a later page includes writes committed since the first": {"a poll in pages", func(r *rules) {
		r.until = func(_, now code) code { return now }
	}},
	"old loads are joined": {"fills during writes", func(r *rules) {
		r.join = func(_, _, _ bool) bool { return true }
	}},
	"a reader that trusts nothing joins a flight": {"two readers at another gateway", func(r *rules) {
		r.join = func(_, holds, reading bool) bool { return protocol.MayJoin(true, holds, reading) }
	}},
	"no lease": {"another gateway", func(r *rules) {
		r.trusted = func(time.Duration, time.Duration) bool { return true }
	}},
	"the lease counts from the end of a poll": {"another gateway", func(r *rules) {
		r.renewed = func(uint8) uint8 { return 0 }
	}},
	"pruned writes are not noticed": {"pruned writes", func(r *rules) {
		r.missed = func(_, _ cache.Snapshot) bool { return false }
	}},
	"a poll reads only ids above the last one": {"commits out of order", func(r *rules) {
		r.news = func(since cache.Snapshot, xid uint64) bool { return xid >= since.Xmax }
	}},
	"values of another epoch are judged only by their transaction numbers": {"a database that loses writes", func(r *rules) {
		r.judge = func(s cache.Snapshot, k protocol.Known) protocol.Verdict {
			s.Epoch, k.Horizon.Epoch = k.Epoch, k.Epoch
			return protocol.Judge(s, k)
		}
	}},
	"a load of another epoch is cached": {"an old primary that still responds", func(r *rules) {
		r.mayStore = func(cache.Snapshot, cache.Epoch) bool { return true }
	}},
	"another epoch counts as the same": {"a database that loses writes", func(r *rules) {
		r.another = func(_, _ uint8) bool { return false }
	}},
	"a poll continues with the numbers of another epoch": {"a database that loses writes", func(r *rules) {
		r.since = func(before, seen code) code { return before | seen }
	}},
	"known writes outlive their epoch": {"a database that loses writes", func(r *rules) {
		r.floors = func(before uint8) uint8 { return before }
	}},
	"a write of another epoch raises floors": {"a database that loses writes", func(r *rules) {
		r.ours = func(_, _ uint8) bool { return true }
	}},
	"a write of an epoch that is not polled does not end the lease": {"an old primary that still responds", func(r *rules) { r.loses = false }},
	"a poll from before a write of another epoch renews the lease": {"an old primary that still responds", func(r *rules) {
		r.renews = func(bool) bool { return true }
	}},
	"acknowledged at once without the shared tier": {"an eviction does not reach Redis", func(r *rules) {
		r.ack = func(bool, time.Duration, time.Duration) bool { return true }
	}},
}

// Each variant breaks a promise in its world. This shows that the search would find such a fault.
func TestModelFindsVariantsWanting(t *testing.T) {
	t.Parallel()
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sound()
			v.make(&r)
			w := worlds[slices.IndexFunc(worlds, func(w world) bool { return w.name == v.world })]
			states, violation := search(w, r)
			if violation == "" {
				t.Errorf("found no broken promise in %d states", states)
			}
			t.Logf("after %d states:\n  %s", states, violation)
		})
	}
}
