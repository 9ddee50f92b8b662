package cache

import "time"

// Scope is who may share a value.
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

// Policy is for how long the values of a coordinate may be cached, and for whom.
type Policy struct {
	MaxAge time.Duration // 0: not at all
	Scope  Scope
	// StaleWhileRevalidate and StaleIfError are those of an [Item].
	StaleWhileRevalidate, StaleIfError time.Duration
}
