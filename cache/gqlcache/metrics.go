package gqlcache

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
)

// fieldRequests describes the one metric that has a label for each coordinate; the schema bounds them.
var fieldRequests = prometheus.NewDesc("fieldcache_field_requests_total",
	"Values of fields, by how they were answered.", []string{"coordinate", "result"}, nil)

// collector of a cache's counters by coordinate.
type meterCollector struct{ cache *cache.Cache }

// Describe implements [prometheus.Collector].
func (meterCollector) Describe(ch chan<- *prometheus.Desc) { ch <- fieldRequests }

// Collect implements [prometheus.Collector].
func (c meterCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.cache.Meters() {
		for result, n := range map[string]uint64{
			"memory": m.Memory.Load(), "redis": m.Shared.Load(), "miss": m.Missed.Load(), "collapsed": m.Joined.Load(),
			"stale": m.Stale.Load(), "swr": m.Revalidating.Load(), "bypass": m.Bypassed.Load(), "error": m.Failed.Load(),
		} {
			ch <- prometheus.MustNewConstMetric(fieldRequests, prometheus.CounterValue, float64(n), m.Coordinate, result)
		}
	}
}

// register shows the counters of a cache.
func register(metrics prometheus.Registerer, c *cache.Cache) error {
	stats := c.Stats()
	list := []prometheus.Collector{meterCollector{c}}
	for name, counter := range map[string]struct {
		help  string
		value func() uint64
	}{
		"fieldcache_loads_total":        {"Calls of resolvers for values that were not cached.", stats.Loads.Load},
		"fieldcache_evictions_total":    {"Keys and tags evicted.", stats.Evictions},
		"fieldcache_faults_total":       {"Calls of Redis that failed.", stats.Faults.Load},
		"fieldcache_lease_losses_total": {"Times that writes were not heard of for longer than the lease.", stats.LeaseLosses.Load},
		"fieldcache_poll_faults_total":  {"Polls of the outbox that failed.", stats.PollFaults.Load},
	} {
		list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: counter.help},
			func() float64 { return float64(counter.value()) }))
	}
	for i, m := range list {
		if err := metrics.Register(m); err != nil {
			for _, earlier := range list[:i] {
				metrics.Unregister(earlier)
			}
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}
