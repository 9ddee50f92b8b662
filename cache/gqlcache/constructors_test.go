package gqlcache_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql/executor"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/transport"
)

// A constructor that lacks something required returns an error at once, not at the first use, and
// leaves nothing open.
func TestFault02ConstructorsRefuse(t *testing.T) {
	t.Parallel()
	memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	none := func(...outbox.Change) cache.Eviction { return cache.Eviction{} }
	for name, build := range map[string]func() (any, error){
		"a cache without memory":           func() (any, error) { return cache.New(cache.Options{}) },
		"a cache of a negative stale time": func() (any, error) { return cache.New(cache.Options{Memory: memory, StaleIfError: -1}) },
		"a cache of negative audits":       func() (any, error) { return cache.New(cache.Options{Memory: memory, Audit: -1}) },
		"an outbox without a database":     func() (any, error) { return outbox.New(nil, outbox.SQLite(), none) },
		"an outbox without evictions":      func() (any, error) { return outbox.New(new(sql.DB), outbox.SQLite(), nil) },
		"memory without a bound":           func() (any, error) { return memstore.New(memstore.Options{}) },
		"Redis without an address":         func() (any, error) { return redisstore.New(redisstore.Options{}) },
		"answers without a cache":          func() (any, error) { return answers.New(answers.Options{MaxBytes: 1 << 20}) },
		"answers without a bound":          func() (any, error) { return answers.New(answers.Options{Cache: new(cache.Cache)}) },
		"a handler without an executor":    func() (any, error) { return transport.NewHandler(nil, transport.Options{}) },
		"a handler with a negative deadline": func() (any, error) {
			return transport.NewHandler(new(executor.Executor), transport.Options{Timeout: -1})
		},
		"an admission without a limit": func() (any, error) { return transport.NewAdmission(transport.AdmissionOptions{MaxWait: time.Second}) },
		"an admission without MaxWait": func() (any, error) { return transport.NewAdmission(transport.AdmissionOptions{MaxRunning: 1}) },
		"roots without answers":        func() (any, error) { return nil, (&gqlcache.Roots{}).Validate(nil) },
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: got panic %v, want an error", name, p)
				}
			}()
			if _, err := build(); err == nil {
				t.Errorf("%s: got no error", name)
			}
		}()
	}
}
