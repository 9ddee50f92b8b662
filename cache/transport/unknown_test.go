package transport_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/policy"
	"fieldcache/cache/transport"
)

// A private response for an unknown viewer is never cached, so no warning about its statements is
// logged.
func TestStatementsOfUnknownViewers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	watch := new(cache.Watch)
	front, err := transport.NewFront(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watch.Began(r.Context(), "SELECT 1")
		watch.Ended(r.Context(), "SELECT 1")
		overall := policy.Overall{MaxAge: time.Minute, Scope: cache.Private}
		transport.Tell(r.Context(), transport.Executed{Overall: overall, Viewer: viewerIn(r.Context())})
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"data":{"me":null}}`))
	}), transport.FrontOptions{Answers: newStore(t).Store, Viewer: viewerIn, Watch: watch, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, viewer := range []string{"", "ada"} {
		ctx := context.WithValue(t.Context(), viewerKey{}, viewer)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(`{"query":"{me}"}`))
		r.Header.Set("Content-Type", "application/json")
		front.ServeHTTP(w, r)
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("viewer %q: got Cache-Control %s, want no-store", viewer, got)
		}
		if warned := log.Len() > 0; warned != (viewer != "") {
			t.Errorf("viewer %q: got log %q", viewer, &log)
		}
	}
}
