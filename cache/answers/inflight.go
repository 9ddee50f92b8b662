package answers

import "sync"

// inFlight is the responses that are being computed.
type inFlight struct {
	mu sync.Mutex
	of map[uint64]chan struct{} // by the hash of their request, closed when they are computed
}

// Begin is called with a look-up that found no answer, before one is computed. If the same answer is being computed
// already, other is closed when that is done: look again then. Otherwise the caller must call done once the answer is
// put, or there is none to put; done may be called again. Begin returns nil, nil if no answer was ever cached: then
// nothing says that this one will be.
//
// Who waited gets nothing from who computed: it looks the answer up as any other, and takes it if it holds then.
func (s *Store) Begin(l Lookup) (done func(), other <-chan struct{}) {
	if !l.present { // a response for another viewer does not count: it could not be used
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
