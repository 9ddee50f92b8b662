package operator_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/internal/operator"
)

// The latencies of all operations with the same outcome are added up.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fieldcache_operation_duration_seconds", Buckets: []float64{0.1, 1}}, []string{"operation", "outcome"})
	metrics.MustRegister(took)
	for seconds, labels := range map[float64][]string{0.0625: {"Home", "hit"}, 0.03125: {"other", "hit"}, 0.5: {"Home", "executed"}, 4: {"Cart", "executed"}} {
		took.WithLabelValues(labels...).Observe(seconds)
	}
	c := open(t, func(o *operator.Options) { o.Metrics = metrics }).listen(t)("counters")
	want := "[map[buckets:[map[count:0 le:0.1] map[count:1 le:1]] count:2 outcome:executed sum:4.5] map[buckets:[map[count:2 le:0.1] map[count:2 le:1]] count:2 outcome:hit sum:0.09375]]"
	if got := fmt.Sprint(c["outcomes"]); got != want {
		t.Errorf("got the outcomes\n%s, want\n%s", got, want)
	}
	if none := open(t, nil).listen(t)("counters")["outcomes"]; fmt.Sprint(none) != "[]" {
		t.Errorf("without requests got the outcomes %v, want none", none)
	}
}
