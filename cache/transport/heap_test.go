package transport_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
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

// liveHeap returns the size of the reachable heap.
func liveHeap() uint64 {
	var m runtime.MemStats
	for range 6 { // a collection may free objects with cleanups, after which more can be freed
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const wideSchema = `
	directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
	enum CacheControlScope { PUBLIC PRIVATE }
	input Filter { a: String, b: [Int!], f: Filter }
	type Thing @cacheControl(maxAge: 100) { name: String @cacheControl(maxAge: 50) thing(filter: Filter): Thing @cacheControl(maxAge: 40) }
	type Query { thing(filter: Filter): Thing @cacheControl(maxAge: 60) n: Int @cacheControl(maxAge: 60) }`

// documentKinds create the n-th document of a kind, with a number of operations.
var documentKinds = map[string]func(n, operations int) string{
	"small operations": func(n, operations int) string {
		return repeat(operations, func(i int) string { return fmt.Sprintf("query Q%d_%d{n}\n", n, i) })
	},
	"large operations": func(n, operations int) string {
		return repeat(operations, func(i int) string {
			return fmt.Sprintf("query Q%d_%d{%s}", n, i, repeat(20, func(j int) string { return fmt.Sprintf("a%d:thing{name b:name}", j) }))
		})
	},
	"variables": func(n, operations int) string {
		return repeat(operations, func(i int) string {
			return fmt.Sprintf("query Q%d_%d($f:Filter={a:\"x\"},$i:Boolean=true){thing(filter:$f){name@include(if:$i)}}", n, i)
		})
	},
	"a fragment of all": func(n, operations int) string {
		return "fragment F on Thing{" + repeat(50, func(j int) string { return fmt.Sprintf("a%d:name ", j) }) + "}" +
			repeat(operations, func(i int) string { return fmt.Sprintf("query Q%d_%d{a:thing{...F}b:thing{...F}c:n}", n, i) })
	},
	"comments": func(n, operations int) string {
		return repeat(operations, func(i int) string { return fmt.Sprintf("query Q%d_%d{n%s\n}", n, i, strings.Repeat("\n#", 40)) })
	},
	"values": func(n, operations int) string {
		return repeat(operations, func(i int) string {
			return fmt.Sprintf("query Q%d_%d{thing(filter:{b:[%s]}){name}}", n, i, strings.Repeat("1 ", 60))
		})
	},
	"deep": func(n, operations int) string {
		return repeat(operations, func(i int) string {
			return fmt.Sprintf("query Q%d_%d{%sthing{name}%s}", n, i, strings.Repeat("thing{", 30), strings.Repeat("}", 30))
		})
	},
}

func repeat(n int, text func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(text(i))
	}
	return b.String()
}

// Whatever the documents are, the memory of the cached documents and their operations stays within
// its limit.
func TestFault30DocumentsWeighWhatTheyTake(t *testing.T) {
	const bound, answerBytes, memoryBytes = 4 << 20, 1 << 20, 1 << 20
	for name, document := range documentKinds {
		t.Run(name, func(t *testing.T) {
			memory, err := memstore.New(memstore.Options{MaxBytes: memoryBytes})
			if err != nil {
				t.Fatal(err)
			}
			c, err := cache.New(cache.Options{Memory: memory})
			if err != nil {
				t.Fatal(err)
			}
			store, err := answers.New(answers.Options{Cache: c, MaxBytes: answerBytes})
			if err != nil {
				t.Fatal(err)
			}
			schema := gqlparser.MustLoadSchema(&ast.Source{Input: wideSchema})
			exec := executor.New(onesSchema{schema})
			viewer := func(context.Context) string { return "" }
			exec.Use(&gqlcache.Hints{})
			exec.Use(&gqlcache.Roots{Answers: store, Of: func(context.Context) gqlcache.Counter { return nil }})
			h, err := transport.NewHandler(exec, transport.Options{Answers: store, Viewer: viewer, DocumentBytes: bound, MaxTokens: 1_000_000})
			if err != nil {
				t.Fatal(err)
			}
			empty := liveHeap()
			const documents, operations = 24, 30
			sent := 0
			for n := range documents {
				text := document(n, operations)
				sent += len(text)
				for i := range operations {
					query := text
					if i > 0 {
						query = "" // only by its hash
					}
					requestNamed(t, h, query, hash(text), fmt.Sprintf("Q%d_%d", n, i))
				}
			}
			weight := h.DocumentBytes()
			store.Bytes()
			taken := int64(liveHeap()) - int64(empty)                                                  //nolint:gosec // far below
			t.Logf("%d bytes were sent; documents weigh %d, %d are taken in all", sent, weight, taken) // including the cached responses
			if most := int64(bound+answerBytes+memoryBytes) * 5 / 4; taken > most {
				t.Errorf("got %d bytes in use, want at most %d", taken, most)
			}
			runtime.KeepAlive(h)
			store.Close()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// requestNamed requests one operation of a registered document. If query is not empty, the request
// registers the document.
func requestNamed(t *testing.T, h http.Handler, query, hash, operation string) {
	t.Helper()
	fields := map[string]any{
		"operationName": operation,
		"extensions":    map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": hash}},
	}
	if query != "" {
		fields["query"] = query
	}
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Body.String(); strings.Contains(got, `"errors"`) {
		t.Fatal(got)
	}
}

// onesSchema resolves each root field to 1, through the interceptors of root fields. gqlgen's own
// mock would retain the contexts of all calls.
type onesSchema struct{ schema *ast.Schema }

func (s onesSchema) Schema() *ast.Schema { return s.schema }

func (onesSchema) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

func (onesSchema) Exec(ctx context.Context) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	return func(ctx context.Context) *graphql.Response {
		fields := graphql.CollectFields(oc, oc.Operation.SelectionSet, nil)
		out := graphql.NewFieldSet(fields)
		for i, f := range fields {
			ctx := graphql.WithRootFieldContext(ctx, &graphql.RootFieldContext{Object: "Query", Field: f})
			out.Values[i] = oc.RootResolverMiddleware(ctx, func(context.Context) graphql.Marshaler { return graphql.MarshalInt(1) })
		}
		return &graphql.Response{Data: marshal(out)}
	}
}

// A handler is freed with its responses once nobody uses it, although its documents refer to what it remembers of them.
func TestHandlersAreFreed(t *testing.T) {
	t.Parallel()
	freed := make(chan struct{})
	t.Run("served", func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		k.want(t, post(hello), stored)
		runtime.AddCleanup(k.Handler, func(int) { close(freed) }, 0)
	})
	for deadline := time.Now().Add(time.Minute); ; {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the handler is still in memory")
		}
	}
}
