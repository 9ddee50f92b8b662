package operator

import (
	"cmp"
	"slices"
	"sync"

	"fieldcache/cache"
)

const (
	sampleEvery  = 16     // one in sampleEvery hits is counted while a client is connected
	sketchSize   = 512    // how many keys are counted at a time
	listedKeys   = 20     // how many keys are sent
	soonestBound = 10_000 // how many entries are searched for those that expire next
)

// hitKey is a key and the estimated number of its hits since the first client connected.
type hitKey struct {
	Key  cache.Key `json:"key"`
	Hits uint64    `json:"hits"`
}

// hits finds the keys with most hits by the Space-Saving algorithm. When the table is full, a new
// key replaces the key with the lowest count and continues from that count. So a count may be too
// high, but apart from sampling it is never too low.
type hits struct {
	mu      sync.Mutex
	lookers int
	counts  map[cache.Key]uint64
}

// look registers a client and starts counting for the first one. The returned function removes the
// client and stops counting after the last one.
func (h *hits) look(c Cache) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lookers++; h.lookers == 1 {
		h.counts = make(map[cache.Key]uint64, sketchSize)
		c.SampleHits(sampleEvery, h.add)
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.lookers--; h.lookers == 0 {
			c.SampleHits(0, nil)
		}
	}
}

func (h *hits) add(key cache.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.counts[key]; ok || len(h.counts) < sketchSize {
		h.counts[key]++
		return
	}
	var least cache.Key
	fewest := ^uint64(0)
	for k, n := range h.counts {
		if n < fewest {
			least, fewest = k, n
		}
	}
	delete(h.counts, least)
	h.counts[key] = fewest + 1
}

// top returns the keys with most hits in descending order.
func (h *hits) top() []hitKey {
	h.mu.Lock()
	all := make([]hitKey, 0, len(h.counts))
	for k, n := range h.counts {
		all = append(all, hitKey{k, n * sampleEvery})
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b hitKey) int { return cmp.Or(cmp.Compare(b.Hits, a.Hits), cmp.Compare(a.Key, b.Key)) })
	return all[:min(len(all), listedKeys)]
}
