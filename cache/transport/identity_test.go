package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/transport"
)

const (
	mine     = `{"query":"{ mine }"}`
	mineToo  = `{"query":"{ mine hello }"}`
	varyMine = "Accept, Accept-Encoding, Authorization, Cookie"
)

func varyOf(r reply) string { return strings.Join(r.header["Vary"], ", ") }

// Without a Viewer, viewers cannot be distinguished, so nothing private is cached: neither whole
// responses nor root fields, in whatever form they are requested. Public responses are cached as
// usual.
func TestFault02NoViewerStoresNothingPrivate(t *testing.T) {
	t.Parallel()
	k := keepFor(t, transport.Options{}, roots)
	k.front = true
	for _, in := range []request{
		post(mine), post(mineToo), post(`{ "query": "{ mine }" }`), byGet("{ mine }"), byGet("{ mine hello }"),
		post("[" + mine + "," + hello + "]"),
	} {
		for _, viewer := range []string{"8", "9", "", "8"} {
			r := k.send(t, in.as(viewer))
			if !strings.Contains(r.body, "mine:{}"+viewer+" v0") || r.hit() || strings.Contains(r.cacheStatus(), "stored") {
				t.Errorf("%s%s for %q: got %s (%s)", in.target, in.body, viewer, r.body, r.cacheStatus())
			}
			if varyOf(r) != varyMine || r.header.Get("Cache-Control") != "max-age=60, private" {
				t.Errorf("%s%s for %q: got headers %v", in.target, in.body, viewer, r.header)
			}
		}
	}
	k.send(t, post(hello).as("8"))
	if r := k.send(t, post(hello).as("9")); !r.hit() {
		t.Errorf("public response: got %s", r.cacheStatus())
	}
}

// Handlers that share a store serve only their own responses, whole or in part: other middleware made the others.
func TestHandlersShareNoResponses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	both := []*keeper{keepIn(t, s, transport.Options{}, roots), keepIn(t, s, transport.Options{}, roots)}
	const two = `{"query":"{ hello number }"}`
	for _, front := range []bool{false, true} {
		if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Tags: []cache.Tag{"{All}"}}); err != nil {
			t.Fatal(err)
		}
		for i, k := range both {
			k.front = front
			before := k.executions.Load()
			for n, in := range []request{post(two), post(`{ "query": "{ hello number }" }`), post(two), byGet("{ hello number }")} {
				if r := k.send(t, in); r.hit() != (n > 0) {
					t.Errorf("handler %d, request %d: got %s %s", i, n, r.cacheStatus(), r.body)
				}
			}
			if n := k.executions.Load() - before; n != 1 {
				t.Errorf("handler %d executed %d operations, want 1", i, n)
			}
		}
	}
	shared := &gqlcache.Roots{Answers: s.Store}
	if err := shared.Validate(nil); err != nil {
		t.Fatal(err)
	}
	if err := shared.Validate(nil); err == nil {
		t.Error("Roots are accepted in a second executor")
	}
}

func roots(s *answers.Store) graphql.HandlerExtension { return &gqlcache.Roots{Answers: s} }

// storeOf is a store of responses with its cache.
type storeOf struct {
	*answers.Store
	cache *cache.Cache
}

func newStore(t testing.TB) storeOf {
	t.Helper()
	memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	store, err := answers.New(answers.Options{Cache: c, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		store.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return storeOf{store, c}
}

func TestFault02NewHandlerRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: "type Query { a: Int }"})
	exec := executor.New(&graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }})
	for name, c := range map[string]struct {
		o    transport.Options
		want string
	}{
		"a header's name":                       {transport.Options{IdentityHeaders: []string{"X-User", "X User"}}, `"X User"`},
		"two names in one":                      {transport.Options{IdentityHeaders: []string{"Authorization,Cookie"}}, `"Authorization,Cookie"`},
		"any header":                            {transport.Options{IdentityHeaders: []string{"*"}}, `"*"`},
		"no header":                             {transport.Options{IdentityHeaders: []string{""}}, `""`},
		"a break in Vary":                       {transport.Options{CachedVary: "Origin\r\nX: y"}, "CachedVary"},
		"any tag header":                        {transport.Options{TagHeader: "Set-Cookie"}, "TagHeader"},
		"a negative limit":                      {transport.Options{MaxBodyBytes: -1}, "negative"},
		"TrustedOnly without trusted documents": {transport.Options{TrustedOnly: true}, "TrustedOnly"},
		"another text's hash":                   {transport.Options{Trusted: transport.Trusted{strings.Repeat("0", 64): "{ a }"}}, "Trusted"},
		"all faults are reported":               {transport.Options{CachedVary: "(", TagHeader: "x", Timeout: -1}, "TagHeader"},
		"an executor is missing":                {transport.Options{}, "executor"},
	} {
		with := exec
		if name == "an executor is missing" {
			with = nil
		}
		if h, err := transport.NewHandler(with, c.o); err == nil || h != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %s", name, err, c.want)
		}
	}
}

// The zero values of the extensions work as documented, or are refused when the extension is used.
func TestFault02ExtensionsWithoutOptions(t *testing.T) {
	t.Parallel()
	k := keepFor(t, transport.Options{}, func(*answers.Store) graphql.HandlerExtension { return &gqlcache.FieldCount{} })
	if r := k.send(t, post(hello)); r.status != http.StatusOK || !strings.Contains(r.body, "hello") {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if err := (&gqlcache.Roots{}).Validate(nil); err == nil {
		t.Error("Roots without a store are accepted")
	}
	k = keepFor(t, transport.Options{}, roots)
	for range 2 {
		if r := k.send(t, post(`{"query":"{ hello number }"}`)); r.status != http.StatusOK || !strings.Contains(r.body, "number") {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
}

// A request that may come from a known viewer does not get a response that was cached for an
// unknown one, unless it is public, with ServeCached and without it. Private responses vary by the
// headers that identify the viewer.
func TestFault03IdentityFromElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers []string // configured; nil: the default
		request string   // the header that may identify the viewer
		vary    string
	}{
		"a cookie":                               {nil, "Cookie: session=8", varyMine},
		"an empty cookie":                        {nil, "Cookie: ", varyMine},
		"authorization":                          {nil, "Authorization: Basic YTpi", varyMine},
		"a header of a proxy":                    {[]string{"x-forwarded-user", "Cookie"}, "X-Forwarded-User: ada", "Accept, Accept-Encoding, X-Forwarded-User, Cookie"},
		"authorization, which is not configured": {[]string{"X-User"}, "Authorization: Bearer x", "Accept, Accept-Encoding, X-User"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, transport.Options{IdentityHeaders: c.headers})
			k.front = true
			for _, in := range []request{post(mine), byGet("{ mine }"), post(mineToo)} {
				k.send(t, in)
				if r := k.send(t, in); !r.hit() || varyOf(r) != c.vary {
					t.Errorf("no viewer: got %s %v", r.cacheStatus(), r.header)
				}
				if name == "authorization, which is not configured" {
					continue // ServeCached does not serve it, and the handler knows no viewer
				}
				for range 2 {
					if r := k.send(t, in.with(c.request)); r.hit() || strings.Contains(r.cacheStatus(), "stored") || varyOf(r) != c.vary {
						t.Errorf("a viewer that may be known: got %s %v %s", r.cacheStatus(), r.header, r.body)
					}
				}
				// A known viewer gets its own response.
				k.send(t, in.as("8").with(c.request))
				if r := k.send(t, in.as("8").with(c.request)); !r.hit() || !strings.Contains(r.body, "{}8 v0") {
					t.Errorf("known viewer: got %s %s", r.cacheStatus(), r.body)
				}
				if r := k.send(t, in.with("Cache-Control: only-if-cached", c.request)); r.status != http.StatusGatewayTimeout {
					t.Errorf("only-if-cached: got %d %s", r.status, r.body)
				}
			}
			k.send(t, post(hello))
			if r := k.send(t, post(hello, c.request)); !r.hit() {
				t.Errorf("a public response is served to all viewers; got %s", r.cacheStatus())
			}
		})
	}
}

func TestFault03ServeCachedStandsAside(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{IdentityHeaders: []string{"X-User"}})
	k.send(t, byGet("{ hello }"))
	for name, change := range map[string]func(*http.Request){
		"nobody":               func(*http.Request) {},
		"a header":             func(r *http.Request) { r.Header.Set("X-User", "8") },
		"Authorization":        func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"a client certificate": func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}} },
		"a middleware": func(r *http.Request) {
			*r = *r.WithContext(context8(r))
		},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, get("query", "{ hello }"), nil)
		change(r)
		w := httptest.NewRecorder()
		if _, served := k.ServeCached(w, r); served != (name == "nobody") {
			t.Errorf("%s: got served %t: %s", name, served, w.Body)
		}
	}
}

// A 304, a HEAD and a GET response have the same Vary header.
func TestFault03VaryOfUnmodified(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{})
	in := byGet("{ mine }").as("8")
	tag := k.send(t, in).header.Get("Etag")
	head := in
	head.method = http.MethodHead
	for _, c := range []struct {
		in     request
		status int
	}{{in, 200}, {head, 200}, {in.with("If-None-Match: " + tag), 304}, {head.with("If-None-Match: " + tag), 304}} {
		if r := k.send(t, c.in); r.status != c.status || varyOf(r) != varyMine || r.header.Get("Cache-Control") != "max-age=60, private" {
			t.Errorf("%s: got %d %v", c.in.method, r.status, r.header)
		}
	}
	// The ETag of another viewer reveals nothing.
	if r := k.send(t, in.as("9").with("If-None-Match: "+tag)); r.status != 200 || !strings.Contains(r.body, "{}9 v0") {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

// A request does not wait for a response that is computed for another viewer.
func TestFault03NobodyWaitsForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		viewers := []string{"", "8", "9"}
		for _, v := range viewers {
			k.send(t, post(mine).as(v))
		}
		k.change(t)
		k.executions.Store(0)
		k.slow.Store(int64(time.Second))
		var wg sync.WaitGroup
		for _, v := range viewers {
			wg.Go(func() {
				if r := k.send(t, post(mine).as(v)); !strings.Contains(r.body, "{}"+v+" v1") {
					t.Errorf("viewer %q: got %s", v, r.body)
				}
			})
			synctest.Wait()
		}
		if n := k.executions.Load(); n != int64(len(viewers)) {
			t.Errorf("got %d executions, want one for each viewer", n)
		}
		wg.Wait()
	})
}

func context8(r *http.Request) context.Context {
	return context.WithValue(r.Context(), viewerKey{}, "8")
}
