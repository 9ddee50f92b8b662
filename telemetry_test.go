package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
)

func TestTelemetryIsOffUnlessAnEndpointIsSet(t *testing.T) {
	t.Parallel()
	for _, environ := range []map[string]string{
		{},
		{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
	} {
		if traces, err := newTelemetry(t.Context(), environ, nil); traces != nil || err != nil {
			t.Errorf("%v: %v, %v; want none", environ, traces, err)
		}
	}
}

// What a request leaves behind reaches the collector when the server ends, if not before.
func TestTelemetrySendsTraces(t *testing.T) {
	type sent struct {
		path string
		body []byte
	}
	requests := make(chan sent, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- sent{r.Method + " " + r.URL.Path, body}
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tested")
	p := start(t, echo(), os.Environ()...)
	send(t, "POST", p.graphql, "{}", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	p.stderr.wait(t, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`)
	p.signals <- syscall.SIGTERM
	p.wantExit(t, 0)
	select {
	case got := <-requests:
		if got.path != "POST /v1/traces" || !bytes.Contains(got.body, []byte("fieldcache")) || !bytes.Contains(got.body, []byte("tested")) {
			t.Errorf("the collector got %s %q", got.path, got.body)
		}
	default:
		t.Errorf("nothing was sent; it said:\n%s", p.stderr)
	}
}
