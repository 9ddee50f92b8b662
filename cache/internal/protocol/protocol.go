// Package protocol holds the decisions of the cache's protocol as pure functions over small values. The
// product, the model that searches all interleavings and the simulation run these very functions.
package protocol

import "time"

// Verdict says whether a value from the shared tier may be served.
type Verdict uint8

// The verdicts.
const (
	Serve       Verdict = iota
	Untrusted           // this gateway has not heard of others' writes for too long
	BelowFloor          // a write that this gateway knows of is newer
	PastHorizon         // it may be older than a write that nobody remembers
	OtherEpoch          // it was read from another database, or from what this one was before it went back
)

// Floor is what a value must have seen to be as new as the writes known for a name. The zero Floor asks for
// nothing.
type Floor struct {
	// Base is a snapshot that the value's must cover; all writes up to some moment are in it. Nil: none.
	Base *Snapshot
	// Xids are the writes known beside it.
	Xids []uint64
}

// Admits reports whether a value read in the snapshot saw every write that the floor knows of.
func (f Floor) Admits(seen Snapshot) bool {
	if f.Base != nil && !seen.Covers(*f.Base) {
		return false
	}
	for _, x := range f.Xids {
		if !seen.Sees(x) {
			return false
		}
	}
	return true
}

// maxFloorXids is how many writes a floor lists before it looks for a snapshot that saw them all.
const maxFloorXids = 8

// Raise is the floor with one write more. polled is a snapshot that saw some of the writes; where the list of
// writes grows long, what polled saw up to the newest of these takes their place, so that a floor stays small
// however often its name is written. A value that was read before another transaction ended, of those up to
// there, is refused as well.
func (f Floor) Raise(xid uint64, polled *Snapshot) Floor {
	if f.Base != nil && f.Base.Sees(xid) {
		return f
	}
	xids := make([]uint64, 0, len(f.Xids)+1)
	for _, x := range f.Xids {
		if x == xid {
			return f
		}
		xids = append(xids, x)
	}
	raised := Floor{f.Base, append(xids, xid)}
	if len(raised.Xids) <= maxFloorXids || polled == nil {
		return raised
	}
	newest := uint64(0)
	for _, x := range raised.Xids {
		if polled.Sees(x) {
			newest = max(newest, x)
		}
	}
	if newest == 0 {
		return raised
	}
	return raised.RaiseTo(polled.UpTo(newest))
}

// RaiseTo is the floor with all writes more that a snapshot saw.
func (f Floor) RaiseTo(seen Snapshot) Floor {
	if f.Base != nil {
		if f.Base.Covers(seen) {
			return f
		}
		seen = f.Base.Union(seen)
	}
	var unseen []uint64
	for _, x := range f.Xids {
		if !seen.Sees(x) {
			unseen = append(unseen, x)
		}
	}
	return Floor{&seen, unseen}
}

// Known is what a gateway knows when it judges a value.
type Known struct {
	Trusted bool     // it heard of others' writes recently enough: see [Trusted]
	Epoch   Epoch    // of the database that it polls
	Horizon Snapshot // what had been pruned from the outbox before the gateway began to read it
	Floors  []Floor  // of the item's key and of its tags
}

// Judge decides whether a value of the shared tier, which has not ended and whose tags' generations are
// those of now, may be served.
func Judge(seen Snapshot, k Known) Verdict {
	if !k.Trusted {
		return Untrusted
	}
	if seen.Epoch != k.Epoch {
		return OtherEpoch
	}
	for _, f := range k.Floors {
		if !f.Admits(seen) {
			return BelowFloor
		}
	}
	if !seen.Covers(k.Horizon) {
		return PastHorizon
	}
	return Serve
}

// Trusted decides whether a gateway may serve what it has cached: only while its last successful poll began
// less than a lease ago. A write that committed longer ago than that is known to every gateway that serves
// anything cached.
func Trusted(sincePollBegan, lease time.Duration) bool { return sincePollBegan < lease }

// MayKeep decides whether what a load read may be put into a cache: only if it was read from the database
// that is polled. An old primary that still answers, or a standby, knows nothing of what the polls tell.
func MayKeep(seen Snapshot, epoch Epoch) bool { return seen.Epoch == epoch }

// MayJoin decides whether a reader may wait for a load that somebody else began: if nothing the load
// depends on was evicted since, and this gateway would have heard of it. A load that has not asked for
// anything yet, neither the shared tier nor its source, may be joined by anyone.
func MayJoin(trusted, holds, asked bool) bool { return !asked || trusted && holds }

// MayFill decides whether a load may put its value into the shared tier: only if the key's fence still holds
// the load's token. The tier's script does the same.
func MayFill(fence, token string) bool { return token != "" && fence == token }

// Step is one of the steps of an eviction in the shared tier.
type Step uint8

// The steps.
const (
	UnlinkFences Step = iota
	UnlinkKeys
	UnlinkGenerations
)

// EvictionSteps is the order of the steps. Fences come first: the other way round a load that is filling
// could put its old value between the unlinking of the key and that of its fence.
var EvictionSteps = [...]Step{UnlinkFences, UnlinkKeys, UnlinkGenerations}

// AckMargin is added to the lease where an acknowledgement waits for it: what clocks may differ by, and
// what lies between a look at the clock and the answer.
const AckMargin = 50 * time.Millisecond

// MayAcknowledge decides whether a committed write may be acknowledged: once the shared tier took its
// eviction, from this gateway or another; or when every gateway either has polled the write or trusts its
// caches no more.
func MayAcknowledge(taken bool, sinceCommit, lease time.Duration) bool {
	return taken || sinceCommit >= lease+AckMargin
}
