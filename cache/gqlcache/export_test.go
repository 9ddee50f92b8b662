package gqlcache

import (
	"time"

	"fieldcache/cache"
)

// Patient returns o with a long lease, for tests that expect hits. On a busy machine the outbox may
// be silent for longer than the default lease.
func Patient(o Options) Options {
	o.lease = 20 * time.Second
	return o
}

// CacheOf returns the cache of a Gateway.
func CacheOf(g *Gateway) *cache.Cache { return g.cache }
