package serve

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache/answers"
	"fieldcache/internal/config"
)

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	with := config.Config{Playground: true}
	without := config.Config{}
	tests := []struct {
		name, method, path, body string
		cfg                      config.Config
		status                   int
		answer                   string // a part of the response
	}{
		{"POST", "POST", "/graphql", "0123456789", without, 200, "0123456789"},
		{"GET", "GET", "/graphql?query=x", "", without, 200, ""},
		{"playground", "GET", "/", "", with, 200, "<html"},
		{"no playground", "GET", "/", "", without, 404, "GraphQL is at /graphql"},
		{"elsewhere", "GET", "/elsewhere", "", without, 404, "GraphQL is at /graphql"},
		{"elsewhere with a playground", "GET", "/elsewhere", "", with, 404, "/graphql"},
		{"below", "GET", "/graphql/", "", without, 404, "GraphQL is at /graphql"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			newPublicHandler(tt.cfg, echo(), http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %.300s, want %d with %s", w.Code, w.Body, tt.status, tt.answer)
			}
		})
	}
}

func TestPublicCORS(t *testing.T) {
	t.Parallel()
	const origin = "https://shop.example"
	tests := []struct {
		name    string
		origins []string
		from    string
		allowed string // Access-Control-Allow-Origin
	}{
		{"none", nil, origin, ""},
		{"listed", []string{"https://a.example", origin}, origin, origin},
		{"not listed", []string{"https://a.example"}, origin, ""},
		{"another port", []string{origin}, origin + ":8443", ""},
		{"all", []string{"*"}, origin, "*"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newPublicHandler(config.Config{CORSOrigins: tt.origins}, echo(), http.NotFoundHandler())
			preflight := httptest.NewRequest(http.MethodOptions, "/graphql", nil)
			preflight.Header.Set("Origin", tt.from)
			preflight.Header.Set("Access-Control-Request-Method", "POST")
			preflight.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, preflight)
			headers := w.Header().Get("Access-Control-Allow-Headers")
			passed := len(tt.origins) == 0 // without origins the handler itself responds
			if (w.Code == http.StatusNoContent) == passed || w.Header().Get("Access-Control-Allow-Origin") != tt.allowed {
				t.Errorf("preflight: got %d %v", w.Code, w.Header())
			}
			if tt.allowed != "" && headers != "authorization,content-type" {
				t.Errorf("preflight allows the headers %q", headers)
			}

			real := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader("{}"))
			real.Header.Set("Origin", tt.from)
			w = httptest.NewRecorder()
			h.ServeHTTP(w, real)
			exposed := w.Header().Get("Access-Control-Expose-Headers")
			if w.Code != http.StatusOK || w.Header().Get("Access-Control-Allow-Origin") != tt.allowed {
				t.Errorf("request: got %d %v", w.Code, w.Header())
			}
			for _, name := range []string{"Age", "Cache-Status", "Etag", "X-Request-Id"} {
				if strings.Contains(exposed, name) != (tt.allowed != "") {
					t.Errorf("got the exposed headers %q for the allowed origin %q", exposed, tt.allowed)
				}
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	var seen string
	h := withRequestLog(slog.New(slog.DiscardHandler), newLatency(prometheus.NewRegistry()), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = requestOf(r.Context()).id
	}))
	tests := []struct {
		name, given string
		cached      bool
	}{
		{"given", "abc-123_X.y", true},
		{"the longest", strings.Repeat("x", 64), true},
		{"none", "", false},
		{"too long", strings.Repeat("x", 65), false},
		{"with a blank", "a b", false},
		{"with a line break", "a\nlevel=ERROR", false},
		{"with a quote", `a"`, false},
		{"not ASCII", "ä", false},
	}
	ids := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set(requestIDHeader, tt.given)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answered := w.Header().Get(requestIDHeader)
			if answered != seen || !safeID.MatchString(seen) || (seen == tt.given) != tt.cached || ids[seen] {
				t.Errorf("given %q: got %q in the context and %q in the response", tt.given, seen, answered)
			}
			ids[seen] = true
		})
	}
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		level  string
		handle http.HandlerFunc
		want   []string // parts of the log after the request; nil if nothing is logged
		status int
	}{
		{"well", "info", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "well") }, nil, 200},
		{"well, at level debug", "debug", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "well") },
			[]string{`"level":"DEBUG"`, `"status":200`, `"bytes":4`, `"duration_ms":`, `"request_id":"the-id"`}, 200},
		{"refused", "info", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, []string{`"level":"INFO"`, `"status":400`}, 400},
		{"not cached, at level info", "info", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Status", string(answers.NotForwarded))
			w.WriteHeader(504)
		}, []string{`"level":"INFO"`, `"status":504`}, 504},
		{"failed", "error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, []string{`"level":"ERROR"`, `"status":502`}, 502},
		{"panic", "info", func(http.ResponseWriter, *http.Request) { panic("hunter2") },
			[]string{`"panic":"hunter2"`, `public_test.go`, `"request_id":"the-id"`, `"status":500`}, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := config.Load("serve", []string{"LOG_LEVEL=" + tt.level}, nil)
			if err != nil {
				t.Fatal(err)
			}
			log := &bytes.Buffer{}
			h := withRequestLog(NewLogger(log, cfg), newLatency(prometheus.NewRegistry()), tt.handle)
			r := httptest.NewRequest(http.MethodGet, "/graphql?query=secret", nil)
			r.Header.Set(requestIDHeader, "the-id")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			logged := log.String()
			if tt.want == nil && logged != "" || strings.Contains(logged, "secret") {
				t.Errorf("logged %s, want nothing, or no secret", logged)
			}
			for _, part := range tt.want {
				if !strings.Contains(logged, part) {
					t.Errorf("logged %s, want %s in it", logged, part)
				}
			}
		})
	}
}

// An incomplete response must not look complete.
func TestPanicInTheMiddleBreaksTheConnection(t *testing.T) {
	t.Parallel()
	log := &bytes.Buffer{}
	server := httptest.NewServer(withRequestLog(NewLogger(log, config.Config{}), newLatency(prometheus.NewRegistry()), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic("in the middle")
	})))
	t.Cleanup(server.Close)
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got the response %q without an error, want a broken connection", body)
	}
	server.Close() // waits for the handler
	if !strings.Contains(log.String(), "in the middle") {
		t.Errorf("logged %s, want the panic", log)
	}
}

func TestLogFormat(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"": `"msg":"hello"`, "json": `"msg":"hello"`, "text": "msg=hello"} {
		log := &bytes.Buffer{}
		NewLogger(log, config.Config{LogFormat: format}).With("a", 1).WithGroup("g").Info("hello")
		if !strings.Contains(log.String(), want) {
			t.Errorf("with LOG_FORMAT=%s logged %s", format, log)
		}
	}
}
