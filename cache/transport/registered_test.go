package transport_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"fieldcache/cache/transport"
)

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// sharedMap is a store of documents that gateways share.
type sharedMap struct {
	mu    sync.Mutex
	texts map[string]string
	puts  int
}

func (m *sharedMap) Get(_ context.Context, hash string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, ok := m.texts[hash]
	return text, ok
}

func (m *sharedMap) Put(_ context.Context, hash, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	m.texts[hash] = text
}

// persisted returns the body of a request for a query by its hash. If text is empty, the body does
// not contain the query.
func persisted(text, hash string) string {
	fields := map[string]any{"extensions": map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": hash}}}
	if text != "" {
		fields["query"] = text
	}
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(body)
}

const notFound = `{"errors":[{"message":"PersistedQueryNotFound","extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}}]}`

func TestPersistedQueries(t *testing.T) {
	t.Parallel()
	const query = "{ hello }"
	shared := &sharedMap{texts: map[string]string{}}
	s, other := serve(transport.Options{Documents: shared}), serve(transport.Options{Documents: shared})
	alone := serve(transport.Options{})
	post := func(s *service, body string, headers ...string) (int, string) {
		t.Helper()
		r := s.do(t, "POST", "/", body, append(headers, asJSON)...)
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("got headers %v", r.Header)
		}
		return r.StatusCode, text(t, r)
	}
	want := func(what string, status int, got string, wantStatus int, part string) {
		t.Helper()
		if status != wantStatus || !strings.Contains(got, part) {
			t.Errorf("%s: got %d %s, want %d %s", what, status, got, wantStatus, part)
		}
	}
	get := get("extensions", fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hash(query)))

	status, got := post(s, persisted("", hash(query)))
	want("unknown", status, got, 200, notFound)
	status, got = post(s, persisted("", hash(query)), wantsNew)
	want("unknown, newer type", status, got, 400, notFound)
	status, got = post(s, persisted(query, hash("something else")))
	want("a wrong hash", status, got, 400, "BAD_REQUEST")
	status, got = post(s, persisted("", hash("something else")))
	want("the wrong hash is not registered", status, got, 200, notFound)
	status, got = post(s, persisted("{ helo }", hash("{ helo }")))
	want("an invalid document", status, got, 200, "GRAPHQL_VALIDATION_FAILED")
	status, got = post(s, persisted("", hash("{ helo }")))
	want("an invalid document is not registered", status, got, 200, notFound)

	status, got = post(s, persisted(query, hash(query)))
	want("registered", status, got, 200, answer)
	for name, h := range map[string]*service{"here": s, "elsewhere": other} {
		status, got = post(h, persisted("", hash(query)))
		want("by hash "+name, status, got, 200, answer)
		r := h.do(t, http.MethodGet, get, "")
		want("by GET "+name, r.StatusCode, text(t, r), 200, answer)
	}
	status, got = post(alone, persisted("", hash(query)))
	want("not shared", status, got, 200, notFound)
	post(alone, persisted(query, hash(query)))
	status, got = post(alone, persisted("", hash(query)))
	want("registered with nobody", status, got, 200, answer)

	shared.texts[hash("{ broken }")] = query
	status, got = post(other, persisted("", hash("{ broken }")))
	want("a store that lies", status, got, 200, notFound)

	// A store that lost a document gets it again from a gateway that knows it.
	clear(shared.texts)
	post(s, persisted(query, hash(query)))
	if shared.texts[hash(query)] != query {
		t.Error("a known document was not shared again when it was sent again")
	}

	for name, extension := range map[string]string{
		"no version":      `{"sha256Hash":"` + hash(query) + `"}`,
		"version 2":       `{"version":2,"sha256Hash":"` + hash(query) + `"}`,
		"no hash":         `{"version":1}`,
		"half a hash":     `{"version":1,"sha256Hash":"` + hash(query)[:32] + `"}`,
		"a hash in caps":  `{"version":1,"sha256Hash":"` + strings.ToUpper(hash(query)) + `"}`,
		"a key of Redis":  `{"version":1,"sha256Hash":"../../user:42"}`,
		"a number":        `{"version":1,"sha256Hash":1}`,
		"no object":       `"` + hash(query) + `"`,
		"version in text": `{"version":"1","sha256Hash":"` + hash(query) + `"}`,
	} {
		status, got = post(s, `{"extensions":{"persistedQuery":`+extension+`}}`)
		want(name, status, got, 400, "BAD_REQUEST")
	}
	status, got = post(s, `{"query":"{ hello }","extensions":{"persistedQuery":null}}`)
	want("null", status, got, 200, answer)
}

// Registered documents take a limited amount of memory here and in the shared store, whatever
// clients send.
func TestPersistedQueriesAreBounded(t *testing.T) {
	t.Parallel()
	shared := &sharedMap{texts: map[string]string{}}
	s := serve(transport.Options{Documents: shared})
	send := func(text string) {
		s.do(t, "POST", "/", persisted(text, hash(text)), asJSON)
	}
	send("{ hello } #" + strings.Repeat("x", 64<<10))
	if shared.puts != 0 {
		t.Error("a document of more than 64 KiB was shared")
	}
	const each, budget = 60 << 10, 8 << 20
	for i := range budget / each * 5 / 4 {
		text := fmt.Sprintf("{ a%d: hello }%s", i, strings.Repeat(" ", each))
		send(text)
		send(text) // known here now, and still not shared
	}
	bytes := 0
	for _, text := range shared.texts {
		bytes += len(text)
	}
	if bytes > budget+budget/16 || bytes < budget/2 {
		t.Errorf("got %d shared bytes, want about %d", bytes, budget)
	}
}

func TestTrustedDocuments(t *testing.T) {
	t.Parallel()
	const query, named = "{ hello }", "query A { a: hello } mutation B { change }"
	trusted, err := transport.ReadTrusted(fstest.MapFS{
		"any name.graphql":                    {Data: []byte(query)},
		"below/" + hash(named) + ".graphql":   {Data: []byte(named)},
		"README.md":                           {Data: []byte("not a document")},
		"below/again.graphql":                 {Data: []byte(query)},
		"below/change/change.graphql/readme":  {Data: []byte("a folder may be called so")},
		"below/change/with a newline.graphql": {Data: []byte(change + "\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const yes, no = true, false
	unknown := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		method, body string // or the URL of a GET
		any, only    int    // the status if other documents are executed as well, and if not
		part         string
	}{
		"by id":                    {"POST", `{"documentId":"` + hash(query) + `"}`, 200, 200, answer},
		"by id with its kind":      {"POST", `{"documentId":"sha256:` + hash(query) + `"}`, 200, 200, answer},
		"by id and name":           {"POST", `{"documentId":"` + hash(named) + `","operationName":"A"}`, 200, 200, `{"data":{"a":"hello you"}}`},
		"by GET":                   {"GET", get("documentId", "sha256:"+hash(query)), 200, 200, answer},
		"a mutation":               {"POST", `{"documentId":"` + hash(change+"\n") + `"}`, 200, 200, `{"data":{"change":"change"}}`},
		"a mutation by GET":        {"GET", get("documentId", hash(change+"\n")), 405, 405, "BAD_REQUEST"},
		"an unknown id":            {"POST", `{"documentId":"` + unknown + `"}`, 400, 400, "NOT_FOUND"},
		"an id of another kind":    {"POST", `{"documentId":"md5:` + hash(query) + `"}`, 400, 400, "NOT_FOUND"},
		"id and text":              {"POST", `{"documentId":"` + hash(query) + `","query":"{ hello }"}`, 400, 400, "BAD_REQUEST"},
		"a number":                 {"POST", `{"documentId":1}`, 400, 400, "BAD_REQUEST"},
		"by hash":                  {"POST", persisted("", hash(query)), 200, 200, answer},
		"by hash and text":         {"POST", persisted(query, hash(query)), 200, 200, answer},
		"by text":                  {"POST", hello, 200, 200, answer},
		"another text":             {"POST", `{"query":"{ a: hello }"}`, 200, 403, `"a"`},
		"another text by GET":      {"GET", get("query", "{ a: hello }"), 200, 403, `"a"`},
		"another text and hash":    {"POST", persisted("{ a: hello }", hash("{ a: hello }")), 200, 403, `"a"`},
		"another text, false hash": {"POST", persisted("{ a: hello }", hash(query)), 400, 403, "BAD_REQUEST"},
		"another hash":             {"POST", persisted("", unknown), 200, 403, "PersistedQueryNotFound"},
	} {
		for _, only := range []bool{no, yes} {
			t.Run(fmt.Sprint(name, ", only ", only), func(t *testing.T) {
				t.Parallel()
				shared := &sharedMap{texts: map[string]string{}}
				s := serve(transport.Options{Trusted: trusted, TrustedOnly: only, Documents: shared})
				r := s.do(t, "POST", "/", c.body, asJSON)
				if c.method == "GET" {
					r = s.do(t, "GET", c.body, "")
				}
				body, status, part := text(t, r), c.any, c.part
				if only {
					status = c.only
				}
				if status == 403 {
					part = "DOCUMENT_NOT_TRUSTED"
				}
				if r.StatusCode != status || !strings.Contains(body, part) {
					t.Errorf("got %d %s, want %d %s", r.StatusCode, body, status, part)
				}
				if status >= 400 && len(s.ran) > 0 {
					t.Errorf("executed %q, want nothing", s.ran)
				}
				if only && shared.puts > 0 {
					t.Error("the document was registered")
				}
			})
		}
	}
}

func TestReadTrustedRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, data, want string }{
		"no file":          {"a.txt", "{ a }", "no file *.graphql"},
		"no document":      {"a.graphql", "SELECT 1", "a.graphql is not a document"},
		"an empty one":     {"a.graphql", "", "a.graphql has no operation"},
		"fragments only":   {"a.graphql", "fragment F on Query { a }", "a.graphql has no operation"},
		"another encoding": {"a.graphql", "{ a } #\xff", "a.graphql is not UTF-8"},
		"a false name":     {hash("x") + ".graphql", "{ a }\n", "has the content of document " + hash("{ a }\n")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := transport.ReadTrusted(fstest.MapFS{c.file: {Data: []byte(c.data)}}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %s", err, c.want)
			}
		})
	}
}
