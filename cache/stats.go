package cache

import (
	"sync/atomic"
	"time"
)

// Stats counts what a [Cache] did since it was made.
type Stats struct {
	MemoryHits atomic.Uint64 // values answered from memory
	SharedHits atomic.Uint64 // values answered from the shared tier
	Joined     atomic.Uint64 // values answered by a load that another reader began
	Misses     atomic.Uint64 // values asked of a source
	Loads      atomic.Uint64 // calls of a source
	Refreshes  atomic.Uint64 // values loaded anew before they ended
	Stale      atomic.Uint64 // values answered although they may no longer be true, because the source failed

	Revalidating atomic.Uint64 // values answered after their end, while they are loaded anew

	ShadowHits        atomic.Uint64 // values of shadow mode that a tier would have answered
	ShadowDifferences atomic.Uint64 // of those, values that were not what the source said, and that no write explains

	Fills      atomic.Uint64 // entries that the shared tier took
	Refused    atomic.Uint64 // entries that it refused: their fence was gone
	BelowFloor atomic.Uint64 // entries of the shared tier not served, since a write is newer than they are
	Foreign    atomic.Uint64 // entries of the shared tier not served, since they are of another database or epoch

	EvictedByWrite  atomic.Uint64 // keys and tags evicted by writes of this gateway
	EvictedByOutbox atomic.Uint64 // by writes that only the outbox told of
	EvictedByNotice atomic.Uint64 // by writes that another gateway told of
	EvictedByHand   atomic.Uint64 // by [Cache.EvictByHand]
	Floors          atomic.Uint64 // floors raised
	Forgotten       atomic.Uint64 // times that everything was evicted, because writes were missed

	Relayed           atomic.Uint64 // writes whose evictions were relayed, other gateways' and own
	ByRelay           atomic.Uint64 // writes that the shared tier did not take, acknowledged since a relay evicted them
	ByLease           atomic.Uint64 // and acknowledged since no gateway serves what it cached before them: a lease had passed
	LeaseLosses       atomic.Uint64 // times that others' writes were not heard of for a lease
	PollFaults        atomic.Uint64 // polls of the outbox that failed
	Unreadable        atomic.Uint64 // rows of the outbox that could not be read; their tables were evicted
	UnreadableNotices atomic.Uint64 // messages of other gateways that could not be read
	Faults            atomic.Uint64 // calls of the shared tier that failed
	Skipped           atomic.Uint64 // calls of the shared tier that were not made while it was down

	Audits      atomic.Uint64 // values that were read again
	AuditsStale atomic.Uint64 // of those, values that were not true
	AuditsLeaks atomic.Uint64 // of those, values that are another one's for who else asks, although they are public

	oldest  atomic.Int64 // unix milliseconds of the oldest write that waits; 0: none
	backlog atomic.Int64
}

// Backlog is how many rows of the outbox wait for the shared tier to take their evictions, whoever wrote them,
// at the last count: every second while some wait, else every five seconds. It is at most [MaxBacklog].
func (s *Stats) Backlog() int64 { return s.backlog.Load() }

// Lag is for how long the oldest of the rows that [Stats.Backlog] counts has waited.
func (s *Stats) Lag() time.Duration {
	ms := s.oldest.Load()
	if ms == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(ms)))
}

// Evictions is how many keys and tags were evicted, whatever told of them.
func (s *Stats) Evictions() uint64 {
	return s.EvictedByWrite.Load() + s.EvictedByOutbox.Load() + s.EvictedByNotice.Load() + s.EvictedByHand.Load()
}
