package transport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/transport"
)

// service is a schema whose resolvers a test sets. It records the fields that were executed.
type service struct {
	*transport.Handler
	exec *executor.Executor
	// field resolves a root field: JSON, or an error.
	field func(ctx context.Context, name string, args map[string]any) (string, error)

	mu  sync.Mutex
	ran []string // names of root fields
}

func serve(o transport.Options) *service {
	s := &service{field: func(_ context.Context, name string, args map[string]any) (string, error) {
		if name == "broken" {
			return "null", &gqlerror.Error{Message: "it is broken", Extensions: map[string]any{"code": "BROKEN"}}
		}
		if name == "change" {
			return `"change"`, nil
		}
		return fmt.Sprintf("%q", fmt.Sprint(name, " ", args["name"])), nil
	}}
	s.exec = executor.New(&graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema {
			return gqlparser.MustLoadSchema(&ast.Source{Input: `
				type Query { hello(name: String! = "you"): String broken: String }
				type Mutation { change: String! }
				type Subscription { events: String }`})
		},
		ComplexityFunc: func(context.Context, string, string, int, map[string]any) (int, bool) { return 0, false },
		ExecFunc:       s.answer,
	})
	s.exec.SetRecoverFunc(func(context.Context, any) error { return errors.New("a panic") })
	var err error
	if s.Handler, err = transport.NewHandler(s.exec, o); err != nil {
		panic(err)
	}
	return s
}

// answer has the role of gqlgen's generated code: it executes the root fields in order.
func (s *service) answer(context.Context) graphql.ResponseHandler {
	return func(ctx context.Context) *graphql.Response {
		oc := graphql.GetOperationContext(ctx)
		var parts []string
		for _, f := range graphql.CollectFields(oc, oc.Operation.SelectionSet, nil) {
			s.mu.Lock()
			s.ran = append(s.ran, f.Name)
			s.mu.Unlock()
			text, err := s.field(ctx, f.Name, f.ArgumentMap(oc.Variables))
			if err != nil {
				graphql.AddError(ctx, err)
			}
			parts = append(parts, fmt.Sprintf("%q:%s", f.Alias, text))
		}
		return &graphql.Response{Data: json.RawMessage("{" + strings.Join(parts, ",") + "}")}
	}
}

// do sends a request. Headers have the form "Name: value".
func (s *service) do(t testing.TB, method, target, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func marshal(m graphql.Marshaler) []byte {
	var b bytes.Buffer
	m.MarshalGQL(&b)
	return b.Bytes()
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const (
	asJSON    = "Content-Type: application/json"
	wantsNew  = "Accept: application/graphql-response+json"
	wantsJSON = "Accept: application/json"
	newType   = "application/graphql-response+json; charset=utf-8"
	jsonType  = "application/json; charset=utf-8"
	hello     = `{"query":"{ hello }"}`
	answer    = `{"data":{"hello":"hello you"}}`
	change    = `mutation { change }`
)

func get(parameters ...string) string {
	v := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		v.Add(parameters[i], parameters[i+1])
	}
	return "/graphql?" + v.Encode()
}

func TestHandler(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, target, body string
		headers              []string
		status               int
		answer               string // all of it, or the code of its error
	}{
		"POST":                      {"POST", "/", hello, []string{asJSON}, 200, answer},
		"POST in UTF-8":             {"POST", "/", hello, []string{"Content-Type: application/json;charset=UTF-8"}, 200, answer},
		"with space around":         {"POST", "/", " \r\n\t" + hello + "\n", []string{asJSON}, 200, answer},
		"variables":                 {"POST", "/", `{"query":"query($n: String!) { hello(name: $n) }","variables":{"n":"Ada"}}`, []string{asJSON}, 200, `{"data":{"hello":"hello Ada"}}`},
		"an operation's name":       {"POST", "/", `{"query":"query A { hello } query B { b: hello }","operationName":"B"}`, []string{asJSON}, 200, `{"data":{"b":"hello you"}}`},
		"all null":                  {"POST", "/", `{"query":"{ hello }","variables":null,"operationName":null,"extensions":null,"documentId":null}`, []string{asJSON}, 200, answer},
		"unknown members":           {"POST", "/", `{"query":"{ hello }","id":"x","extensions":{"clientLibrary":{"name":"x"}}}`, []string{asJSON}, 200, answer},
		"a mutation":                {"POST", "/", `{"query":"mutation { change }"}`, []string{asJSON}, 200, `{"data":{"change":"change"}}`},
		"GET":                       {"GET", get("query", "{ hello }"), "", nil, 200, answer},
		"GET of a client with type": {"GET", get("query", "{ hello }"), "", []string{asJSON}, 200, answer},
		"GET with variables":        {"GET", get("query", "query Q($n: String!) { hello(name: $n) }", "variables", `{"n":"Ada"}`, "operationName", "Q", "extensions", `{}`), "", nil, 200, `{"data":{"hello":"hello Ada"}}`},
		"GET with empty ones":       {"GET", get("query", "{ hello }", "variables", "", "operationName", "", "extensions", "null"), "", nil, 200, answer},
		"HEAD":                      {"HEAD", get("query", "{ hello }"), "", nil, 200, ""},
		"a part is broken":          {"POST", "/", `{"query":"{ hello broken }"}`, []string{asJSON, wantsNew}, 200, `{"errors":[{"message":"it is broken","extensions":{"code":"BROKEN"}}],"data":{"hello":"hello you","broken":null}}`},

		"no JSON":                      {"POST", "/", `{ "not a JSON`, []string{asJSON}, 400, "BAD_REQUEST"},
		"nothing":                      {"POST", "/", ``, []string{asJSON}, 400, "BAD_REQUEST"},
		"null":                         {"POST", "/", `null`, []string{asJSON}, 400, "BAD_REQUEST"},
		"a string":                     {"POST", "/", `"{ hello }"`, []string{asJSON}, 400, "BAD_REQUEST"},
		"data after the JSON":          {"POST", "/", hello + hello, []string{asJSON}, 400, "BAD_REQUEST"},
		"no UTF-8":                     {"POST", "/", "{\"query\":\"{ hello(name: \\\"\xff\\\") }\"}", []string{asJSON}, 400, "BAD_REQUEST"},
		"no query":                     {"POST", "/", `{}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"an empty query":               {"POST", "/", `{"query":""}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"a number for a query":         {"POST", "/", `{"query":1}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"a list for variables":         {"POST", "/", `{"query":"{ hello }","variables":[]}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"a string for extensions":      {"POST", "/", `{"query":"{ hello }","extensions":"x"}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"an object for a name":         {"POST", "/", `{"query":"{ hello }","operationName":{}}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"GET without a query":          {"GET", "/graphql", "", nil, 400, "BAD_REQUEST"},
		"GET with half an escape":      {"GET", "/graphql?query=%7", "", nil, 400, "BAD_REQUEST"},
		"GET with two queries":         {"GET", get("query", "{ hello }", "query", "{ broken }"), "", nil, 400, "BAD_REQUEST"},
		"GET with two variables":       {"GET", get("query", "{ hello }", "variables", "{}", "variables", "{}"), "", nil, 400, "BAD_REQUEST"},
		"GET with a list":              {"GET", get("query", "{ hello }", "variables", "[]"), "", nil, 400, "BAD_REQUEST"},
		"GET with two objects":         {"GET", get("query", "{ hello }", "variables", "{}{}"), "", nil, 400, "BAD_REQUEST"},
		"GET without UTF-8":            {"GET", "/graphql?query=%7Bhello(name:%22%ff%22)%7D", "", nil, 400, "BAD_REQUEST"},
		"another method":               {"PUT", "/", hello, []string{asJSON}, 405, "BAD_REQUEST"},
		"a mutation by GET":            {"GET", get("query", change), "", nil, 405, "BAD_REQUEST"},
		"a mutation by HEAD":           {"HEAD", get("query", change), "", nil, 405, ""},
		"a mutation by GET, chosen":    {"GET", get("query", "query A { hello } mutation B { change }", "operationName", "B"), "", nil, 405, "BAD_REQUEST"},
		"a subscription":               {"POST", "/", `{"query":"subscription { events }"}`, []string{asJSON}, 400, "BAD_REQUEST"},
		"no acceptable type":           {"POST", "/", hello, []string{asJSON, "Accept: text/html"}, 406, "BAD_REQUEST"},
		"no type":                      {"POST", "/", hello, nil, 415, "BAD_REQUEST"},
		"two types":                    {"POST", "/", hello, []string{asJSON, asJSON}, 415, "BAD_REQUEST"},
		"another charset":              {"POST", "/", hello, []string{"Content-Type: application/json; charset=utf-16"}, 415, "BAD_REQUEST"},
		"a second coding":              {"POST", "/", hello, []string{asJSON, "Content-Encoding: identity", "Content-Encoding: gzip"}, 415, "BAD_REQUEST"},
		"a coding in a list":           {"POST", "/", hello, []string{asJSON, "Content-Encoding: Identity, br"}, 415, "BAD_REQUEST"},
		"a compressed body":            {"POST", "/", hello, []string{asJSON, "Content-Encoding: gzip"}, 415, "BAD_REQUEST"},
		"the type of a response":       {"POST", "/", hello, []string{"Content-Type: application/graphql-response+json"}, 415, "BAD_REQUEST"},
		"too large":                    {"POST", "/", `{"query":"{ hello }` + strings.Repeat(" ", 1<<20) + `"}`, []string{asJSON}, 413, "PAYLOAD_TOO_LARGE"},
		"a wrong document":             {"POST", "/", `{"query":"{"}`, []string{asJSON, wantsJSON}, 200, "GRAPHQL_PARSE_FAILED"},
		"a wrong document, newer type": {"POST", "/", `{"query":"{"}`, []string{asJSON, wantsNew}, 400, "GRAPHQL_PARSE_FAILED"},
		"a wrong field":                {"POST", "/", `{"query":"{ helo }"}`, []string{asJSON, wantsJSON}, 200, "GRAPHQL_VALIDATION_FAILED"},
		"a wrong field, newer type":    {"POST", "/", `{"query":"{ helo }"}`, []string{asJSON, wantsNew}, 400, "GRAPHQL_VALIDATION_FAILED"},
		"a wrong variable, newer type": {"POST", "/", `{"query":"query($n: String!) { hello(name: $n) }"}`, []string{asJSON, wantsNew}, 400, "GRAPHQL_VALIDATION_FAILED"},
		"30 KB of one field":           {"POST", "/", `{"query":"{` + strings.Repeat(" hello", 5000) + ` }"}`, []string{asJSON}, 200, "GRAPHQL_PARSE_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{})
			began := time.Now()
			r := s.do(t, c.method, c.target, c.body, c.headers...)
			body := text(t, r)
			if r.StatusCode != c.status {
				t.Errorf("got status %d, want %d: %.300s", r.StatusCode, c.status, body)
			}
			if strings.HasPrefix(c.answer, "{") || c.method == "HEAD" {
				if body != c.answer {
					t.Errorf("got  %s\nwant %s", body, c.answer)
				}
			} else {
				var a struct {
					Errors []struct {
						Message    string
						Extensions struct{ Code string }
					}
				}
				if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Errors) != 1 || a.Errors[0].Extensions.Code != c.answer || strings.Contains(body, `"data"`) {
					t.Errorf("want one error %s, got %.300s", c.answer, body)
				}
				if len(s.ran) > 0 {
					t.Errorf("executed %q, want nothing", s.ran)
				}
			}
			want := jsonType
			if slices.Contains(c.headers, wantsNew) {
				want = newType
			}
			h := r.Header
			if h.Get("Content-Type") != want || h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Accept, Accept-Encoding" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("got headers %v", h)
			}
			switch allow := h.Get("Allow"); {
			case c.method == "PUT" && allow != "GET, HEAD, POST, OPTIONS":
				t.Errorf("got Allow %q", allow)
			case c.status == 405 && c.method != "PUT" && allow != "POST":
				t.Errorf("got Allow %q", allow)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the request took %v", took)
			}
		})
	}
}

func TestOptionsMethod(t *testing.T) {
	t.Parallel()
	r := serve(transport.Options{}).do(t, "OPTIONS", "/", "")
	if r.StatusCode != http.StatusNoContent || r.Header.Get("Allow") != "GET, HEAD, POST, OPTIONS" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

// unsized is a body without a known length.
type unsized struct{ io.Reader }

func TestHandlerBodyWithoutLength(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(serve(transport.Options{MaxBodyBytes: 2000}))
	t.Cleanup(server.Close)
	for length, status := range map[int]int{len(hello): 200, 2000: 200, 2001: 413, 1 << 20: 413} {
		body := hello + strings.Repeat(" ", length-len(hello))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, unsized{strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, response); response.StatusCode != status || status == 200 && got != answer {
			t.Errorf("%d bytes: got %d %s, want %d", length, response.StatusCode, got, status)
		}
		response.Body.Close()
	}
}

func TestHandlerBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := serve(transport.Options{})
	r := httptest.NewRequest("POST", "/", unsized{io.MultiReader(strings.NewReader(hello), brokenReader{})})
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || len(s.ran) > 0 {
		t.Errorf("got %d %s, want 400", w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A client that disconnects, or a request without time left, gets an error and never null alone.
func TestHandlerTimeout(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]*graphql.Response{"nothing": nil, "null": {Data: json.RawMessage("null")}, "no data": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cause error
			s := serve(transport.Options{Timeout: time.Millisecond})
			s.exec.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
				if r := next(ctx); cause != nil {
					return r // the response of the refusal
				}
				<-ctx.Done()
				cause = context.Cause(ctx)
				return late
			})
			r := s.do(t, "POST", "/", hello, asJSON, wantsNew)
			if got := text(t, r); r.StatusCode != http.StatusGatewayTimeout || strings.Contains(got, "null") || !strings.Contains(got, `"code":"TIMEOUT"`) {
				t.Errorf("got %d %s, want 504", r.StatusCode, got)
			}
			if cause != transport.ErrTimeout {
				t.Errorf("the request was canceled with cause %v, want ErrTimeout", cause)
			}
		})
	}

	s := serve(transport.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, body := range []string{hello, "[" + hello + "," + hello + "]"} {
		r := httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Body.String(); w.Code != 499 || strings.Contains(got, "null") || !strings.Contains(got, `"code":"CLIENT_CLOSED_REQUEST"`) {
			t.Errorf("got %d %s after the client disconnected, want 499", w.Code, got)
		}
	}
}

// A value that JSON cannot represent, and a panic outside of resolvers, are internal errors.
func TestHandlerFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		around func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response
		status int
	}{
		"an extension": {func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
			r := next(ctx)
			r.Extensions = map[string]any{"x": func() {}}
			return r
		}, 200},
		"a panic": {func(context.Context, graphql.ResponseHandler) *graphql.Response { panic("out of order") }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(transport.Options{})
			s.exec.SetErrorPresenter(func(context.Context, error) *gqlerror.Error { return &gqlerror.Error{Message: "shown"} })
			s.exec.AroundResponses(c.around)
			r := s.do(t, "POST", "/", hello, asJSON)
			if got := text(t, r); got != `{"errors":[{"message":"shown"}]}` || r.StatusCode != c.status {
				t.Errorf("got %d %s", r.StatusCode, got)
			}
		})
	}
}

// The names of content codings are not case-sensitive.
func TestContentThatIsNotEncoded(t *testing.T) {
	t.Parallel()
	for _, coding := range []string{"", "identity", "IDENTITY", "identity, identity"} {
		s := serve(transport.Options{})
		if got := text(t, s.do(t, http.MethodPost, "/", hello, asJSON, "Content-Encoding: "+coding)); got != answer {
			t.Errorf("%q: got %s", coding, got)
		}
	}
}

// @defer is allowed and has no effect: a response is sent in one piece.
func TestHandlerDefer(t *testing.T) {
	t.Parallel()
	s := serve(transport.Options{})
	const query = `query($if: Boolean = true) { ... @defer(if: $if, label: "a") { hello } ...F @defer } fragment F on Query { ... @defer { b: hello } }`
	for range 2 { // the document is parsed the first time, and known the second time
		body, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, s.do(t, "POST", "/", string(body), asJSON)); got != `{"data":{"hello":"hello you","b":"hello you"}}` {
			t.Error(got)
		}
	}
}
