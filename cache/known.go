package cache

import "sync"

// known is what this gateway learned of writes otherwise than by a poll, and has not polled yet. To learn
// of it a second time would void what was loaded since. A poll may bring more of the same transaction than
// was told before: its names are compared, not only its number.
type known struct {
	mu    sync.Mutex
	names map[uint64]map[string]struct{}
	size  int // of all names
}

// maxKnown bounds the names that are known; what more there is is learned of twice.
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

// news is what a write names that is not known of it.
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

// polled forgets the writes that a poll's snapshot saw: no poll brings them again.
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
