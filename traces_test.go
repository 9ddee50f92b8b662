package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"fieldcache/internal/testservers"
)

// A request's trace goes from its caller through the operation, the cache and Redis to the database.
func TestTracesOfARequest(t *testing.T) { // not parallel: OpenTelemetry's library reads the process's environment
	const caller = "0af7651916cd43dd8448eb211c80319c"
	var mu sync.Mutex
	var sent bytes.Buffer // protobuf, which has texts as they are
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := io.Copy(&sent, body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_TRACES_SAMPLER=parentbased_always_off")
	p.query(t, `query Nobody { user(id: 9) { name } }`)
	_, text := send(t, http.MethodPost, p.graphql, `{"query": "query Traced { user(id: 7) { name } product(id: 7) { name stock } }"}`,
		"Content-Type: application/json", "Traceparent: 00-"+caller+"-b7ad6b7169203331-01")
	if !strings.Contains(text, `"stock"`) {
		t.Fatal(text)
	}
	all := func() string {
		mu.Lock()
		defer mu.Unlock()
		return sent.String()
	}
	for _, name := range []string{"POST", "query Traced", "cache look-up", "cache load", "SQL SELECT", "mget", "cache.kind", "user"} {
		eventually(t, "the span or attribute "+name, func() bool { return strings.Contains(all(), name) })
	}
	if strings.Contains(all(), "Nobody") {
		t.Error("a request that nobody wants traced is")
	}
	if strings.Contains(all(), "Zawadi") || strings.Contains(all(), "WHERE") {
		t.Error("spans hold values or texts of statements")
	}
}
