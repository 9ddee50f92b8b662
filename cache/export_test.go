package cache

import "time"

// LastSilence returns the number of looks after which a silence has lasted for the patience, or 0
// if it has not after the last.
func LastSilence(lease, patience time.Duration, looks []time.Duration) (n int) {
	began := time.Now()
	s := silence{lease: lease, patience: patience, since: began, looked: began}
	for i, d := range looks {
		if s.lasts(began.Add(d)) {
			return i + 1
		}
	}
	return 0
}
