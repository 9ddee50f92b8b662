package answers

import "sync"

// inFlight is the responses that are being computed.
type inFlight struct {
	mu sync.Mutex
	of map[uint64]chan struct{} // by the hash of their request, closed when they are computed
}

// Begin is called before a response is computed, after a look-up that found none. If the same response is already being
// computed, Begin returns a channel that is closed when it is done: look up again then. Otherwise the caller must call
// done once the response is put, or there is none to put; done may be called more than once. Begin returns nil, nil if
// no response to the question was ever cached: it may not be cacheable.
//
// A request that waited receives nothing from the one that computed: it looks up the response as any other request
// does, and uses it if it is valid then.
func (s *Store) Begin(l Lookup) (done func(), other <-chan struct{}) {
	if !l.present { // an entry of another viewer does not count: it could not be used
		return nil, nil
	}
	key := l.key
	s.inFlight.mu.Lock()
	defer s.inFlight.mu.Unlock()
	if computed := s.inFlight.of[key]; computed != nil {
		return nil, computed
	}
	if s.inFlight.of == nil {
		s.inFlight.of = map[uint64]chan struct{}{}
	}
	computed := make(chan struct{})
	s.inFlight.of[key] = computed
	return sync.OnceFunc(func() {
		s.inFlight.mu.Lock()
		defer s.inFlight.mu.Unlock()
		delete(s.inFlight.of, key)
		close(computed)
	}), nil
}
