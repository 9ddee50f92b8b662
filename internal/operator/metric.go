package operator

import (
	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
)

// fieldRequests is the name of the metric of [NewCollector].
const fieldRequests = "fieldcache_field_requests_total"

// collector exposes meters.
type collector struct {
	meters func() []*cache.Meter
	desc   *prometheus.Desc
}

// NewCollector returns the metric fieldcache_field_requests_total{coordinate,result} of meters. Its labels are bounded by the schema.
func NewCollector(meters func() []*cache.Meter) prometheus.Collector {
	return &collector{meters, prometheus.NewDesc(fieldRequests,
		"Values that fields and loaders asked the cache for, by what became of it.", []string{"coordinate", "result"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.meters() {
		for _, of := range []struct {
			result string
			n      uint64
		}{
			{"hit", m.Hits()}, {"miss", m.Missed.Load()}, {"collapsed", m.Joined.Load()},
			{"stale", m.Stale.Load()}, {"bypass", m.Bypassed.Load()}, {"error", m.Failed.Load()},
		} {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(of.n), m.Coordinate, of.result)
		}
	}
}
