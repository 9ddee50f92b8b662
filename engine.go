package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/redisstore"
	"fieldcache/dataloader"
	"fieldcache/db"
)

// asideConns is how many connections follow the outbox: a poll, a relay, and what notes evictions as done.
const asideConns = 3

// engine is the cache with all that it stands on.
type engine struct {
	cache   *cache.Cache
	answers *answers.Store    // nil where whole answers are not kept
	shared  *redisstore.Store // nil without Redis
	close   func() error
}

// newEngine builds the tiers that cfg asks for, and follows the outbox of d.
func newEngine(ctx context.Context, cfg Config, d *db.DB, metrics prometheus.Registerer, log *slog.Logger) (*engine, error) {
	half := uint64(cfg.MemoryBytes) / 2 //nolint:gosec // checked to be positive
	memory, err := memstore.New(memstore.Options{MaxBytes: half, Keep: cfg.StaleIfError})
	if err != nil {
		return nil, err
	}
	e := &engine{}
	o := cache.Options{
		Memory: memory, Timeout: cfg.RedisTimeout, MaxLoads: int64(cfg.DatabaseMaxConns),
		StaleIfError: cfg.StaleIfError, Audit: cfg.CacheAudit, Log: log,
	}
	if len(cfg.RedisURL) > 0 {
		shared, err := redisstore.New(redisstore.Options{
			URLs: cfg.RedisURL, SentinelMaster: cfg.RedisSentinelMaster,
			Username: cfg.RedisUsername, Password: cfg.RedisPassword,
			Prefix: cfg.RedisPrefix, Timeout: cfg.RedisTimeout, PoolSize: cfg.RedisMaxConns, Log: log,
		})
		if err != nil {
			return nil, errors.Join(err, memory.Close())
		}
		o.Shared, e.shared = shared, shared
	}
	aside, err := d.Aside(ctx, asideConns)
	if err != nil {
		err = errors.Join(err, memory.Close())
		if o.Shared != nil {
			err = errors.Join(err, o.Shared.Close())
		}
		return nil, err
	}
	o.Outbox = outbox.New(aside.Bun(), dataloader.Evictions)
	e.cache = cache.New(o)
	e.close = func() error { return errors.Join(e.cache.Close(), aside.Close()) }
	registerCacheMetrics(metrics, e.cache, memory)
	if cfg.AnswerCache {
		if e.answers, err = answers.New(answers.Options{Cache: e.cache, MaxBytes: half}); err != nil {
			return nil, errors.Join(err, e.close())
		}
		e.close = func() error {
			e.answers.Close()
			return errors.Join(e.cache.Close(), aside.Close())
		}
	}
	return e, nil
}
