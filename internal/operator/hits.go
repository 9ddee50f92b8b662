package operator

import (
	"cmp"
	"slices"
	"sync"

	"fieldcache/cache"
)

const (
	sampleEvery  = 16     // one of so many hits is counted while somebody looks
	sketchSize   = 512    // keys that are counted at a time
	listedKeys   = 20     // keys that are sent
	soonestBound = 10_000 // entries that are looked at for those that expire next
)

// hitKey is a key and about how many hits it had since somebody looks.
type hitKey struct {
	Key  cache.Key `json:"key"`
	Hits uint64    `json:"hits"`
}

// hits counts the keys that are hit most, by Space-Saving: where there is no room for another key, it takes the place of the one that
// was hit least, and its count. So a count is never too low by more than sampling makes it.
type hits struct {
	mu      sync.Mutex
	lookers int
	counts  map[cache.Key]uint64
}

// look begins to count if nobody looked before. The function that it returns ends it once nobody looks any more.
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

// top returns the keys that are hit most, the most first.
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
