package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	trusted, err := trustedDocuments(cfg)
	if err != nil {
		return nil, err
	}
	c, shared, err := newCache(cfg, metrics, log)
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
	exec := graph.NewExecutor(schema, loaders, graph.Options{
		Debug:     debug,
		Limits:    graph.Limits{MaxDepth: cfg.MaxDepth, MaxAliases: cfg.MaxAliases},
		MaxTokens: cfg.MaxTokens, MaxComplexity: cfg.MaxComplexity, Introspection: cfg.Introspection,
		Extensions: []graphql.HandlerExtension{&gqlcache.FieldCount{
			Of: func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) },
		}},
	}, log)
	o := gqlcache.HandlerOptions{
		MaxBodyBytes: int(cfg.MaxBodyBytes), MaxBatch: cfg.MaxBatch, Timeout: cfg.RequestTimeout,
		Trusted: trusted, TrustedOnly: cfg.TrustedOnly,
	}
	gw := &gateway{evictor: evictAll{c, policies}, close: c.Close}
	if shared != nil {
		gw.redis, o.Documents = shared.Ping, sharedDocuments{shared, c}
	}
	gw.Handler = gqlcache.NewHandler(exec, o)
	return gw, nil
}

// newCache builds the tiers that cfg asks for. shared is nil without Redis.
func newCache(cfg Config, metrics prometheus.Registerer, log *slog.Logger) (c *cache.Cache, shared *redisstore.Store, err error) {
	memory, err := memstore.New(uint64(cfg.MemoryBytes)) //nolint:gosec // checked to be positive
	if err != nil {
		return nil, nil, err
	}
	o := cache.Options{Memory: memory, Timeout: cfg.RedisTimeout, Log: log}
	if len(cfg.RedisURL) > 0 {
		shared, err = redisstore.New(redisstore.Options{
			URLs: cfg.RedisURL, SentinelMaster: cfg.RedisSentinelMaster,
			Username: cfg.RedisUsername, Password: cfg.RedisPassword,
			Prefix: cfg.RedisPrefix, Timeout: cfg.RedisTimeout, PoolSize: cfg.RedisMaxConns, Log: log,
		})
		if err != nil {
			return nil, nil, errors.Join(err, memory.Close())
		}
		o.Shared = shared
	}
	c = cache.New(o)
	registerCacheMetrics(metrics, c, memory)
	return c, shared, nil
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
	return e.cache.Evict(ctx, ev)
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
	counter("evictions_total", "Keys and tags evicted by this gateway.", nil, s.Evictions.Load)
	counter("evictions_heard_total", "Evictions heard of from other gateways.", nil, s.Heard.Load)
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
