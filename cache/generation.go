package cache

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync/atomic"
)

// slots is the size of the tables that are indexed by the hash of a name, a power of two.
const slots = 1 << 18

// Generations holds, for every name in this process, the number of its last eviction, in a fixed
// table that is indexed by the hash of the name. A computed value takes a [Stamp] of the names that
// it depends on before it reads anything, and is valid for as long as the stamp holds. An eviction
// takes two atomic operations for each name, however many values depend on it. Two names in one
// slot cost an unnecessary load, never a stale value. It is safe for concurrent use and takes 2
// MiB.
type Generations struct {
	seed  maphash.Seed
	epoch atomic.Uint64 // how often everything was evicted
	clock atomic.Uint64 // how often a name was evicted
	table [slots]atomic.Uint64
}

// NewGenerations returns a table without evictions.
func NewGenerations() *Generations { return &Generations{seed: maphash.MakeSeed()} }

// Stamp records the generations of some names at one moment. It is immutable.
type Stamp struct {
	epoch uint64
	marks []mark
}

// always is the epoch of a stamp without names.
const always = math.MaxUint64

type mark struct {
	slot       uint32
	generation uint64
}

// Stamp returns the current stamp of the key and tags of an item.
func (g *Generations) Stamp(item Item) *Stamp {
	s := &Stamp{g.epoch.Load(), make([]mark, 0, 1+len(item.Tags))}
	s.marks = append(s.marks, g.mark(string(item.Key)))
	for _, t := range item.Tags {
		s.marks = append(s.marks, g.mark(string(t)))
	}
	return s
}

// stampTags returns the current stamp of tags alone.
func (g *Generations) stampTags(tags []Tag) *Stamp {
	s := &Stamp{g.epoch.Load(), make([]mark, 0, len(tags))}
	for _, t := range tags {
		s.marks = append(s.marks, g.mark(string(t)))
	}
	return s
}

func (g *Generations) mark(name string) mark {
	slot := g.slot(name)
	return mark{slot, g.table[slot].Load()}
}

// Bytes returns the size of the stamp in memory.
func (s *Stamp) Bytes() int { return 48 + 16*len(s.marks) }

// Holds reports whether none of the names of the stamp was evicted since it was taken.
func (g *Generations) Holds(s *Stamp) bool {
	if s.epoch != g.epoch.Load() && s.epoch != always {
		return false
	}
	for _, m := range s.marks {
		if g.table[m.slot].Load() != m.generation {
			return false
		}
	}
	return true
}

// Evict ends every stamp of the names of ev.
func (g *Generations) Evict(ev Eviction) {
	for _, k := range ev.Keys {
		g.evict(g.slot(string(k)))
	}
	for _, t := range ev.Tags {
		g.evict(g.slot(string(t)))
	}
}

// evict gives a slot a number that is greater than all earlier ones.
func (g *Generations) evict(slot uint32) {
	for {
		was := g.table[slot].Load()
		if g.table[slot].CompareAndSwap(was, g.clock.Add(1)) {
			return
		}
	}
}

// generationsAt is a moment of Generations.
type generationsAt struct{ epoch, clock uint64 }

func (g *Generations) now() generationsAt { return generationsAt{g.epoch.Load(), g.clock.Load()} }

// before reports whether m is before other. The moments may have been taken concurrently.
func (m generationsAt) before(other generationsAt) bool {
	return m.epoch < other.epoch || m.clock < other.clock
}

// quiet reports whether no eviction of the key, of the names or of the tags began since at.
func (g *Generations) quiet(at generationsAt, key Key, names []string, tags ...[]Tag) bool {
	if at.epoch != g.epoch.Load() || g.mark(string(key)).generation > at.clock {
		return false
	}
	for _, name := range names {
		if g.mark(name).generation > at.clock {
			return false
		}
	}
	for _, list := range tags {
		for _, t := range list {
			if g.mark(string(t)).generation > at.clock {
				return false
			}
		}
	}
	return true
}

// EvictAll ends every stamp that depends on anything.
func (g *Generations) EvictAll() { g.epoch.Add(1) }

func (g *Generations) slot(name string) uint32 {
	return uint32(maphash.String(g.seed, name) % slots) //nolint:gosec // below slots
}

// Join combines stamps into one that holds as long as all of them do. If two of them have different
// generations of one name, the result does not hold.
func Join(stamps ...*Stamp) *Stamp {
	joined := &Stamp{epoch: always}
	marks := make([]mark, 0, 16) // on the stack, usually enough
	for _, s := range stamps {
		joined.epoch = min(joined.epoch, s.epoch) // if two differ, the older one does not hold
		marks = append(marks, s.marks...)
	}
	// Sorted, so that [Generations.Holds] reads the table in order.
	slices.SortFunc(marks, func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.generation, b.generation))
	})
	joined.marks = slices.Clone(slices.Compact(marks)) // a copy without spare capacity: it lives as long as the value that it belongs to
	return joined
}
