package transport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fieldcache/cache/policy"
	"fieldcache/cache/transport"
)

// Clients offer to upgrade a connection to HTTP/2, as Java's HttpClient does, and servers ignore it.
// The response to a mutation of such a client comes after the evictions of what was committed around
// it, and the response to a query is stored.
func TestFrontIgnoresOffersOfHTTP2(t *testing.T) {
	t.Parallel()
	for _, upgrade := range []string{"h2c", "foo/2, h2c", "websockets"} {
		k := newKeeper(t, transport.Options{})
		runs, events := 0, []string(nil)
		next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runs++
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			mutates := strings.Contains(string(body), "mutation")
			overall := policy.Overall{}
			if !mutates {
				overall = policy.Overall{MaxAge: time.Minute}
			}
			transport.Tell(r.Context(), transport.Executed{Mutation: mutates, Overall: overall})
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{}}`)
			events = append(events, "committed")
		})
		front, err := transport.NewFront(next, transport.FrontOptions{
			Answers: k.store, Written: func(context.Context) { events = append(events, "evicted") },
		})
		if err != nil {
			t.Fatal(err)
		}
		send := func(query string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(query))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
			r.Header.Set("Upgrade", upgrade)
			w := httptest.NewRecorder()
			front.ServeHTTP(w, r)
			return w
		}
		send(`{"query":"mutation { change }"}`)
		if got := strings.Join(events, ", "); got != "committed, evicted" {
			t.Errorf("Upgrade: %s: a mutation: got %s, want it to be evicted before the response", upgrade, got)
		}
		runs = 0
		for range 3 {
			send(hello)
		}
		if runs != 1 {
			t.Errorf("Upgrade: %s: a query ran %d times, want once", upgrade, runs)
		}
	}
}
