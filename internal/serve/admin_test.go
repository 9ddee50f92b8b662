package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
)

type fakeEvictor struct {
	got string
	n   int
	err error
}

func (f *fakeEvictor) Evict(_ context.Context, o gqlcache.Order) (int, error) {
	f.got = fmt.Sprint(o.Keys, o.Types, o.Tags)
	if len(o.Coordinates)+len(o.Rows) > 0 {
		f.got += fmt.Sprint(o.Coordinates, o.Rows, o.Soft)
	}
	return f.n, f.err
}

func newTestAdmin() admin {
	ok := func(context.Context) error { return nil }
	return admin{
		database: ok, redis: ok, draining: func() bool { return false },
		evictor: &fakeEvictor{n: 3}, metrics: prometheus.NewRegistry(), log: slog.New(slog.DiscardHandler),
		redact: func(text string) string { return strings.ReplaceAll(text, "hunter2", "…") },
	}
}

func TestAdminReadiness(t *testing.T) {
	t.Parallel()
	down := func(context.Context) error { return errors.New("down, and the password is hunter2") }
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := []struct {
		name   string
		change func(*admin)
		status int
		body   string
	}{
		{"all well", func(*admin) {}, 200, `{"status":"ready","database":"ok","redis":"ok"}`},
		{"without Redis", func(a *admin) { a.redis = nil }, 200, `{"status":"ready","database":"ok","redis":"off"}`},
		{"Redis down", func(a *admin) { a.redis = down }, 200, `{"status":"ready","database":"ok","redis":"down","redisReason":"down, and the password is …"}`},
		{"Redis hangs", func(a *admin) { a.redis = hang }, 200, `{"status":"ready","database":"ok","redis":"down","redisReason":"context deadline exceeded"}`},
		{"Redis refuses", func(a *admin) {
			a.redis = func(context.Context) error { return fmt.Errorf("begin: %w: READONLY hunter2", cache.ErrRefused) }
		}, 200, `{"status":"ready","database":"ok","redis":"sick","redisReason":"begin: refused: READONLY …"}`},
		{"database down", func(a *admin) { a.database = down }, 503, `{"status":"unready","database":"down","redis":"ok"}`},
		{"database hangs", func(a *admin) { a.database = hang }, 503, `{"status":"unready","database":"down","redis":"ok"}`},
		{"draining", func(a *admin) { a.draining = func() bool { return true } }, 503, `{"status":"draining","database":"ok","redis":"ok"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newTestAdmin()
			tt.change(&a)
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if w.Code != tt.status || strings.TrimSpace(w.Body.String()) != tt.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.body)
			}
			w = httptest.NewRecorder()
			a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			if w.Code != http.StatusOK {
				t.Errorf("GET /healthz = %d, want 200", w.Code)
			}
		})
	}
}

func TestAdminEvict(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	tests := []struct {
		name, contentType, body string
		status                  int
		answer                  string // a part of the response
		evicted                 string // what the cache was asked to evict; "" for nothing
	}{
		{"keys", "application/json", `{"keys":["user:42","product:7"]}`, 200, `{"evicted":3,"types":0,"tags":0}`, "[user:42 product:7] [] []"},
		{"all kinds", "application/json; charset=utf-8", `{"keys":["user:42"],"types":["Product"],"tags":["users"]}`, 200, `{"evicted":3,"types":1,"tags":1}`, "[user:42] [Product] [users]"},
		{"unknown field", "application/json", `{"key":["user:42"]}`, 400, "unknown object member name", ""},
		{"wrong type", "application/json", `{"keys":"user:42"}`, 400, " unmarshal JSON ", ""},
		{"number for a key", "application/json", `{"keys":[42]}`, 400, " unmarshal JSON ", ""},
		{"empty", "application/json", ``, 400, "EOF", ""},
		{"a field and a row, softly", "application/json", `{"coordinates":["Product.reviews"],"rows":["reviews:9","reviews:10"],"soft":true}`, 200,
			`{"evicted":3,"types":0,"tags":0,"coordinates":1,"rows":2}`, "[] [] [][Product.reviews] [reviews:9 reviews:10] true"},
		{"nothing, softly", "application/json", `{"soft":true}`, 400, "nothing to evict", ""},
		{"empty object", "application/json", `{}`, 400, "nothing to evict", ""},
		{"empty lists", "application/json", `{"keys":[],"types":[],"tags":[]}`, 400, "nothing to evict", ""},
		{"empty key", "application/json", `{"keys":["user:42",""]}`, 400, "is not a name", ""},
		{"two objects", "application/json", `{"keys":["user:42"]}{}`, 400, "after top-level value", ""},
		{"a name in another case", "application/json", `{"Keys":["user:42"]}`, 400, "unknown object member name", ""},
		{"a name twice", "application/json", `{"keys":["user:42"],"keys":["user:43"]}`, 400, "duplicate object member name", ""},
		{"not UTF-8", "application/json", "{\"keys\":[\"user:\xff\"]}", 400, "UTF-8", ""},
		{"half a surrogate pair", "application/json", `{"keys":["user:\ud800"]}`, 400, "surrogate", ""},
		{"not JSON", "application/json", `keys`, 400, "invalid character", ""},
		{"form", form, `keys=user:42`, 415, "application/json", ""},
		{"text", "text/plain", `{"keys":["user:42"]}`, 415, "application/json", ""},
		{"no content type", "", `{"keys":["user:42"]}`, 415, "application/json", ""},
		{"too large", "application/json", `{"keys":["` + strings.Repeat("x", evictMaxBytes) + `"]}`, 413, "bytes", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, cache := newTestAdmin(), &fakeEvictor{n: 3}
			a.evictor = cache
			r := httptest.NewRequest(http.MethodPost, "/evict", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.answer)
			}
			if cache.got != tt.evicted {
				t.Errorf("the cache was asked to evict %q, want %q", cache.got, tt.evicted)
			}
		})
	}
}

func TestAdminEvictErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		status int
		answer string
	}{
		{"the caller's error", fmt.Errorf("%w: no type Produkt", gqlcache.ErrNames), 400, "no type Produkt"},
		{"an error of Redis", errors.New("redis://:hunter2@h: connection refused"), 503, "the eviction failed, at least in part: redis://:…@h: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newTestAdmin()
			a.evictor = &fakeEvictor{err: tt.err}
			r := httptest.NewRequest(http.MethodPost, "/evict", strings.NewReader(`{"types":["Produkt"]}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.answer)
			}
		})
	}
}

func TestAdminRoutes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newTestAdmin().handler())
	t.Cleanup(server.Close)
	tests := []struct {
		method, path, origin string
		status               int
	}{
		{"GET", "/metrics", "", 200},
		{"GET", "/debug/pprof/", "", 200},
		{"GET", "/debug/pprof/heap", "", 200},
		{"GET", "/debug/pprof/cmdline", "", 404}, // command-line flags may hold secrets
		{"GET", "/evict", "", 404},
		{"GET", "/", "", 404},
		{"GET", "/graphql", "", 404},
		{"POST", "/evict", "https://evil.example", 403},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != tt.status {
				t.Errorf("got %d %.200s (%v), want %d", response.StatusCode, body, err, tt.status)
			}
		})
	}
}
