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

// asideConns is how many connections follow the outbox: a poll, a relay, what notes evictions as done, and a look
// at the tables.
const asideConns = 4

// engine is the cache with all that it stands on.
type engine struct {
	cache   *cache.Cache
	answers *answers.Store              // nil where whole answers are not kept
	shared  *redisstore.Store           // nil without Redis
	ping    func(context.Context) error // asks the database, on a connection that requests do not use
	close   func() error
}

// shares are the parts of MEMORY_BYTES.
type shares struct{ values, answers, documents uint64 }

// shareMemory divides MEMORY_BYTES: a quarter is for documents, the rest for values and, where they are kept, as much
// for answers.
func shareMemory(cfg Config) shares {
	all := uint64(cfg.MemoryBytes) //nolint:gosec // checked to be positive
	s := shares{documents: all / 4}
	if cfg.AnswerCache {
		s.answers = (all - s.documents) / 2
	}
	s.values = all - s.documents - s.answers
	return s
}

// newEngine builds the tiers that cfg asks for, and follows the outbox of d.
func newEngine(ctx context.Context, cfg Config, d *db.DB, metrics prometheus.Registerer, log *slog.Logger) (*engine, error) {
	bytes := shareMemory(cfg)
	memory, err := memstore.New(memstore.Options{MaxBytes: bytes.values, Keep: cfg.StaleIfError})
	if err != nil {
		return nil, err
	}
	e := &engine{}
	o := cache.Options{
		Memory: memory, Timeout: cfg.RedisTimeout, MaxLoads: int64(cfg.DatabaseMaxConns),
		Watch: d.Watch(), StaleIfError: cfg.StaleIfError, Audit: cfg.CacheAudit, Log: log,
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
	fail := func(err error) (*engine, error) {
		err = errors.Join(err, memory.Close())
		if o.Shared != nil {
			err = errors.Join(err, o.Shared.Close())
		}
		return nil, err
	}
	aside, err := d.Aside(ctx, asideConns)
	if err != nil {
		return fail(err)
	}
	if o.Outbox, err = outbox.New(aside.Bun(), dataloader.Evictions); err != nil {
		return fail(errors.Join(err, aside.Close()))
	}
	watch := outbox.NewWatch(aside.Bun(), db.NotedTables(), log)
	// What changed while no gateway ran is recorded before the outbox is read for the first time.
	if err := watch.Look(ctx); err != nil {
		log.Warn("the tables and their triggers could not be looked at; trying again", "error", err)
	}
	o.Reconnect = func() { d.Reconnect(); aside.Reconnect() }
	if e.cache, err = cache.New(o); err != nil {
		return fail(errors.Join(err, aside.Close()))
	}
	e.ping = aside.Ping
	stopWatch := inBackground(ctx, watch.Run)
	e.close = func() error {
		stopWatch()
		return errors.Join(e.cache.Close(), aside.Close())
	}
	registerCacheMetrics(metrics, e.cache, memory)
	registerWatchMetrics(metrics, watch)
	if cfg.AnswerCache {
		if e.answers, err = answers.New(answers.Options{Cache: e.cache, MaxBytes: bytes.answers}); err != nil {
			return nil, errors.Join(err, e.close())
		}
		below := e.close
		e.close = func() error {
			e.answers.Close()
			return below()
		}
	}
	return e, nil
}

// inBackground runs do, and returns what ends it and waits for its end.
func inBackground(ctx context.Context, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
