package redisstore

import "time"

// Patient makes the fences of s live longer, for tests that expect fills: a busy machine may take longer than the default
// between the beginning of a load and its fill.
func Patient(s *Store) *Store {
	s.fences = 10 * time.Minute
	return s
}
