// Package protocol contains the decisions of the cache's protocol as pure functions of small values. The product, the
// model that searches all interleavings, and the simulation call these same functions.
package protocol

import "time"

// Verdict says whether a value from the shared tier may be served.
type Verdict uint8

// The verdicts.
const (
	Serve       Verdict = iota
	Untrusted           // this gateway has not learned of others' writes for too long
	BelowFloor          // a newer write is known
	PastHorizon         // it may be older than a write that was pruned
	OtherEpoch          // it was read from another database, or before this one went back to an earlier state
)

// Floor is what the snapshot of a value must have seen for the value to be as new as the writes known for a name. The
// zero Floor requires nothing.
type Floor struct {
	// Base is a snapshot that the value's must cover. It contains all writes up to some moment. Nil: none.
	Base *Snapshot
	// Xids are further known writes.
	Xids []uint64
}

// Admits reports whether a value read in the snapshot saw every write of the floor.
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

// maxFloorXids is how many writes a floor lists before they are replaced by a snapshot that saw
// them all.
const maxFloorXids = 8

// Raise returns the floor with one more write. polled is a snapshot that saw some of the writes. If the list of writes
// grows long, it is replaced by what polled saw up to the newest of them, so that a floor stays small however often its
// name is written. The new floor then also refuses a value that was read before another transaction ended whose number
// is not above theirs.
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

// RaiseTo returns the floor with all writes that a snapshot saw.
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
	Trusted bool     // it learned of others' writes recently enough: see [Trusted]
	Epoch   Epoch    // of the database that it polls
	Horizon Snapshot // what had been pruned from the outbox before the gateway began to read it
	Floors  []Floor  // of the item's key and of its tags
}

// Judge decides whether a value of the shared tier may be served that has not expired and whose tags' generations are
// current.
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

// Trusted decides whether a gateway may serve cached values: only while its last successful poll began less than a
// lease ago. A write that committed more than a lease ago is known to every gateway that serves cached values.
func Trusted(sincePollBegan, lease time.Duration) bool { return sincePollBegan < lease }

// MayKeep decides whether what a load read may be stored: only if it was read from the database that is polled. Polls
// do not show the writes of an old primary that still responds, or of a standby.
func MayKeep(seen Snapshot, epoch Epoch) bool { return seen.Epoch == epoch }

// MayJoin decides whether a reader may wait for a load that another reader began: if neither its key nor one of its tags
// was evicted since, and this gateway would have learned of it, or if the load has called neither the shared tier nor its
// source yet. What else the value depends on is known only when the load has ended, and is looked at then.
func MayJoin(trusted, holds, reading bool) bool { return !reading || trusted && holds }

// MayFill decides whether a load may put its value into the shared tier: only if the key's fence still holds the load's
// token. The tier's script does the same.
func MayFill(fence, token string) bool { return token != "" && fence == token }

// Step is one of the steps of an eviction in the shared tier.
type Step uint8

// The steps.
const (
	UnlinkFences Step = iota
	UnlinkKeys
	UnlinkGenerations
)

// EvictionSteps is the order of the steps. Fences come first: in the other order a load that is filling could store its
// old value after the key was unlinked and before its fence is.
var EvictionSteps = [...]Step{UnlinkFences, UnlinkKeys, UnlinkGenerations}

// AckMargin is added to the lease when an acknowledgement waits for it. It covers the difference between clocks, and
// the time between reading the clock and sending the response.
const AckMargin = 50 * time.Millisecond

// MayAcknowledge decides whether a committed write may be acknowledged: once the shared tier executed its eviction, for
// this gateway or another; or when every gateway either has polled the write or no longer trusts its caches.
func MayAcknowledge(taken bool, sinceCommit, lease time.Duration) bool {
	return taken || sinceCommit >= lease+AckMargin
}
