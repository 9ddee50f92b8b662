package graph_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"fieldcache/cache/transport"
	"fieldcache/graph"
)

// mostAllocations is how many allocations a hit may make, however large the response is.
const mostAllocations = 4

// sink is a response writer that discards the response, so that only the handler allocates.
type sink struct {
	header  http.Header
	status  int
	written int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	s.written += len(p)
	return len(p), nil
}

// rewound is a request body that can be sent again.
type rewound struct{ *bytes.Reader }

func (rewound) Close() error { return nil }

// A hit on a cached response allocates little: nothing is decoded, parsed or marshaled.
func TestCachedAnswersAllocateLittle(t *testing.T) {
	k := newRootShop(t)
	h := k.handler.(*transport.Handler)
	for name, query := range operations {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(map[string]string{"query": query})
			if err != nil {
				t.Fatal(err)
			}
			body := rewound{bytes.NewReader(text)}
			r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodPost, "/graphql", body)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(text))

			first := httptest.NewRecorder()
			h.ServeHTTP(first, r)
			w := &sink{header: http.Header{}}
			hits := h.Hits()
			runs := 0
			allocations := testing.AllocsPerRun(1000, func() {
				runs++
				clear(w.header)
				w.written = 0
				_, _ = body.Seek(0, io.SeekStart)
				r.Body = body
				if _, served := h.ServeCached(w, r); !served {
					t.Fatal("the response was not cached")
				}
			})
			if allocations > mostAllocations {
				t.Errorf("got %v allocations, want at most %d", allocations, mostAllocations)
			}
			if got := h.Hits() - hits; got != uint64(runs) { //nolint:gosec // counted up from 0
				t.Errorf("got %d hits in %d runs", got, runs)
			}
			if w.written != first.Body.Len() || w.written == 0 {
				t.Errorf("got %d bytes, want %d as in the first response", w.written, first.Body.Len())
			}
			t.Logf("%v allocations for %d bytes", allocations, w.written)
		})
	}
}
