package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func traced(t *testing.T, sampler, arg string) (*Traces, *tracetest.InMemoryExporter) {
	t.Helper()
	s, err := newSampler(sampler, arg)
	if err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	traces := newTraces(s, trace.WithSyncer(exporter))
	return traces, exporter
}

// Spans of a request belong to the trace of its caller. Work without a request is not traced.
func TestSpansAreOfTheCallersTrace(t *testing.T) {
	t.Parallel()
	traces, exporter := traced(t, "", "")
	h := traces.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, end := traces.Trace(r.Context(), "cache look-up", slog.String("cache.kind", "user"), slog.Int("cache.keys", 3))
		_, inner := traces.Trace(ctx, "SQL SELECT")
		inner(errors.New("no"))
		end(nil, slog.Int("cache.found", 2))
	}))
	_, end := traces.Trace(t.Context(), "a poll")
	end(nil)
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	h.ServeHTTP(httptest.NewRecorder(), r)

	var names []string
	for _, s := range exporter.GetSpans() {
		names = append(names, s.Name)
		if got := s.SpanContext.TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %s is of trace %s", s.Name, got)
		}
		if s.Name == "cache look-up" {
			if got := fmt.Sprint(s.Attributes); !strings.Contains(got, "cache.kind") || !strings.Contains(got, "cache.found") {
				t.Errorf("cache look-up has the attributes %s", got)
			}
		}
	}
	if got := fmt.Sprint(names); got != "[SQL SELECT cache look-up POST]" {
		t.Errorf("got the spans %s", got)
	}
}

// Requests that are not sampled may take the fast path. The share of sampled requests is the
// configured one on both paths.
func TestUnsampledRequestsTakeTheFastPath(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sampler, arg, parent string
		hits                 bool // whether the fast path has a hit
		fast, traced         [2]int
	}{
		"always":                        {"", "", "", true, [2]int{0, 0}, [2]int{1000, 1000}},
		"never":                         {"always_off", "", "", true, [2]int{1000, 1000}, [2]int{0, 0}},
		"a tenth":                       {"parentbased_traceidratio", "0.1", "", true, [2]int{850, 950}, [2]int{50, 150}},
		"a tenth of misses":             {"traceidratio", "0.1", "", false, [2]int{0, 0}, [2]int{50, 150}},
		"a caller's trace":              {"parentbased_traceidratio", "0", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true, [2]int{0, 0}, [2]int{1000, 1000}},
		"a caller that does not sample": {"parentbased_always_on", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true, [2]int{1000, 1000}, [2]int{0, 0}},
		"a caller that is ignored":      {"always_on", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true, [2]int{0, 0}, [2]int{1000, 1000}},
		"an invalid traceparent":        {"always_off", "", "nonsense", true, [2]int{1000, 1000}, [2]int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			traces, exporter := traced(t, c.sampler, c.arg)
			serve := traces.unsampled(func(http.ResponseWriter, *http.Request) bool { return c.hits })
			next := traces.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			fast := 0
			for range 1000 {
				r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
				if c.parent != "" {
					r.Header.Set("Traceparent", c.parent)
				}
				if serve(httptest.NewRecorder(), r) {
					fast++
				} else {
					next.ServeHTTP(httptest.NewRecorder(), r)
				}
			}
			if n := len(exporter.GetSpans()); fast < c.fast[0] || fast > c.fast[1] || n < c.traced[0] || n > c.traced[1] {
				t.Errorf("of 1000 requests %d took the fast path and %d were traced, want %v and %v", fast, n, c.fast, c.traced)
			}
		})
	}
}

func TestSamplersAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"sometimes", ""}, {"traceidratio", "2"}, {"traceidratio", "half"}, {"parentbased_traceidratio", "NaN"}, {"jaeger_remote", ""}} {
		if _, err := newSampler(c[0], c[1]); err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER") {
			t.Errorf("%v: got the error %v, want one that names OTEL_TRACES_SAMPLER", c, err)
		}
	}
}
