package operator

import (
	"cmp"
	"maps"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// operations is the histogram of requests to /graphql, with a label that says whether a cached response answered.
const operations = "fieldcache_operation_duration_seconds"

// outcome is how long requests of one outcome took since the start, whatever they asked for.
type outcome struct {
	Outcome string   `json:"outcome"` // hit, executed
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sum"` // seconds
	Buckets []bucket `json:"buckets"`
}

// bucket is how many requests took so many seconds at most. The last one of a histogram, which all requests are in, is left out.
type bucket struct {
	AtMost float64 `json:"le"`
	Count  uint64  `json:"count"`
}

// outcomes adds up the operations of each outcome, in the order of their names.
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
		for i, b := range h.GetBucket() { // the same ones in all metrics of a family
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
