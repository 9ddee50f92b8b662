package serve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/graph"
	"fieldcache/internal/config"
)

// evictions records the last eviction order.
type evictions struct{ gqlcache.Order }

func (e *evictions) Evict(_ context.Context, o gqlcache.Order) (int, error) {
	e.Order = o
	return len(o.Keys), nil
}

func TestDesk(t *testing.T) {
	t.Parallel()
	open := config.Config{CacheDebug: true}
	closed := config.Config{CacheDebug: true, JWTSecret: strings.Repeat("s", 32)}
	const body = `{"keys":["user:42"],"tags":["{Product}"]}`
	tests := map[string]struct {
		cfg     config.Config
		method  string
		body    string
		headers []string
		viewer  graph.Viewer
		status  int
		answer  string // a part of the response
		evicts  bool
	}{
		"the policies of the schema": {cfg: open, method: "GET", status: 200, answer: `{"debug":true,"policies":{"Product.stock":{"coordinate":"Product.stock","stored":"field","maxAge":30,"scope":"public","truth":"rows"}}}`},
		"without CACHE_DEBUG":        {cfg: config.Config{}, method: "GET", status: 200, answer: `{"debug":false,"policies":{}}`},
		"an eviction":                {cfg: open, method: "POST", body: body, status: 200, answer: `"evicted":1`, evicts: true},
		"without CACHE_DEBUG, too":   {cfg: config.Config{}, method: "POST", body: body, status: 405, answer: "CACHE_DEBUG is off"},
		"another method":             {cfg: open, method: "PUT", body: body, status: 405},
		"no JSON":                    {cfg: open, method: "POST", body: body, headers: []string{"Content-Type: text/plain"}, status: 415},
		"a foreign page":             {cfg: open, method: "POST", body: body, headers: []string{"Origin: https://evil.example"}, status: 403},
		"a foreign page reads":       {cfg: open, method: "GET", headers: []string{"Sec-Fetch-Site: cross-site"}, status: 403},
		"its own page":               {cfg: open, method: "POST", body: body, headers: []string{"Origin: http://example.com", "Sec-Fetch-Site: same-origin"}, status: 200, evicts: true},
		"nothing":                    {cfg: open, method: "POST", body: `{}`, status: 400},
		"nobody":                     {cfg: closed, method: "POST", body: body, status: 403, answer: "only an admin"},
		"a user":                     {cfg: closed, method: "POST", body: body, viewer: graph.Viewer{ID: 42}, status: 403},
		"an admin":                   {cfg: closed, method: "POST", body: body, viewer: graph.Viewer{ID: 1, Admin: true}, status: 200, evicts: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evicted := &evictions{}
			o := Options{Config: tt.cfg, Log: slog.New(slog.DiscardHandler), Gateway: &Gateway{
				Evictor: evicted, Coordinates: map[string]gqlcache.FieldExplanation{
					"Product.stock": {Coordinate: "Product.stock", MaxAge: new(int64(30)), Scope: "public", Stored: "field", Truth: gqlcache.TruthRows},
				},
			}}
			r := httptest.NewRequest(tt.method, "/graphql/cache", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/json")
			for _, line := range tt.headers {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			o.desk().ServeHTTP(w, r.WithContext(graph.WithViewer(r.Context(), tt.viewer)))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) || !json.Valid(w.Body.Bytes()) {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, tt.status, tt.answer)
			}
			if w.Code == http.StatusOK && tt.method == "GET" && w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v, want no-store", w.Header())
			}
			want := &evictions{}
			if tt.evicts {
				want.Order = gqlcache.Order{Keys: []string{"user:42"}, Tags: []string{"{Product}"}}
			}
			if !reflect.DeepEqual(evicted, want) {
				t.Errorf("evicted %v, want %v", evicted, want)
			}
		})
	}
}

// The log says why an eviction failed, the response does not: errors may name servers, and this is
// the public port.
func TestDeskHidesWhyAnEvictionFailed(t *testing.T) {
	t.Parallel()
	o := Options{Config: config.Config{CacheDebug: true}, Log: slog.New(slog.DiscardHandler), Gateway: &Gateway{
		Evictor: &fakeEvictor{err: errors.New("dial tcp 10.0.0.5:6379: connection refused")},
	}}
	r := httptest.NewRequest(http.MethodPost, "/graphql/cache", strings.NewReader(`{"keys":["user:42"]}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	o.desk().ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "at least in part: the log has the error") || strings.Contains(w.Body.String(), "10.0.0.5") {
		t.Errorf("got %d %s, want 503 without the error", w.Code, w.Body)
	}
}
