package cache_test

import (
	"fmt"
	"math/bits"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

// code returns the snapshot of a read that happens now.
func (s *state) code() (c code) {
	for i, t := range s.tx {
		if t.version > 0 && t.epoch == s.epoch {
			c |= 1 << bit(i, t.epoch)
		}
	}
	return c
}

// bit returns the bit of a writer's number in a code. In the second epoch the writers have each
// other's numbers.
func bit(writer int, epoch uint8) uint8 {
	if epoch == 1 {
		return uint8(maxWriters - 1 - writer) //nolint:gosec // a few
	}
	return uint8(writer) //nolint:gosec // a few
}

// in returns the snapshot that a code represents in an epoch.
func (c code) in(epoch uint8) cache.Snapshot {
	s := snapshots[c]
	s.Epoch = epochs[epoch]
	return s
}

// holds reports whether the shared tier has an entry under the current generation of the tag.
func (s *state) holds() bool {
	return s.redis.entry.there && s.redis.generation != 0 && s.redis.entry.generation == s.redis.generation
}

func (s *state) trusted(g uint8, r rules) bool {
	age := s.gw[g].trust
	return age != unknown && r.trusted(time.Duration(age)*modelTick, modelLease)
}

// judge returns the verdict of a gateway on a value from the shared tier.
func (w world) judge(gw gateway, v value, trusted bool, r rules) protocol.Verdict {
	var key, tag protocol.Floor
	for i, wr := range w.writers {
		b := bit(i, gw.epoch)
		switch x := xid(int(b)); {
		case gw.floors>>b&1 == 0:
		case wr.tag:
			tag = r.raise(tag, x)
		default:
			key = r.raise(key, x)
		}
	}
	known := protocol.Known{Trusted: trusted, Epoch: epochs[gw.epoch], Floors: []protocol.Floor{key, tag}}
	switch {
	case gw.reading && !r.trusts:
		known.Horizon = gw.start.in(gw.epoch)
	case gw.horizon > 0:
		known.Horizon = cache.SnapshotAfter(uint64(gw.horizon))
		known.Horizon.Epoch = epochs[gw.epoch]
	}
	return r.judge(v.seen.in(v.epoch), known)
}

// xid returns the transaction number of a writer.
func xid(writer int) uint64 { return uint64(writer) + 1 } //nolint:gosec // a few

// void invalidates the stamps of a gateway.
func (s *state) void(g uint8) {
	s.gw[g].memory = 0
	for i := range s.load {
		if s.load[i].at == g {
			s.load[i].holds = false
		}
	}
}

// learn records that a gateway knows of writes.
func (s *state) learn(g, writes uint8) {
	if writes != 0 {
		s.gw[g].floors |= writes
		s.void(g)
	}
}

type adder func(what string, who uint8, change func(*state) string)

// steps returns every step that can be taken next.
func (w world) steps(s state, r rules) (to []step) {
	to = make([]step, 0, 24)
	add := func(what string, who uint8, change func(*state) string) {
		n := s
		wrong := change(&n)
		n.tidy()
		to = append(to, step{what: what, who: who, to: n, wrong: wrong})
	}
	if w.time {
		add("time passes", 0, func(n *state) string { n.grow(); return "" })
	}
	for i := range w.writers {
		w.write(s, r, uint8(i), add) //nolint:gosec // a few
	}
	for _, g := range w.at {
		w.follow(s, r, g, add)
	}
	for l := range w.readers {
		w.read(s, r, l, add)
	}
	w.share(s, r, add)
	return to
}

// grow advances the time by a tick.
func (s *state) grow() {
	for i := range s.tx {
		if t := &s.tx[i]; t.version > 0 {
			t.age = min(t.age+1, old)
		}
	}
	if s.epoch > 0 {
		s.backAge = min(s.backAge+1, old)
	}
	for g := range s.gw {
		gw := &s.gw[g]
		if gw.trust != unknown {
			gw.trust = min(gw.trust+1, leaseTicks)
		}
		if gw.poll.there {
			gw.poll.began = min(gw.poll.began+1, leaseTicks)
		}
	}
}

// tidy gives equivalent states the same form. Loads are interchangeable, so it sorts them.
// Generations are random, so only their equality matters and it renumbers them.
func (s *state) tidy() {
	for i := 1; i < len(s.load); i++ {
		for j := i; j > 0 && s.load[j].rank() > s.load[j-1].rank(); j-- {
			s.load[j], s.load[j-1] = s.load[j-1], s.load[j]
			s.redis.fence = swapped(s.redis.fence, j)
			s.dump.fence = swapped(s.dump.fence, j)
		}
	}
	var names [2*maxReaders + 5]uint8
	n := uint8(0)
	rename := func(g *uint8) {
		if *g == 0 {
			return
		}
		for i := range n {
			if names[i] == *g {
				*g = i + 1
				return
			}
		}
		names[n] = *g
		n++
		*g = n
	}
	rename(&s.redis.generation)
	rename(&s.redis.entry.generation)
	rename(&s.dump.generation)
	rename(&s.dump.entry.generation)
	for i := range s.load {
		rename(&s.load[i].generation)
		rename(&s.load[i].got.generation)
	}
}

// rank is a rough sort order of loads.
func (l load) rank() int {
	return int(l.phase)<<8 | int(l.at)<<6 | int(l.got.version)<<4 | int(l.need)<<2 | int(l.shared)
}

// swapped returns the holder of a fence after readers i-1 and i have changed places.
func swapped(fence uint8, i int) uint8 {
	switch int(fence) {
	case i:
		return fence + 1
	case i + 1:
		return fence - 1
	}
	return fence
}

// write adds the steps of a transaction and of the eviction after it.
func (w world) write(s state, r rules, i uint8, add adder) {
	t, wr := s.tx[i], w.writers[i]
	switch t.phase {
	case underWay:
		if w.back && len(w.writers) > 1 && i != s.epoch {
			return
		}
		add("commits: writer", i, func(n *state) string {
			n.version++
			n.tx[i].phase, n.tx[i].version, n.tx[i].epoch = committed, n.version, n.epoch
			if wr.direct {
				n.tx[i].phase = over
			}
			return ""
		})
		return
	case committed:
		add("raises floors and evicts from memory: writer", i, func(n *state) string {
			gw := &n.gw[wr.at]
			switch {
			case r.ours(t.epoch, gw.epoch):
				n.learn(wr.at, 1<<bit(int(i), t.epoch))
			case r.loses && gw.trust != unknown:
				gw.trust, gw.poll.lost = leaseTicks, gw.poll.there
				n.void(wr.at)
			default:
				n.void(wr.at)
			}
			n.tx[i].phase = learned
			return ""
		})
	case learned:
		add("evicts from the shared tier: writer", i, func(n *state) string {
			w.evict(n, r, i, t.step)
			if n.tx[i].step++; int(n.tx[i].step) == len(r.steps) {
				n.tx[i].taken, n.tx[i].phase, n.tx[i].step = true, waiting, 0
				n.tx[i].done = n.tx[i].done || !w.relay // else a step of its own notes it
			}
			return ""
		})
		if w.fails {
			add("does not reach the shared tier: writer", i, func(n *state) string { n.tx[i].phase, n.tx[i].step = waiting, 0; return "" })
		}
	case waiting:
		if r.ack(t.taken || t.done, time.Duration(t.age)*modelTick, modelLease) {
			add("is acknowledged: writer", i, func(n *state) string { n.tx[i].acked, n.tx[i].phase = true, over; return "" })
		}
	}
	if w.crash && t.phase < waiting {
		add("dies: writer", i, func(n *state) string { n.tx[i].phase, n.tx[i].step = over, 0; return "" })
	}
	if t.taken && !t.done {
		add("is marked as done: writer", i, func(n *state) string { n.tx[i].done = true; return "" })
	}
	if t.done && !t.prune && w.prune {
		add("is pruned: writer", i, func(n *state) string {
			n.tx[i].prune = true
			n.pruned = max(n.pruned, i+1)
			return ""
		})
	}
}

// evict executes one step of a transaction's eviction in the shared tier.
func (w world) evict(n *state, r rules, i, step uint8) {
	tag := w.writers[i].tag
	switch r.steps[step] {
	case protocol.UnlinkFences:
		if !tag {
			n.redis.fence = 0
		}
	case protocol.UnlinkKeys:
		if !tag {
			n.redis.entry = value{}
		}
	case protocol.UnlinkGenerations:
		if tag {
			n.redis.generation = 0
		}
	}
}

// follow adds the steps of a gateway that polls, receives messages and restarts.
func (w world) follow(s state, r rules, g uint8, add adder) {
	gw := s.gw[g]
	switch {
	case gw.poll.more:
		add("reads another page of the outbox: gateway", g, func(n *state) string {
			p := &n.gw[g].poll
			w.page(n, gw, p, r.until(p.seen, n.code()), r)
			return ""
		})
	case gw.poll.there:
		add("applies the poll: gateway", g, func(n *state) string { n.apply(g, r); return "" })
	case w.time && (gw.trust != 0 || gw.since != s.code() || gw.epoch != s.epoch): // otherwise a poll would change nothing
		add("reads the outbox: gateway", g, func(n *state) string {
			p := poll{there: true, epoch: n.epoch}
			if gw.trust == unknown {
				p.seen, p.horizon = n.code(), n.pruned
			} else {
				w.page(n, gw, &p, n.code(), r)
			}
			n.gw[g].poll = p
			return ""
		})
	}
	if gw.reading {
		add("reads the retained writes: gateway", g, func(n *state) string { w.readRetained(n, g, r); return "" })
	}
	for i := range uint8(len(w.writers)) {
		if w.notices && s.tx[i].taken && gw.floors>>i&1 == 0 && !snapshots[gw.since].Sees(xid(int(i))) { // in no world with two epochs
			add("receives a message: gateway", g, func(n *state) string { n.learn(g, 1<<i); return "" })
		}
	}
	if w.restart && gw.starts == 0 {
		add("restarts: gateway", g, func(n *state) string {
			n.gw[g] = gateway{trust: unknown, starts: 1}
			for i := range n.load {
				if n.load[i].at == g {
					n.load[i] = load{}
				}
			}
			for i, wr := range w.writers {
				if wr.at == g && n.tx[i].phase > underWay {
					n.tx[i].phase, n.tx[i].step = over, 0
				}
			}
			return ""
		})
	}
}

// page reads one page of a poll whose snapshot is until.
func (w world) page(n *state, gw gateway, p *poll, until code, r rules) {
	p.seen, p.horizon, p.more = until, n.pruned, false
	for b := range uint8(maxWriters) { // in the order of their numbers
		t, x := n.tx[bit(int(b), p.epoch)], xid(int(b))
		if t.prune || t.epoch != p.epoch || until>>b&1 == 0 || x <= uint64(p.after) || !r.news(snapshots[gw.since], x) {
			continue
		}
		p.news |= 1 << b
		if p.after, p.more = uint8(x), w.pages; w.pages { //nolint:gosec // a few
			return
		}
	}
	p.after = 0 // no longer used, and must not make states differ
}

// readRetained reads one of the writes that the outbox still has, or finds that none is left. It
// evicts nothing: memory has no values from before the start.
func (w world) readRetained(n *state, g uint8, r rules) {
	gw := &n.gw[g]
	for i, t := range n.tx {
		b := bit(i, gw.epoch)
		if t.epoch == gw.epoch && gw.start>>b&1 == 1 && gw.read>>b&1 == 0 {
			gw.read |= 1 << b
			if !t.prune {
				gw.floors |= 1 << b
				return
			}
		}
	}
	gw.reading, gw.start, gw.read = false, 0, 0
	gw.horizon = r.pruned(gw.horizon, n.pruned)
}

// apply applies the result of a poll to a gateway. A write that the gateway already knew is not
// learned again.
func (s *state) apply(g uint8, r rules) {
	gw := &s.gw[g]
	p := gw.poll
	seen := p.seen
	switch {
	case p.epoch != gw.epoch && r.another(gw.epoch, p.epoch):
		gw.horizon, gw.start, gw.reading, gw.read = p.horizon, p.seen, true, 0
		gw.floors, seen = r.floors(gw.floors), r.since(gw.since, p.seen)
		p.news = 0
		s.void(g)
	case gw.trust == unknown:
		gw.horizon, gw.start, gw.reading, gw.read = p.horizon, p.seen, true, 0
		s.void(g)
	case p.horizon > 0 && r.missed(snapshots[gw.since], cache.SnapshotAfter(uint64(p.horizon))):
		gw.horizon = max(gw.horizon, p.horizon)
		if gw.reading { // the writes retained at the start no longer matter
			gw.horizon = max(gw.horizon, uint8(bits.Len8(uint8(gw.start)))) //nolint:gosec // a few
			gw.reading, gw.start, gw.read = false, 0, 0
		}
		s.void(g)
	}
	s.learn(g, p.news&^gw.floors)
	gw.since, gw.epoch = seen, p.epoch
	if r.renews(p.lost) {
		gw.trust = r.renewed(p.began)
	}
	gw.poll = poll{}
}

// share adds the steps of the shared tier itself and those that relay writes.
func (w world) share(s state, r rules, add adder) {
	if w.expiry && s.redis.fence != 0 {
		add("the fence expires", 0, func(n *state) string { n.redis.fence = 0; return "" })
	}
	if w.dump && s.dumped == 0 {
		add("a dump is taken", 0, func(n *state) string { n.dump, n.dumped = n.redis, 1; return "" })
	}
	if w.dump && s.dumped == 1 {
		add("the dump is restored", 0, func(n *state) string { n.redis, n.dump, n.dumped = n.dump, redis{}, 2; return "" })
	}
	if w.back && s.epoch == 0 {
		add("the database loses its writes", 0, func(n *state) string { n.goBack(); return "" })
	}
	if !w.relay {
		return
	}
	if s.relay.tx == 0 {
		for i, t := range s.tx {
			if t.version > 0 && !t.done {
				add("the relay begins: writer", uint8(i), func(n *state) string { n.relay.tx = uint8(i) + 1; return "" }) //nolint:gosec // a few
			}
		}
		return
	}
	i := s.relay.tx - 1
	add("the relay takes a step: writer", i, func(n *state) string {
		w.evict(n, r, i, n.relay.step)
		if n.relay.step++; int(n.relay.step) == len(r.steps) {
			n.relay = relay{}
			n.tx[i].taken, n.tx[i].done = true, true
		}
		return ""
	})
}

// goBack replaces the database by one that lacks all writes and their records.
func (s *state) goBack() {
	s.lost = s.version
	s.version++
	s.epoch, s.back = 1, s.version
	for i := range s.tx {
		if t := &s.tx[i]; t.version > 0 {
			t.done = true
		}
	}
}

// token returns the content of a reader's fence.
func token(reader uint8) string {
	if reader == 0 {
		return ""
	}
	return fmt.Sprint("reader ", reader)
}
