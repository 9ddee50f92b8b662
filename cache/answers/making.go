package answers

import "sync"

// making is the answers that somebody computes anew.
type making struct {
	mu sync.Mutex
	of map[uint64]chan struct{} // by the hash of their question, closed when they are made
}

// Make is called by who is about to compute the answer to a question that nothing kept answers any more. Where
// somebody does already, other is closed when that is done: it is worth looking again then. Otherwise the caller
// must call made once the answer is put, or is none to be put; it may be called again. Both are nil where no answer
// to the question was kept before, so that nothing says that this one will be.
//
// Nobody is given what others make: who waited looks for it as for anything kept, and takes it if it is true then.
func (s *Store) Make(q Question) (made func(), other <-chan struct{}) {
	e := s.candidate(q) // never another viewer's, so that nobody waits for an answer that is not for them
	if e == nil {
		return nil, nil
	}
	key := s.hash(q, e.viewer)
	s.making.mu.Lock()
	defer s.making.mu.Unlock()
	if done := s.making.of[key]; done != nil {
		return nil, done
	}
	if s.making.of == nil {
		s.making.of = map[uint64]chan struct{}{}
	}
	done := make(chan struct{})
	s.making.of[key] = done
	return sync.OnceFunc(func() {
		s.making.mu.Lock()
		defer s.making.mu.Unlock()
		delete(s.making.of, key)
		close(done)
	}), nil
}
