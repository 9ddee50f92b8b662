package operator

import (
	"cmp"
	"maps"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// operations is the histogram of requests to /graphql. Its label says whether the response came from
// the cache.
const operations = "fieldcache_operation_duration_seconds"

// outcome is the latency of all requests of one outcome since the start.
type outcome struct {
	Outcome string   `json:"outcome"` // hit, executed
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sum"` // seconds
	Buckets []bucket `json:"buckets"`
}

// bucket counts the requests that took at most AtMost seconds. The +Inf bucket is left out.
type bucket struct {
	AtMost float64 `json:"le"`
	Count  uint64  `json:"count"`
}

// outcomes adds up the operations of each outcome and sorts the outcomes by name.
func outcomes(f *dto.MetricFamily) []outcome {
	sums := map[string]*outcome{}
	for _, m := range f.GetMetric() {
		var name string
		for _, l := range m.GetLabel() {
			if l.GetName() == "outcome" {
				name = l.GetValue()
			}
		}
		h := m.GetHistogram()
		o := sums[name]
		if o == nil {
			o = &outcome{Outcome: name, Buckets: make([]bucket, len(h.GetBucket()))}
			sums[name] = o
		}
		o.Count += h.GetSampleCount()
		o.Sum += h.GetSampleSum()
		for i, b := range h.GetBucket() { // all metrics of a family have the same bounds
			o.Buckets[i].AtMost = b.GetUpperBound()
			o.Buckets[i].Count += b.GetCumulativeCount()
		}
	}
	all := make([]outcome, 0, len(sums))
	for o := range maps.Values(sums) {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b outcome) int { return cmp.Compare(a.Outcome, b.Outcome) })
	return all
}
