package serve

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape reads the admin port's /metrics as a scraper that accepts a media type.
func scrape(t *testing.T, metrics *prometheus.Registry, accept string) (contentType, text string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	admin{metrics: metrics, log: slog.New(slog.DiscardHandler)}.handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	return w.Header().Get("Content-Type"), w.Body.String()
}

// A sampled request leaves its trace id as an exemplar in both histograms, for scrapers of
// OpenMetrics. A request that is not sampled leaves none.
func TestExemplarsAreTraces(t *testing.T) {
	t.Parallel()
	const sampled, other = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	traces, _ := traced(t, "parentbased_always_off", "")
	metrics := prometheus.NewRegistry()
	h := traces.wrap(withRequestLog(slog.New(slog.DiscardHandler), newLatency(metrics), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		NameOperation(r.Context(), "Home")
	})))
	for _, parent := range []string{sampled + "-b7ad6b7169203331-01", other + "-b7ad6b7169203331-00"} {
		r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
		r.Header.Set("Traceparent", "00-"+parent)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	kind, text := scrape(t, metrics, "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("a scraper that accepts OpenMetrics gets %s", kind)
	}
	for _, name := range []string{`fieldcache_http_request_duration_seconds_bucket{code="200"`, `fieldcache_operation_duration_seconds_bucket{operation="Home",outcome="executed"`} {
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.HasPrefix(line, name) && strings.Contains(line, `# {trace_id="`+sampled+`"}`)
		}
		if !found {
			t.Errorf("no bucket of %s has the trace as its exemplar:\n%s", name, text)
		}
	}
	if strings.Contains(text, other) {
		t.Error("a trace that is not sampled is an exemplar")
	}
	if kind, text = scrape(t, metrics, "text/plain"); !strings.HasPrefix(kind, "text/plain") || strings.Contains(text, sampled) {
		t.Errorf("a scraper of the older format gets %s, with exemplars: %t", kind, strings.Contains(text, sampled))
	}
}

// Only the names of trusted operations are labels, not names that clients choose.
func TestLatencyByOperation(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	latency := newLatency(metrics)
	log := slog.New(slog.DiscardHandler)
	slow := withRequestLog(log, latency, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.URL.Query().Get("trusted"); name != "" {
			NameOperation(r.Context(), name)
		}
		w.Header().Set("Cache-Status", r.URL.Query().Get("status"))
	}))
	fast := cachedOnly(log, latency, func(w http.ResponseWriter, r *http.Request) (string, bool) {
		_, err := io.WriteString(w, "{}")
		return r.URL.Query().Get("trusted"), err == nil && r.URL.Query().Get("status") == ""
	})
	for target, n := range map[string]int{
		"/graphql?trusted=Home": 3, // on the fast path
		"/graphql?any=1":        2,
		"/graphql?trusted=Home&status=fieldcache%3B+hit":  4, // a cached response off the fast path
		"/graphql?trusted=Home&status=fieldcache%3B+fwd=": 5,
		"/graphql?status=fieldcache%3B+fwd=miss":          6,
		"/?status=none":                                   7, // no operation
	} {
		for range n {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			if w := httptest.NewRecorder(); !fast(w, r) {
				slow.ServeHTTP(w, r)
			}
		}
	}
	_, text := scrape(t, metrics, "text/plain")
	for series, n := range map[string]int{
		`operation_duration_seconds_count{operation="Home",outcome="hit"}`:       7,
		`operation_duration_seconds_count{operation="Home",outcome="executed"}`:  5,
		`operation_duration_seconds_count{operation="other",outcome="hit"}`:      2,
		`operation_duration_seconds_count{operation="other",outcome="executed"}`: 6,
		`http_request_duration_seconds_count{code="200"}`:                        27,
	} {
		if want := fmt.Sprintf("fieldcache_%s %d\n", series, n); !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if n := strings.Count(text, "fieldcache_operation_duration_seconds_count"); n != 4 {
		t.Errorf("got %d series of operations, want 4", n)
	}
}
