package cache

import "time"

// Scope says who may share a value.
type Scope uint8

// The two scopes.
const (
	Public  Scope = iota // anyone
	Private              // the viewer it was computed for
)

// String returns "public" or "private", as Cache-Control has it.
func (s Scope) String() string {
	if s == Private {
		return "private"
	}
	return "public"
}

// Policy is how long a coordinate's value may be kept, and by whom.
type Policy struct {
	MaxAge time.Duration // 0: not at all
	Scope  Scope
	// StaleWhileRevalidate and StaleIfError are those of an [Item].
	StaleWhileRevalidate, StaleIfError time.Duration
}
