package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"fieldcache/internal/testservers"
)

// collector serves as an OpenTelemetry collector. sent returns what it received: protobuf, which
// holds strings verbatim.
func collector(t *testing.T) (address string, sent func() string) {
	t.Helper()
	var mu sync.Mutex
	var all bytes.Buffer
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
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
		if _, err := io.Copy(&all, body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	return server.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

// The spans of a sampled request cover the operation, the cache, Redis and the database. They hold
// neither values nor the texts of statements.
func TestTracesOfARequest(t *testing.T) { // not parallel: the OpenTelemetry library reads the process's environment
	const caller = "0af7651916cd43dd8448eb211c80319c"
	address, all := collector(t)
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+address, "OTEL_TRACES_SAMPLER=parentbased_always_off")
	p.query(t, `query Nobody { user(id: 9) { name } }`)
	_, text := send(t, http.MethodPost, p.graphql, `{"query": "query Traced { user(id: 7) { name } product(id: 7) { name stock } }"}`,
		"Content-Type: application/json", "Traceparent: 00-"+caller+"-b7ad6b7169203331-01")
	if !strings.Contains(text, `"stock"`) {
		t.Fatal(text)
	}
	for _, name := range []string{"POST", "query Traced", "cache look-up", "cache load", "SQL SELECT", "mget", "cache.kind", "user"} {
		eventually(t, "the span or attribute "+name, func() bool { return strings.Contains(all(), name) })
	}
	if strings.Contains(all(), "Nobody") {
		t.Error("a request that is not sampled was traced")
	}
	if strings.Contains(all(), "Zawadi") || strings.Contains(all(), "WHERE") {
		t.Error("spans hold values or the texts of statements")
	}
}

// Latency metrics hold the names of trusted operations, not those that clients choose. Their
// histograms give OpenMetrics scrapers the trace of a request as an exemplar, under the id by which
// the collector has its spans.
func TestLatencyOfTrustedDocuments(t *testing.T) { // not parallel, as above
	const (
		caller  = "1bf7651916cd43dd8448eb211c80319c"
		unknown = "2bf7651916cd43dd8448eb211c80319c" // its caller does not sample the trace
		trusted = "query Storefront { product(id: 7) { name stock } }"
	)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "storefront.graphql"), []byte(trusted), 0o600); err != nil {
		t.Fatal(err)
	}
	address, sent := collector(t)
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s", "TRUSTED_DOCUMENTS="+folder,
		"OTEL_EXPORTER_OTLP_ENDPOINT="+address, "OTEL_TRACES_SAMPLER=parentbased_always_off")
	post := func(body string, headers ...string) {
		t.Helper()
		if response, text := send(t, http.MethodPost, p.graphql, body, append(headers, "Content-Type: application/json")...); response.StatusCode != http.StatusOK || strings.Contains(text, "errors") {
			t.Fatalf("%s: %d %s", body, response.StatusCode, text)
		}
	}
	byID := fmt.Sprintf(`{"documentId": "sha256:%x"}`, sha256.Sum256([]byte(trusted)))
	post(byID, "Traceparent: 00-"+caller+"-b7ad6b7169203331-01")
	for range 3 {
		post(byID, "Traceparent: 00-"+unknown+"-b7ad6b7169203331-00")
	}
	for n := range 20 {
		post(fmt.Sprintf(`{"query": "query Chosen%d { product(id: 8) { name } }"}`, n))
	}
	id, err := hex.DecodeString(caller)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spans of the trace", func() bool {
		all := sent()
		return strings.Contains(all, "query Storefront") && strings.Contains(all, string(id))
	})

	scraped := func(accept string) (text string, sum func(operation, outcome string) string) {
		t.Helper()
		_, text = send(t, http.MethodGet, p.admin+"metrics", "", "Accept: "+accept)
		return text, func(operation, outcome string) string {
			found := regexp.MustCompile(`(?m)^fieldcache_operation_duration_seconds_count\{operation="` + operation + `",outcome="` + outcome + `"\} (\d+)`).FindStringSubmatch(text)
			if found == nil {
				return "0"
			}
			return found[1]
		}
	}
	text, count := scraped("application/openmetrics-text; version=1.0.0")
	if executed, hits := count("Storefront", "executed"), count("Storefront", "hit"); executed == "0" || hits == "0" {
		t.Errorf("the trusted operation was executed %s times and a hit %s times, want both above 0", executed, hits)
	}
	if strings.Contains(text, "Chosen") || count("other", "executed") == "0" && count("other", "hit") == "0" {
		t.Error("operations that clients name are not counted as other")
	}
	for _, name := range []string{`fieldcache_http_request_duration_seconds_bucket\{code="200",`, `fieldcache_operation_duration_seconds_bucket\{operation="Storefront",outcome="executed",`} {
		if !regexp.MustCompile(`(?m)^` + name + `le="[^"]*"\} \d+ # \{trace_id="` + caller + `"\} `).MatchString(text) {
			t.Errorf("no bucket of %s has the trace as its exemplar:\n%s", name, text)
		}
	}
	if strings.Contains(text, unknown) {
		t.Error("a trace that is not sampled is an exemplar")
	}
	if text, _ = scraped("text/plain"); strings.Contains(text, caller) {
		t.Error("a scraper of the older format gets exemplars, which it cannot parse")
	}
}
