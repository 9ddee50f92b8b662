package cache

import "time"

// LastSilence is how many of some looks it takes until a silence has lasted for the patience, 0 if they do not do.
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
