package cache

import (
	"sync/atomic"
	"time"
)

// Stats counts what a [Cache] has done since it was created.
type Stats struct {
	MemoryHits atomic.Uint64 // values served from memory
	SharedHits atomic.Uint64 // values served from the shared tier
	Joined     atomic.Uint64 // values served by a load that another reader began
	Misses     atomic.Uint64 // values loaded from a source
	Loads      atomic.Uint64 // calls of a source
	Refreshes  atomic.Uint64 // values loaded again before they expired
	Stale      atomic.Uint64 // possibly stale values served because the source failed

	Revalidating atomic.Uint64 // values served after they expired, while they are loaded again

	ShadowHits        atomic.Uint64 // values in shadow mode that a tier had
	ShadowDifferences atomic.Uint64 // of those, values that differed from the source without a write that explains it

	Fills      atomic.Uint64 // entries that the shared tier stored
	Refused    atomic.Uint64 // entries that it refused: their fence was gone
	BelowFloor atomic.Uint64 // entries of the shared tier not served, since a newer write is known
	Foreign    atomic.Uint64 // entries of the shared tier not served, since they belong to another database or epoch

	EvictedByWrite  atomic.Uint64 // keys and tags evicted by writes of this gateway
	EvictedByOutbox atomic.Uint64 // by writes learned from the outbox alone
	EvictedByNotice atomic.Uint64 // by writes learned from messages of another gateway
	EvictedByHand   atomic.Uint64 // by [Cache.EvictByHand]
	Floors          atomic.Uint64 // floors raised
	Forgotten       atomic.Uint64 // times that everything was evicted because writes were missed

	Relayed           atomic.Uint64 // writes whose evictions were relayed, of other gateways and of this one
	ByRelay           atomic.Uint64 // writes acknowledged after a relay, since the shared tier did not execute their evictions
	ByLease           atomic.Uint64 // writes acknowledged after a lease, for the same reason: by then no gateway serves older entries
	LeaseLosses       atomic.Uint64 // times that no poll succeeded for a lease
	PollFaults        atomic.Uint64 // polls of the outbox that failed
	Unreadable        atomic.Uint64 // rows of the outbox that could not be read; their tables were evicted
	UnreadableNotices atomic.Uint64 // messages of other gateways that could not be read
	Faults            atomic.Uint64 // calls of the shared tier that failed
	Skipped           atomic.Uint64 // calls of the shared tier that were not made while it was down

	Audits      atomic.Uint64 // values that were read again
	AuditsStale atomic.Uint64 // of those, stale values
	AuditsLeaks atomic.Uint64 // of those, public values that depend on the viewer

	oldest  atomic.Int64 // Unix milliseconds of the oldest waiting write; 0: none
	backlog atomic.Int64
}

// Backlog returns how many rows of the outbox wait for the shared tier to execute their evictions,
// whichever program wrote them, at the last count: every second while some wait, else every five
// seconds. It is at most [MaxBacklog].
func (s *Stats) Backlog() int64 { return s.backlog.Load() }

// Lag returns for how long the oldest of the rows that [Stats.Backlog] counts has waited.
func (s *Stats) Lag() time.Duration {
	ms := s.oldest.Load()
	if ms == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(ms)))
}

// Evictions returns how many keys and tags were evicted, for any cause.
func (s *Stats) Evictions() uint64 {
	return s.EvictedByWrite.Load() + s.EvictedByOutbox.Load() + s.EvictedByNotice.Load() + s.EvictedByHand.Load()
}
