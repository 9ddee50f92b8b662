package cache

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"fieldcache/cache/internal/protocol"
)

// floors records the writes known to this process: a floor for the hash of each name, and what
// applies to all names. Floors only rise as long as the process lives, so that a store that comes
// back with old contents is always noticed. It is safe for concurrent use.
type floors struct {
	seed    maphash.Seed
	table   [slots]atomic.Pointer[protocol.Floor]
	polled  atomic.Pointer[Snapshot]  // of the last poll; nil before the first
	horizon atomic.Pointer[Snapshot]  // nil: nothing was pruned before this process could read it
	changed atomic.Pointer[time.Time] // when the last poll found another epoch; nil: none did
}

func newFloors() *floors { return &floors{seed: maphash.MakeSeed()} }

// raise adds a write.
func (f *floors) raise(w Write) {
	if w.Xid == 0 {
		return
	}
	polled := f.polled.Load()
	f.each(w.Eviction, func(floor protocol.Floor) protocol.Floor { return floor.Raise(w.Xid, polled) })
}

// raiseTo adds writes that a snapshot saw.
func (f *floors) raiseTo(ev Eviction, seen Snapshot) {
	f.each(ev, func(floor protocol.Floor) protocol.Floor { return floor.RaiseTo(seen) })
}

// each raises the floors of the names of an eviction.
func (f *floors) each(ev Eviction, raise func(protocol.Floor) protocol.Floor) {
	for _, k := range ev.Keys {
		f.change(string(k), raise)
	}
	for _, t := range ev.Tags {
		f.change(string(t), raise)
	}
}

func (f *floors) change(name string, raise func(protocol.Floor) protocol.Floor) {
	slot := f.slot(name)
	for {
		old := f.table[slot].Load()
		var floor protocol.Floor
		if old != nil {
			floor = *old
		}
		raised := raise(floor)
		if f.table[slot].CompareAndSwap(old, &raised) {
			return
		}
	}
}

// has reports whether a write to a key, or to another name in its slot, is known.
func (f *floors) has(k Key) bool { return f.table[f.slot(string(k))].Load() != nil }

// judge decides whether a value that was read in the snapshot may be served from the shared tier.
func (f *floors) judge(item Item, seen Snapshot, trusted bool) protocol.Verdict {
	var some [4]protocol.Floor
	k := protocol.Known{Trusted: trusted, Epoch: f.epoch(), Floors: some[:0]}
	if p := f.table[f.slot(string(item.Key))].Load(); p != nil {
		k.Floors = append(k.Floors, *p)
	}
	for _, t := range item.Tags {
		if p := f.table[f.slot(string(t))].Load(); p != nil {
			k.Floors = append(k.Floors, *p)
		}
	}
	if h := f.horizon.Load(); h != nil {
		k.Horizon = *h
	}
	return protocol.Judge(seen, k)
}

// epoch returns the epoch of the last poll.
func (f *floors) epoch() Epoch {
	if polled := f.polled.Load(); polled != nil {
		return polled.Epoch
	}
	return ""
}

// admit reports whether a read in the snapshot saw every known write of the tags.
func (f *floors) admit(tags []Tag, seen Snapshot) bool {
	if seen.Epoch != f.epoch() {
		return false
	}
	for _, t := range tags {
		if p := f.table[f.slot(string(t))].Load(); p != nil && !p.Admits(seen) {
			return false
		}
	}
	return true
}

// reset forgets all floors, since the numbers of their writes have no meaning any more. From then
// on only values whose snapshot covers the horizon are served.
func (f *floors) reset(horizon Snapshot) {
	f.horizon.Store(&horizon)
	for i := range f.table {
		f.table[i].Store(nil)
	}
}

func (f *floors) slot(name string) uint64 { return maphash.String(f.seed, name) % slots }
