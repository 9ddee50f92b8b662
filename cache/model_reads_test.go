package cache_test

import (
	"fmt"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

var beginsAt = [gateways]string{"begins at gateway 0: reader", "begins at gateway 1: reader"}

// read adds the steps of a reader and of the load that it began.
func (w world) read(s state, r rules, l uint8, add adder) {
	me := s.load[l]
	g := me.at
	switch me.phase {
	case resting:
		for _, g := range w.at {
			add(beginsAt[g], l, func(n *state) string { return w.begin(n, r, l, g) })
		}
	case started:
		if !s.trusted(g, r) { // a gateway without a lease skips the shared tier
			add("does not trust the shared tier: reader", l, func(n *state) string { n.load[l].phase = missing; return "" })
			return
		}
		add("asks the shared tier: reader", l, func(n *state) string {
			n.load[l].phase, n.load[l].reading = answered, true
			if n.holds() {
				n.load[l].got = n.redis.entry
			}
			return ""
		})
	case answered:
		add("judges: reader", l, func(n *state) string {
			me := &n.load[l]
			if !me.got.there || w.judge(n.gw[g], me.got, n.trusted(g, r), r) != protocol.Serve {
				me.phase, me.got = missing, value{}
				return ""
			}
			if me.holds {
				n.gw[g].memory = me.got.version + 1
			}
			return n.land(l, me.got.version, cache.SharedTier)
		})
	case missing:
		add("takes the fence: reader", l, func(n *state) string {
			n.load[l].phase = began
			if !r.late {
				n.takeFence(l)
			}
			return ""
		})
	case began:
		add("reads the source: reader", l, func(n *state) string {
			me := &n.load[l]
			me.phase, me.reading = loaded, true
			me.got = value{there: true, version: n.version, seen: n.code(), epoch: n.epoch}
			return ""
		})
		if w.primary && s.epoch == 1 {
			add("reads an old database: reader", l, func(n *state) string {
				me := &n.load[l]
				me.phase, me.reading = loaded, true
				me.got = value{there: true, version: n.lost}
				for i, t := range n.tx {
					if t.version > 0 && t.epoch == 0 {
						me.got.seen |= 1 << bit(i, 0)
					}
				}
				return ""
			})
		}
	case loaded:
		add("fills the tiers: reader", l, func(n *state) string {
			me := &n.load[l]
			if r.late {
				me.holds = true
				n.takeFence(l)
			}
			storable := r.mayStore(me.got.seen.in(me.got.epoch), epochs[n.gw[g].epoch])
			if me.holds && storable {
				n.gw[g].memory = me.got.version + 1
			}
			return n.fill(l, r, storable)
		})
	}
}

// begin is the first step of a read: memory serves it, or it joins a load in flight, or it begins
// one.
func (w world) begin(n *state, r rules, l, g uint8) string {
	me := &n.load[l]
	*me = load{phase: started, at: g, holds: true}
	for i, t := range n.tx[:len(w.writers)] {
		if t.acked {
			me.shared = max(me.shared, t.version)
		}
		if t.acked && w.writers[i].at == g || t.version > 0 && t.age >= leaseTicks {
			me.need = max(me.need, t.version)
		}
	}
	if n.backAge >= leaseTicks {
		me.need = max(me.need, n.back)
	}
	trusted := n.trusted(g, r)
	if m := n.gw[g].memory; m != 0 && trusted {
		return n.land(l, m-1, cache.MemoryTier)
	}
	for o := range n.load {
		other := n.load[o]
		if uint8(o) != l && other.at == g && other.phase != resting && other.phase != joined && //nolint:gosec // a few
			r.join(trusted, other.holds, other.reading) {
			me.phase = joined
			return ""
		}
	}
	if !trusted {
		me.phase = missing
	}
	return ""
}

// takeFence begins a load in the shared tier.
func (s *state) takeFence(l uint8) {
	me := &s.load[l]
	if s.redis.fence == 0 {
		s.redis.fence, me.fence = l+1, true
	}
	if s.redis.generation == 0 {
		s.redis.generation = 200 + l // stands for a random one: tidy renumbers it
	}
	me.generation = s.redis.generation
}

// fill is the last step of a load.
func (s *state) fill(l uint8, r rules, storable bool) string {
	me := &s.load[l]
	var mine string
	if me.fence {
		mine = token(l + 1)
	}
	if storable && me.fence && r.fill(token(s.redis.fence), mine) {
		s.redis.fence = 0
		s.redis.entry = me.got
		s.redis.entry.generation = me.generation
		for i, t := range s.tx {
			if t.taken && s.holds() && me.got.version < t.version && me.got.epoch == t.epoch && s.dumped < 2 {
				return fmt.Sprintf("filled version %d after the eviction of writer %d's version %d", me.got.version, i, t.version)
			}
		}
	}
	return s.land(l, me.got.version, cache.SourceTier)
}

// land ends a read and those that joined it, and checks the results. A value read from an old
// primary may be as old as that. For a value of the shared tier, the promise about acknowledged
// writes holds only at gateways that have polled the current database.
func (s *state) land(l, version uint8, tier cache.Tier) (wrong string) {
	shared := tier == cache.SharedTier && s.gw[s.load[l].at].epoch == s.epoch
	judge := func(l load, shared bool) {
		switch {
		case tier == cache.SourceTier && l.got.epoch != s.epoch:
		case version < l.need:
			wrong = fmt.Sprintf("version %d is answered where %d had been acknowledged, or committed a lease before", version, l.need)
		case shared && s.dumped < 2 && version < l.shared:
			wrong = fmt.Sprintf("version %d comes from the shared tier after version %d was acknowledged", version, l.shared)
		}
	}
	me := &s.load[l]
	got := me.got
	judge(*me, shared)
	for o := range s.load {
		if other := &s.load[o]; other.phase == joined && other.at == me.at && uint8(o) != l { //nolint:gosec // a few
			other.got = got
			judge(*other, false)
			*other = load{}
		}
	}
	*me = load{}
	return wrong
}
