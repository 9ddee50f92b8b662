package gqlcache_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/redis/go-redis/v9"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// keysOf returns the keys of Redis that match a pattern, sorted.
func keysOf(t *testing.T, address, pattern string) []string {
	t.Helper()
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	keys, err := client.Keys(t.Context(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

type languageKey struct{}

// inLanguage gives resolvers the language of a request.
func inLanguage(_ *observer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), languageKey{}, r.Header.Get("Accept-Language"))))
	})
}

// translated is a motto in the language of the request.
func translated(ctx context.Context, o *observer) (string, error) {
	text, err := read(ctx, o.watched, "SELECT body FROM notes WHERE id = 1")
	language, _ := ctx.Value(languageKey{}).(string)
	return text + " in " + language, err
}

func byLanguage(o *gqlcache.Options) {
	o.Variant = func(r *http.Request) string { return r.Header.Get("Accept-Language") }
	o.Vary = []string{"Accept-Language"}
}

// Each variant of requests has its own values, as fields, as whole responses, in Redis and for HTTP caches. A write
// evicts those of all.
func TestVariants(t *testing.T) {
	t.Parallel()
	url, address := testservers.Postgres(t), testservers.Redis(t)
	change := func(o *gqlcache.Options) {
		byLanguage(o)
		o.Redis = []string{address}
	}
	o := observe(t, url, translated, change, inLanguage)
	ask := func(o *observer, query, language string) (header http.Header, cached bool) {
		t.Helper()
		before := o.reads.Load()
		body, header := post(t, o.url, query, "Accept-Language: "+language)
		if want := `"one in ` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(language) + `"`; !strings.Contains(body, want) {
			t.Errorf("%s in %q: got %s, want %s", query, language, body, want)
		}
		if vary := strings.Join(header.Values("Vary"), ", "); vary != "Accept, Accept-Encoding, Accept-Language" {
			t.Errorf("%s in %q: got Vary %q", query, language, vary)
		}
		return header, o.reads.Load() == before
	}
	languages := []string{"en", "de", "", "e;n", `"\`}
	for _, l := range languages {
		if _, cached := ask(o, "{motto}", l); cached {
			t.Errorf("in %q: got a cached value, want one of its own", l)
		}
	}
	for _, l := range languages {
		o.eventually("the response is cached", func() bool {
			header, _ := ask(o, "{motto}", l)
			return strings.HasPrefix(header.Get("Cache-Status"), "fieldcache; hit")
		})
		n := 0
		o.eventually("the field is cached", func() bool {
			n++ // another response, with the same field
			_, cached := ask(o, "{motto"+strings.Repeat(" ", n)+"}", l)
			return cached
		})
	}
	o.eventually("Redis has each variant under its own key", func() bool {
		for _, l := range languages { // it may have refused the first ones
			post(t, o.url, "{motto}", "Accept-Language: "+l, "Cache-Control: no-cache")
		}
		keys := keysOf(t, address, "query:motto*")
		return slices.Equal(keys, []string{"query:motto", "query:motto;%22%5C", "query:motto;de", "query:motto;e%3Bn", "query:motto;en"})
	})
	o.exec(`UPDATE notes SET body = 'new' WHERE id = 1`)
	for _, l := range languages[:3] {
		o.eventually("the new row", func() bool {
			body, _ := post(t, o.url, "{motto}", "Accept-Language: "+l)
			return strings.Contains(body, `"new in `+l+`"`)
		})
	}
}

// A websocket is a request of one variant.
func TestVariantsOfWebsockets(t *testing.T) {
	t.Parallel()
	o := observe(t, testservers.Postgres(t), translated, byLanguage, inLanguage)
	for _, l := range []string{"en", "de"} {
		c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(o.url, "http"), &websocket.DialOptions{ //nolint:bodyclose // it has none
			Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: http.Header{"Accept-Language": {l}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		for _, message := range []string{`{"type":"connection_init"}`, `{"type":"subscribe","id":"1","payload":{"query":"{motto}"}}`} {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
		var got struct {
			Type    string
			Payload struct{ Data struct{ Motto string } }
		}
		for got.Type != "next" {
			if err := wsjson.Read(t.Context(), c, &got); err != nil {
				t.Fatal(err)
			}
		}
		if motto := got.Payload.Data.Motto; motto != "one in "+l {
			t.Errorf("got %q, want %q", motto, "one in "+l)
		}
	}
}

// Without its handler the Gateway does not know the variants, and caches nothing.
func TestVariantsNeedTheHandler(t *testing.T) {
	t.Parallel()
	o := observe(t, testservers.Postgres(t), translated, nil)
	var log syncBuffer
	options := gqlcache.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	byLanguage(&options)
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: root{o.tables, func(ctx context.Context) (*string, error) {
		o.reads.Add(1)
		text, err := translated(ctx, o)
		return &text, err
	}}})
	gateway, err := gqlcache.Open(t.Context(), schema, options)
	if err != nil {
		t.Fatal(err)
	}
	o.closing(gateway.Close)
	url := listen(t, inLanguage(o, newServer(schema, gateway)))
	for _, l := range []string{"en", "de", "en"} {
		if body, _ := post(t, url, "{motto}", "Accept-Language: "+l); !strings.Contains(body, "one in "+l) {
			t.Errorf("got %s in %s", body, l)
		}
	}
	if n := o.reads.Load(); n != 3 {
		t.Errorf("got %d calls of the resolver, want 3", n)
	}
	if !strings.Contains(log.String(), "put Handler in front of the server") {
		t.Errorf("got the log\n%s\nwant the reason", log.String())
	}
}

// Options that let an HTTP cache serve one variant for another are refused.
func TestVariantsNeedVary(t *testing.T) {
	t.Parallel()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	variant := func(*http.Request) string { return "" }
	for name, tt := range map[string]struct {
		variant func(*http.Request) string
		vary    []string
		fault   string
	}{
		"neither":                 {},
		"a variant by the host":   {variant: variant, vary: []string{}},
		"a variant by a header":   {variant: variant, vary: []string{"Accept-Language"}},
		"a variant alone":         {variant: variant, fault: "option Vary: name the headers that Variant reads"},
		"headers alone":           {vary: []string{"Accept-Language"}, fault: "option Vary is for Variant"},
		"what is not a header":    {variant: variant, vary: []string{"a b"}, fault: `header "a b" of Vary is no name`},
		"what forbids all caches": {variant: variant, vary: []string{"*"}, fault: `header "*" of Vary is no name`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Variant: tt.variant, Vary: tt.vary, Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				_ = g.Close()
			}
			if (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("got error %v, want %q", err, tt.fault)
			}
		})
	}
}
