package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/transport"
)

// keeper is a handler that caches responses. Each field loads its value through a cache, under a
// key of its own. The value contains the field, its arguments and the version of the source.
type keeper struct {
	*transport.Handler
	cache      *cache.Cache
	store      *answers.Store
	version    atomic.Int64
	loads      atomic.Int64 // of values
	runs       atomic.Int64 // of mutations
	executions atomic.Int64 // executions
	slow       atomic.Int64 // how long a load takes, a time.Duration
	front      bool         // whether ServeCached is called first
}

const keeperSchema = `
	directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
	enum CacheControlScope { PUBLIC PRIVATE }
	input Filter { a: String, b: [Int!] }
	type Query {
		hello(name: ID = "you", filter: Filter): String @cacheControl(maxAge: 60)
		number(n: Float): String @cacheControl(maxAge: 60)
		long: String @cacheControl(maxAge: 60)
		short: String @cacheControl(maxAge: 10)
		mine: String @cacheControl(maxAge: 60, scope: PRIVATE)
		never: String
		broken: String @cacheControl(maxAge: 60)
	}
	type Mutation { change: String @cacheControl(maxAge: 60) }`

func newKeeper(t testing.TB, o transport.Options) *keeper {
	o.Viewer = viewerIn
	return keepFor(t, o)
}

// keepFor is like newKeeper, but with the Viewer of o, which may be nil.
func keepFor(t testing.TB, o transport.Options, extensions ...func(*answers.Store) graphql.HandlerExtension) *keeper {
	t.Helper()
	return keepIn(t, newStore(t), o, extensions...)
}

// keepIn is like keepFor, with a given store.
func keepIn(t testing.TB, s storeOf, o transport.Options, extensions ...func(*answers.Store) graphql.HandlerExtension) *keeper {
	t.Helper()
	k := &keeper{cache: s.cache, store: s.Store}
	o.Answers = s.Store
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: keeperSchema})
	exec := executor.New(&graphql.ExecutableSchemaMock{
		SchemaFunc:     func() *ast.Schema { return schema },
		ComplexityFunc: func(context.Context, string, string, int, map[string]any) (int, bool) { return 0, false },
		ExecFunc:       k.exec,
	})
	exec.Use(&gqlcache.Hints{})
	for _, e := range extensions {
		exec.Use(e(s.Store))
	}
	var err error
	if k.Handler, err = transport.NewHandler(exec, o); err != nil {
		t.Fatal(err)
	}
	return k
}

func viewerIn(ctx context.Context) string { v, _ := ctx.Value(viewerKey{}).(string); return v }

type viewerKey struct{}

// exec resolves the root fields in order, with gqlgen's own function.
func (k *keeper) exec(ctx context.Context) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	batch := k.cache.NewBatch()
	batch.NoCache = cache.IsNoCache(ctx)
	return func(ctx context.Context) *graphql.Response {
		k.executions.Add(1)
		fields := graphql.CollectFields(oc, oc.Operation.SelectionSet, nil)
		out := graphql.NewFieldSet(fields)
		for i, f := range fields {
			out.Values[i] = graphql.ResolveField(ctx, oc, f,
				func(_ context.Context, f graphql.CollectedField) (*graphql.FieldContext, error) {
					return &graphql.FieldContext{Object: "Query", Field: f}, nil
				},
				func(ctx context.Context) (any, error) {
					return k.field(ctx, batch, f.Definition, f.ArgumentMap(oc.Variables))
				}, nil,
				func(_ context.Context, _ ast.SelectionSet, value any) graphql.Marshaler {
					return graphql.MarshalString(fmt.Sprint(value))
				}, true, false)
		}
		return &graphql.Response{Data: marshal(out)}
	}
}

func (k *keeper) field(ctx context.Context, batch *cache.Batch, def *ast.FieldDefinition, args map[string]any) (any, error) {
	switch def.Name {
	case "broken":
		return nil, errors.New("it is broken")
	case "change":
		return k.runs.Add(1), nil
	}
	list, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	key := cache.Key(def.Name + ":" + string(list))
	if def.Name == "mine" {
		key += cache.Key(ctx.Value(viewerKey{}).(string))
	}
	maxAge := time.Minute
	if def.Name == "short" {
		maxAge = 10 * time.Second
	}
	results, err := batch.Load(ctx, []cache.Request{{Item: cache.Item{Key: key, Tags: []cache.Tag{"{All}"}, MaxAge: maxAge}, Source: k}})
	if err != nil {
		return nil, err
	}
	return results[0].Value, results[0].Err
}

// Load implements [cache.Source].
func (k *keeper) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	defer time.Sleep(time.Duration(k.slow.Load()))
	for i, r := range requests {
		k.loads.Add(1)
		values[i] = fmt.Sprint(r.Key, " v", k.version.Load())
	}
	return values, cache.Snapshot{}, nil
}

// Also implements [cache.Source].
func (k *keeper) Also(cache.Request) []cache.Request { return nil }

// Decode implements [cache.Source].
func (k *keeper) Decode(cache.Request, []byte) (any, error) {
	return nil, errors.New("nothing is shared")
}

// change changes every value, and evicts the previous values.
func (k *keeper) change(t testing.TB) {
	t.Helper()
	k.version.Add(1)
	if _, err := k.cache.EvictByHand(t.Context(), cache.Eviction{Tags: []cache.Tag{"{All}"}}); err != nil {
		t.Fatal(err)
	}
}

// request is a request of a test.
type request struct {
	method, target, body string
	viewer               string
	headers              []string
}

// post returns a POST request with parameters in JSON. Headers have the form "Name: value".
func post(body string, headers ...string) request {
	return request{method: http.MethodPost, target: "/graphql", body: body, headers: append([]string{asJSON}, headers...)}
}

// byGet returns a GET request of a query.
func byGet(query string, headers ...string) request {
	return request{method: http.MethodGet, target: get("query", query), headers: headers}
}

func (r request) as(viewer string) request { r.viewer = viewer; return r }

func (r request) with(headers ...string) request {
	r.headers = append(r.headers[:len(r.headers):len(r.headers)], headers...)
	return r
}

// reply is the response to a request.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) cacheStatus() string { return r.header.Get("Cache-Status") }

// hit reports whether the response was served from the cache.
func (r reply) hit() bool { return strings.HasPrefix(r.cacheStatus(), "fieldcache; hit; ttl=") }

func (k *keeper) send(t testing.TB, in request) reply {
	t.Helper()
	ctx := context.WithValue(t.Context(), viewerKey{}, in.viewer)
	r := httptest.NewRequestWithContext(ctx, in.method, in.target, strings.NewReader(in.body))
	for _, h := range in.headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	served := false
	if k.front {
		_, served = k.ServeCached(w, r)
	}
	if !served {
		k.ServeHTTP(w, r)
	}
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

// want sends a request and checks the Cache-Status of the response.
func (k *keeper) want(t testing.TB, in request, cacheStatus string) reply {
	t.Helper()
	r := k.send(t, in)
	if got := r.cacheStatus(); got != cacheStatus {
		t.Errorf("%s %s%s: got Cache-Status %q, want %q: %d %s", in.method, in.target, in.body, got, cacheStatus, r.status, r.body)
	}
	return r
}

const stored = "fieldcache; fwd=miss; stored"

// The same request is served from the cache, with the same bytes.
func TestCachedAnswers(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]request{
		"POST":             post(hello),
		"POST, newer":      post(hello, wantsNew),
		"GET":              byGet("{ hello }"),
		"HEAD":             {method: http.MethodHead, target: get("query", "{ hello }")},
		"several fields":   post(`{"query":"{ hello short number }"}`),
		"a batch":          post(`[` + hello + `,{"query":"{ short }"}]`),
		"a user":           post(hello).as("8"),
		"private":          post(`{"query":"{ mine }"}`).as("8"),
		"without a viewer": post(`{"query":"{ mine }"}`),
		"with variables":   post(`{"query":"query($n: ID) { hello(name: $n) }","variables":{"n":"1"}}`),
	} {
		for _, front := range []bool{false, true} {
			t.Run(fmt.Sprint(name, front), func(t *testing.T) {
				t.Parallel()
				k := newKeeper(t, transport.Options{})
				k.front = front
				first := k.want(t, in, stored)
				loads := k.loads.Load()
				for range 3 {
					r := k.send(t, in)
					if !r.hit() || r.status != 200 || r.body != first.body || k.loads.Load() != loads {
						t.Errorf("got %d %s %q, %d loads; first response %s", r.status, r.body, r.cacheStatus(), k.loads.Load(), first.body)
					}
					for _, h := range []string{"Content-Type", "Cache-Control", "Etag", "Vary", "Content-Length", "X-Content-Type-Options"} {
						if r.header.Get(h) != first.header.Get(h) || r.header.Get(h) == "" {
							t.Errorf("%s: got %q, want %q", h, r.header.Get(h), first.header.Get(h))
						}
					}
				}
				k.change(t)
				if r := k.want(t, in, stored); r.body == first.body && in.method != http.MethodHead {
					t.Errorf("after the eviction: got %s", r.body)
				}
			})
		}
	}
}

// A response that must not be cached is computed each time.
func TestAnswersThatAreNotStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request
		status      int
		cacheStatus string
	}{
		"a field without an age":             {post(`{"query":"{ never }"}`), 200, "fieldcache; fwd=miss"},
		"an uncached field and a cached one": {post(`{"query":"{ hello never }"}`), 200, "fieldcache; fwd=miss"},
		"an error":                           {post(`{"query":"{ broken }"}`), 200, "fieldcache; fwd=miss"},
		"a part":                             {post(`{"query":"{ hello broken }"}`), 200, "fieldcache; fwd=miss"},
		"a mutation":                         {post(`{"query":"mutation { change }"}`), 200, "fieldcache; fwd=bypass"},
		"a wrong document":                   {post(`{"query":"{ helo }"}`), 200, "fieldcache; fwd=miss"},
		"a wrong document, GET":              {byGet("{", wantsNew), 400, "fieldcache; fwd=miss"},
		"only __typename":                    {post(`{"query":"{ __typename }"}`), 200, "fieldcache; fwd=miss"},
		"a batch with an error":              {post(`[` + hello + `,{"query":"{ broken }"}]`), 200, "fieldcache; fwd=miss"},
		"a batch with a change":              {post(`[` + hello + `,{"query":"mutation { change }"}]`), 200, "fieldcache; fwd=bypass"},
		"an unknown hash":                    {post(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash("x") + `"}}}`), 200, "fieldcache; fwd=miss"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, transport.Options{})
			for range 3 {
				k.change(t)
				r := k.want(t, c.request, c.cacheStatus)
				h := r.header
				if r.status != c.status || h.Get("Cache-Control") != "no-store" || h.Get("Etag") != "" || h.Get("Age") != "" {
					t.Errorf("got %d %s %v", r.status, r.body, h)
				}
			}
		})
	}
}

// A request that must be computed, such as one for a report, does not get a cached response, and
// its response is not cached.
func TestAnswersWithExtensions(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{Computed: func(h http.Header) bool { return h.Get("Report") != "" }})
	k.want(t, post(hello), stored)
	if r := k.send(t, post(hello)); !r.hit() {
		t.Error(r.cacheStatus())
	}
	// A request for a report neither reads nor fills the cache.
	k.want(t, post(hello, "Report: 1"), "fieldcache; fwd=bypass")
	k.want(t, post(`{"query":"{ long }"}`, "Report: 1"), "fieldcache; fwd=bypass")
	if r := k.send(t, post(`{"query":"{ long }"}`)); r.hit() {
		t.Error("the report was cached")
	}
}

// Private responses differ between viewers, public ones do not.
func TestCachedForWhom(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{})
	mine := post(`{"query":"{ alias: mine }"}`)
	bodies := map[string]bool{}
	for _, viewer := range []string{"8", "9", "", "8 admin"} {
		r := k.want(t, mine.as(viewer), stored)
		if bodies[r.body] || !strings.Contains(r.body, "{}"+viewer+" v") {
			t.Errorf("viewer %q: got %s", viewer, r.body)
		}
		if r.header.Get("Cache-Control") != "max-age=60, private" || strings.Join(r.header["Vary"], ", ") != "Accept, Accept-Encoding, Authorization, Cookie" {
			t.Errorf("viewer %q: got headers %v", viewer, r.header)
		}
		bodies[r.body] = true
		if again := k.send(t, mine.as(viewer)); !again.hit() || again.body != r.body || strings.Join(again.header["Vary"], ", ") != "Accept, Accept-Encoding, Authorization, Cookie" {
			t.Errorf("viewer %q: got %s %v", viewer, again.body, again.header)
		}
	}
	k.want(t, post(hello).as("8"), stored)
	for _, viewer := range []string{"9", "", "8 admin"} {
		if r := k.send(t, post(hello).as(viewer)); !r.hit() || strings.Join(r.header["Vary"], ", ") != "Accept, Accept-Encoding" {
			t.Errorf("viewer %q: got headers %v", viewer, r.header)
		}
	}
}

// Each media type and each encoding has its own bytes. A cached response is compressed once.
func TestCachedRepresentations(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{})
	large := `{"query":"{ hello(name: \"` + strings.Repeat("many ", 1000) + `\") }"}`
	if a, b := k.send(t, post(large, wantsJSON)), k.send(t, post(large, wantsNew)); a.hit() || b.hit() || a.header.Get("Content-Type") != jsonType || b.header.Get("Content-Type") != newType {
		t.Errorf("got headers %v\nand %v", a.header, b.header)
	}
	tags := map[string]string{}
	bytes := map[string]string{}
	for range 2 {
		for _, encoding := range []string{"identity", "gzip", "br", "zstd"} {
			r := k.send(t, post(large, wantsJSON, "Accept-Encoding: "+encoding))
			if got := r.header.Get("Content-Encoding"); !r.hit() || encoding == "identity" && got != "" || encoding != "identity" && got != encoding {
				t.Errorf("%s: got headers %v", encoding, r.header)
			}
			tag := r.header.Get("Etag")
			if !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
				t.Errorf("%s: got ETag %s, want a strong one", encoding, tag)
			}
			if other, ok := tags[tag]; ok && other != encoding {
				t.Errorf("%s and %s have the same ETag", encoding, other)
			}
			tags[tag] = encoding
			if before, ok := bytes[encoding]; ok && before != r.body {
				t.Errorf("%s: the bytes differ the second time", encoding)
			}
			bytes[encoding] = r.body
			if encoding != "identity" && len(r.body) >= len(bytes["identity"]) {
				t.Errorf("%s: got %d bytes, want fewer than uncompressed", encoding, len(r.body))
			}
		}
	}
	if k.loads.Load() != 1 {
		t.Errorf("got %d loads, want 1", k.loads.Load())
	}
	// A response that is too small to compress has one ETag, because it has only one content.
	plain, small := k.send(t, post(hello)), k.send(t, post(hello, "Accept-Encoding: gzip"))
	if plain.header.Get("Etag") != small.header.Get("Etag") || small.header.Get("Content-Encoding") != "" {
		t.Errorf("got headers %v\nand %v", plain.header, small.header)
	}
}
