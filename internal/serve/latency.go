package serve

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// latency measures requests on the public port. Traced requests leave their trace id as an exemplar.
type latency struct {
	requests   *prometheus.HistogramVec // by status code
	operations *prometheus.HistogramVec // by operation and outcome

	cached, cachedOther prometheus.Observer // for cached responses, the most frequent case
}

// The labels of operations.
const (
	otherOperation  = "other" // the document is not trusted: clients may choose any number of names
	outcomeHit      = "hit"   // a cached response
	outcomeExecuted = "executed"
)

func newLatency(metrics prometheus.Registerer) *latency {
	buckets := prometheus.ExponentialBuckets(0.0001, 4, 9)
	l := &latency{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fieldcache_http_request_duration_seconds",
			Help:    "Time to serve a request on the public port, by status code.",
			Buckets: buckets,
		}, []string{"code"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fieldcache_operation_duration_seconds",
			Help: "Time to serve a request to /graphql, by the name of the operation if its document is trusted (else: other), " +
				"and by whether it was served by a cached response.",
			Buckets: buckets,
		}, []string{"operation", "outcome"}),
	}
	metrics.MustRegister(l.requests, l.operations)
	l.cached, l.cachedOther = l.requests.WithLabelValues("200"), l.operations.WithLabelValues(otherOperation, outcomeHit)
	return l
}

// hit measures a request that the fast path served by a cached response. Such requests are not traced.
func (l *latency) hit(operation string, took time.Duration) {
	seconds := took.Seconds()
	l.cached.Observe(seconds)
	if operation == "" {
		l.cachedOther.Observe(seconds)
	} else {
		l.operations.WithLabelValues(operation, outcomeHit).Observe(seconds)
	}
}

// request measures any other request.
func (l *latency) request(ctx context.Context, path string, code int, cacheStatus string, took time.Duration) {
	var exemplar prometheus.Labels
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		exemplar = prometheus.Labels{"trace_id": span.TraceID().String()}
	}
	observe(l.requests.WithLabelValues(strconv.Itoa(code)), took.Seconds(), exemplar)
	if path != "/graphql" {
		return
	}
	operation, outcome := otherOperation, outcomeExecuted
	if of := requestOf(ctx); of != nil && of.operation.Load() != nil {
		operation = *of.operation.Load()
	}
	if strings.HasPrefix(cacheStatus, "fieldcache; hit") {
		outcome = outcomeHit
	}
	observe(l.operations.WithLabelValues(operation, outcome), took.Seconds(), exemplar)
}

func observe(o prometheus.Observer, seconds float64, exemplar prometheus.Labels) {
	if with, ok := o.(prometheus.ExemplarObserver); ok && exemplar != nil {
		with.ObserveWithExemplar(seconds, exemplar)
		return
	}
	o.Observe(seconds)
}
