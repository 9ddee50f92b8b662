package cache

import "sync/atomic"

// Stats counts what a [Cache] did since it was made.
type Stats struct {
	MemoryHits atomic.Uint64 // values answered from memory
	SharedHits atomic.Uint64 // values answered from the shared tier
	Misses     atomic.Uint64 // values asked of a source
	Loads      atomic.Uint64 // calls of a source
	Fills      atomic.Uint64 // entries that the shared tier took
	Refused    atomic.Uint64 // entries that it refused, because they were evicted while they were loaded
	Evictions  atomic.Uint64 // keys and tags evicted here
	Heard      atomic.Uint64 // evictions heard of from other processes
	Faults     atomic.Uint64 // calls of the shared tier that failed
	Skipped    atomic.Uint64 // calls of the shared tier that were not made while it was down
}
