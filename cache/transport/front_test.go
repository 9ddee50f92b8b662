package transport_test

import (
	"cmp"
	"context"
	"io"
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

// A response with a header that stored ones would lack, or whose age other code determines, is not stored, and the log
// names the header once.
func TestFrontNamesHeadersOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header string
		front  bool // whether it is set in front, where each response gets its own
		log    bool
	}{
		{"X-Request-Id", false, true}, {"X-Request-Id", true, false}, {"Set-Cookie", false, true}, {"Set-Cookie", true, false},
		{"Cache-Control", false, true}, {"Cache-Control", true, true},
	} {
		k, log, runs := newKeeper(t, transport.Options{}), &strings.Builder{}, 0
		front, err := transport.NewFront(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runs++
			transport.Tell(r.Context(), transport.Executed{Overall: policy.Overall{MaxAge: time.Minute}})
			if !c.front {
				w.Header().Set(c.header, "a=1")
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{}}`)
		}), transport.FrontOptions{Answers: k.store, Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(hello))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if c.front {
				w.Header().Set(c.header, "a=1")
			}
			front.ServeHTTP(w, r)
			if got := w.Header().Get(c.header); got != "a=1" {
				t.Errorf("%+v: got header %q", c, got)
			}
		}
		named := strings.Count(log.String(), "header="+c.header+"\n")
		if (runs == 1) == c.log || (named == 1) != c.log || strings.Count(log.String(), "\n") != named {
			t.Errorf("%+v: ran %d times, log %s", c, runs, log)
		}
	}
}

// A response that is not the one that was reported is stored by nobody: other code has added an error or an extension of
// one request, or has put responses to several operations together.
func TestFrontDoesNotLetOthersStoreWhatWasAdded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body   string
		stored bool
	}{
		{`{"data":{}}`, true},
		{`{"errors":[{"message":"too late"}],"data":{}}`, false},
		{`{"data":null,"errors":[{"message":"too late"}]}`, false},
		{`{"data":{},"extensions":{"trace":7}}`, false},
		{`[{"data":{}},{"errors":[{"message":"not valid"}]}]`, false},
		{`{"data":{}} {"errors":[]}`, false},
	} {
		k := newKeeper(t, transport.Options{})
		front, err := transport.NewFront(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			transport.Tell(r.Context(), transport.Executed{Overall: policy.Overall{MaxAge: time.Minute}})
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, c.body)
		}), transport.FrontOptions{Answers: k.store})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?query={hello}", nil))
		want := "no-store"
		if c.stored {
			want = "max-age=60, public"
		}
		header := w.Header()
		if got := header.Get("Cache-Control"); w.Body.String() != c.body || got != want || (header.Get("Etag") != "") != c.stored {
			t.Errorf("%s: got %s with Cache-Control %s and ETag %s, want Cache-Control %s", c.body, w.Body, got, header.Get("Etag"), want)
		}
	}
}

// No viewer who is known only behind the front gets what was stored for anonymous viewers. Those get it if authentication
// is known to run in front, and only there.
func TestFrontWithAuthenticationBehind(t *testing.T) {
	t.Parallel()
	k, log := newKeeper(t, transport.Options{}), &strings.Builder{}
	front, err := transport.NewFront(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		viewer := cmp.Or(viewerIn(r.Context()), r.Header.Get("X-Key"))
		transport.Tell(r.Context(), transport.Executed{Viewer: viewer, Overall: policy.Overall{MaxAge: time.Minute, Scope: cache.Private}})
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"me":"`+viewer+`"}}`)
	}), transport.FrontOptions{Answers: k.store, Viewer: viewerIn, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		query, inFront, behind string
		hit, warns             bool
	}{
		{query: "{me}"},
		{query: "{me}"}, // authentication may run behind
		{query: "{me}", behind: "42"},
		{query: "{me}", inFront: "7"},
		{query: "{me}", inFront: "7", hit: true},
		{query: "{me}"},
		{query: "{me}", hit: true},
		{query: "{you: me}", behind: "42", warns: true},
		{query: "{me}", behind: "42", warns: true},
		{query: "{me}", warns: true},
		{query: "{me}", inFront: "7", hit: true, warns: true},
	} {
		ctx := context.WithValue(t.Context(), viewerKey{}, c.inFront)
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(`{"query":"`+c.query+`"}`))
		r.Header.Set("Content-Type", "application/json")
		if c.behind != "" {
			r.Header.Set("X-Key", c.behind)
		}
		w := httptest.NewRecorder()
		front.ServeHTTP(w, r)
		hit := strings.Contains(w.Header().Get("Cache-Status"), "hit")
		if want := `{"data":{"me":"` + c.inFront + c.behind + `"}}`; w.Body.String() != want || hit != c.hit || strings.Contains(log.String(), "IdentityHeaders") != c.warns {
			t.Errorf("request %d, %+v: got %s (%s), log %s", i, c, w.Body, w.Header().Get("Cache-Status"), log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("got %d lines, want 1:\n%s", n, log)
	}
}
