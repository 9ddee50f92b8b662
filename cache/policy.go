package cache

import "time"

// Scope says who may share a value.
type Scope uint8

// The two scopes.
const (
	Public  Scope = iota // all viewers
	Private              // the viewer it was computed for
)

// String returns "public" or "private", the directives of Cache-Control.
func (s Scope) String() string {
	if s == Private {
		return "private"
	}
	return "public"
}

// Policy says for how long the values of a coordinate may be cached, and for whom.
type Policy struct {
	MaxAge time.Duration // 0: not at all
	Scope  Scope
	// StaleWhileRevalidate and StaleIfError are those of an [Item].
	StaleWhileRevalidate, StaleIfError time.Duration
}
