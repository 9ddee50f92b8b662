package gqlcache

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
)

// FieldRequests is the name of the metric of [NewFieldRequests].
const FieldRequests = "fieldcache_field_requests_total"

// NewFieldRequests returns the metric fieldcache_field_requests_total{coordinate,result} of the
// meters of a cache: how many values fields and loaders requested, by result. The schema bounds the
// coordinates. The results are hit, miss, collapsed, stale, swr, bypass and error.
func NewFieldRequests(meters func() []*cache.Meter) prometheus.Collector {
	return &fieldRequests{meters, prometheus.NewDesc(FieldRequests,
		"Values that fields and loaders asked the cache for, by what became of it.", []string{"coordinate", "result"}, nil)}
}

type fieldRequests struct {
	meters func() []*cache.Meter
	desc   *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (f *fieldRequests) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements [prometheus.Collector].
func (f *fieldRequests) Collect(ch chan<- prometheus.Metric) {
	for _, m := range f.meters() {
		for _, of := range []struct {
			result string
			n      uint64
		}{
			{"hit", m.Hits()}, {"miss", m.Missed.Load()}, {"collapsed", m.Joined.Load()}, {"stale", m.Stale.Load()},
			{"swr", m.Revalidating.Load()}, {"bypass", m.Bypassed.Load()}, {"error", m.Failed.Load()},
		} {
			ch <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, float64(of.n), m.Coordinate, of.result)
		}
	}
}

// register registers the counters of a cache until end is called. saved returns how many statements were saved.
func register(metrics prometheus.Registerer, c *cache.Cache, saved func() uint64) (end func() error, err error) {
	stats := c.Stats()
	list := []prometheus.Collector{NewFieldRequests(c.Meters)}
	for name, counter := range map[string]struct {
		help  string
		value func() uint64
	}{
		"fieldcache_loads_total":        {"Calls of resolvers for values that were not cached.", stats.Loads.Load},
		"fieldcache_evictions_total":    {"Keys and tags evicted.", stats.Evictions},
		"fieldcache_faults_total":       {"Calls of Redis that failed.", stats.Faults.Load},
		"fieldcache_lease_losses_total": {"Times that writes were not heard of for longer than the lease.", stats.LeaseLosses.Load},
		"fieldcache_poll_faults_total":  {"Polls of the outbox that failed.", stats.PollFaults.Load},
		"fieldcache_statements_saved_total": {
			"Statements that the cache has saved, at least: of each response through Handler, the coordinates of which no value came from its resolver.", saved,
		},
	} {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: counter.help},
			func() float64 { return float64(counter.value()) }))
	}
	for by, count := range map[string]func() uint64{"relay": stats.ByRelay.Load, "lease": stats.ByLease.Load} {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "fieldcache_late_acknowledgements_total", Help: "Mutations whose evictions Redis did not take in time, by what allowed their answers.",
			ConstLabels: prometheus.Labels{"by": by},
		}, func() float64 { return float64(count()) }))
	}
	for tier, hits := range map[string]func() uint64{"memory": stats.MemoryHits.Load, "redis": stats.SharedHits.Load} {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "fieldcache_hits_total", Help: "Values answered from a tier.", ConstLabels: prometheus.Labels{"tier": tier},
		}, func() float64 { return float64(hits()) }))
	}
	unregister := func(list []prometheus.Collector) {
		for _, m := range list {
			metrics.Unregister(m)
		}
	}
	for i, m := range list {
		if err := metrics.Register(m); err != nil {
			unregister(list[:i])
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return func() error { unregister(list); return nil }, nil
}
