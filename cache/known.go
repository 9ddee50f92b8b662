package cache

import "sync"

// known is the writes that this gateway learned of other than by a poll, and has not polled yet.
// Learning of a write twice would void what was loaded since. A poll may report more names of a
// transaction than were known before, so names are compared, not only the number.
type known struct {
	mu    sync.Mutex
	names map[uint64]map[string]struct{}
	size  int // of all names
}

// maxKnown limits the names that are known; writes with more names are learned twice.
const maxKnown = 100_000

func (k *known) add(w Write) {
	if w.Xid == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.size += len(w.Keys) + len(w.Tags); k.size > maxKnown {
		k.size = maxKnown
		return
	}
	if k.names == nil {
		k.names = map[uint64]map[string]struct{}{}
	}
	names := k.names[w.Xid]
	if names == nil {
		names = make(map[string]struct{}, w.size())
		k.names[w.Xid] = names
	}
	for _, key := range w.Keys {
		names[string(key)] = struct{}{}
	}
	for _, tag := range w.Tags {
		names[string(tag)] = struct{}{}
	}
}

// news returns the names of a write that are not known yet.
func (k *known) news(w Write) Eviction {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.names[w.Xid]
	if len(names) == 0 {
		return w.Eviction
	}
	news := Eviction{Soft: w.Soft}
	for _, key := range w.Keys {
		if _, ok := names[string(key)]; !ok {
			news.Keys = append(news.Keys, key)
		}
	}
	for _, tag := range w.Tags {
		if _, ok := names[string(tag)]; !ok {
			news.Tags = append(news.Tags, tag)
		}
	}
	return news
}

// polled forgets the writes that a poll's snapshot saw: no later poll returns them.
func (k *known) polled(s Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.size = 0
	for x, names := range k.names {
		if s.Sees(x) {
			delete(k.names, x)
		} else {
			k.size += len(names)
		}
	}
}

// forget forgets all of them.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.names)
	k.size = 0
}
