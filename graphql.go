package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/redisstore"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph"
)

// newGateway connects the cache, the loaders and the resolvers to what answers /graphql.
func newGateway(_ context.Context, cfg Config, d *db.DB, metrics prometheus.Registerer, log *slog.Logger) (*gateway, error) {
	schema := graph.NewSchema(d, log)
	policies, err := gqlcache.ReadPolicies(schema.Schema())
	if err != nil {
		return nil, fmt.Errorf("the schema contradicts itself: %w", err)
	}
	c, redis, err := newCache(cfg, metrics, log)
	if err != nil {
		return nil, err
	}
	loaders, err := dataloader.New(c, d, func(coordinate string) (time.Duration, error) {
		p, err := policies.Of(coordinate)
		return p.MaxAge, err
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var debug func(string) cache.Scope
	if cfg.CacheDebug {
		debug = func(coordinate string) cache.Scope {
			p, _ := policies.Of(coordinate) // gqlgen executes what the schema has
			return p.Scope
		}
	}
	h := graph.NewHandler(schema, loaders, graph.Options{
		Debug:     debug,
		Limits:    graph.Limits{MaxDepth: cfg.MaxDepth, MaxAliases: cfg.MaxAliases},
		MaxTokens: cfg.MaxTokens, MaxComplexity: cfg.MaxComplexity, Introspection: cfg.Introspection,
		Extensions: []graphql.HandlerExtension{&gqlcache.FieldCount{
			Of: func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) },
		}},
	}, log)
	return &gateway{Handler: noStore(h), evictor: evictAll{c, policies}, redis: redis, close: c.Close}, nil
}

// newCache builds the tiers that cfg asks for. ping is nil without Redis.
func newCache(cfg Config, metrics prometheus.Registerer, log *slog.Logger) (c *cache.Cache, ping func(context.Context) error, err error) {
	memory, err := memstore.New(memstore.Options{MaxBytes: uint64(cfg.MemoryBytes)}) //nolint:gosec // checked to be positive
	if err != nil {
		return nil, nil, err
	}
	o := cache.Options{Memory: memory, Timeout: cfg.RedisTimeout, Log: log}
	if len(cfg.RedisURL) > 0 {
		shared, err := redisstore.New(redisstore.Options{
			URLs: cfg.RedisURL, SentinelMaster: cfg.RedisSentinelMaster,
			Username: cfg.RedisUsername, Password: cfg.RedisPassword,
			Prefix: cfg.RedisPrefix, Timeout: cfg.RedisTimeout, PoolSize: cfg.RedisMaxConns, Log: log,
		})
		if err != nil {
			return nil, nil, errors.Join(err, memory.Close())
		}
		o.Shared, ping = shared, shared.Ping
	}
	c = cache.New(o)
	registerCacheMetrics(metrics, c, memory)
	return c, ping, nil
}

// noStore keeps answers out of every cache on the way: what may be kept, and for how long, is only known
// inside.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// evictAll lets the admin port empty the cache by hand.
type evictAll struct {
	cache    *cache.Cache
	policies *gqlcache.Policies
}

func (e evictAll) Evict(ctx context.Context, keys, types, tags []string) (int, error) {
	var ev cache.Eviction
	for _, k := range keys {
		ev.Keys = append(ev.Keys, cache.Key(k))
	}
	for _, t := range types {
		if _, err := e.policies.Of(t); err != nil || strings.Contains(t, ".") {
			return 0, fmt.Errorf("%w: the schema has no type %s", errEvictInput, t)
		}
		ev.Tags = append(ev.Tags, cache.Type(t))
	}
	for _, t := range tags {
		ev.Tags = append(ev.Tags, cache.Tag(t))
	}
	return e.cache.EvictByHand(ctx, ev)
}

// registerCacheMetrics shows the cache's counters.
func registerCacheMetrics(metrics prometheus.Registerer, c *cache.Cache, memory *memstore.Store) {
	s := c.Stats()
	counter := func(name, help string, labels prometheus.Labels, value func() uint64) {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fieldcache", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(value()) }))
	}
	const hits = "Values answered from a cache tier."
	counter("hits_total", hits, prometheus.Labels{"tier": "memory"}, s.MemoryHits.Load)
	counter("hits_total", hits, prometheus.Labels{"tier": "redis"}, s.SharedHits.Load)
	counter("misses_total", "Values that no tier held.", nil, s.Misses.Load)
	counter("loads_total", "Calls of a source: about one statement each.", nil, s.Loads.Load)
	counter("fills_total", "Entries that Redis took.", nil, s.Fills.Load)
	counter("fills_refused_total", "Entries that Redis refused, because they were evicted while they were loaded.", nil, s.Refused.Load)
	for cause, value := range map[string]func() uint64{
		"mutation": s.EvictedByWrite.Load, "outbox": s.EvictedByOutbox.Load,
		"notice": s.EvictedByNotice.Load, "hand": s.EvictedByHand.Load,
	} {
		counter("evictions_total", "Keys and tags evicted, by how this gateway learned that they are untrue.", prometheus.Labels{"cause": cause}, value)
	}
	counter("redis_faults_total", "Calls of Redis that failed.", nil, s.Faults.Load)
	counter("redis_skipped_total", "Calls of Redis that were not made while it was down.", nil, s.Skipped.Load)
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "redis_sick", Help: "1 while Redis is left alone because it failed.",
	}, func() float64 {
		if c.Sick() {
			return 1
		}
		return 0
	}))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "memory_bytes", Help: "What the entries in memory weigh.",
	}, func() float64 { return float64(memory.Bytes()) }))
}
