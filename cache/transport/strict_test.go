package transport_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/memstore"
	"fieldcache/cache/transport"
)

const bom = "\ufeff"

// Every reader of a body must read the same from it: names are case-sensitive, and no name may
// occur twice.
func TestFault18NamesAreExactAndOnce(t *testing.T) {
	t.Parallel()
	const (
		named = `{"data":{"hello":"hello A"}}`
		query = `"query":"query($n: String!) { hello(name: $n) }"`
	)
	for name, c := range map[string]struct{ body, want string }{
		"Variables and variables":           {`{` + query + `,"variables":{"n":"A"},"Variables":{"n":"B"}}`, named},
		"Variables before variables":        {`{"VARIABLES":{"n":"B"},` + query + `,"variables":{"n":"A"}}`, named},
		"QUERY and query":                   {`{"query":"{ hello }","QUERY":"{ broken }"}`, answer},
		"QUERY only":                        {`{"QUERY":"{ hello }"}`, "There is no query."},
		"operationname":                     {`{"query":"query A { hello } query B { broken }","operationName":"A","operationname":"B"}`, answer},
		"query twice":                       {`{"query":"{ hello }","query":"{ broken }"}`, "query is given more than once"},
		"the same query twice":              {`{"query":"{ hello }","query":"{ hello }"}`, "query is given more than once"},
		"an escaped name":                   {`{"query":"{ hello }","\u0071uery":"{ broken }"}`, "query is given more than once"},
		"variables twice":                   {`{` + query + `,"variables":{"n":"A"},"variables":{"n":"B"}}`, "variables is given more than once"},
		"operationName twice":               {`{"query":"{ hello }","operationName":null,"operationName":"A"}`, "operationName is given more than once"},
		"extensions twice":                  {`{"query":"{ hello }","extensions":{},"extensions":{}}`, "extensions is given more than once"},
		"documentId twice":                  {`{"documentId":"a","documentId":"b"}`, "documentId is given more than once"},
		"a variable twice":                  {`{` + query + `,"variables":{"n":"A","n":"B"}}`, "two members of the same name"},
		"a member of a variable twice":      {`{` + query + `,"variables":{"n":[{"a":1,"a":2}]}}`, "two members of the same name"},
		"a hash twice":                      {`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"a","sha256Hash":"b"}}}`, "two members of the same name"},
		"a hash in another case":            {`{"extensions":{"persistedQuery":{"version":1,"sha256hash":"` + strings.Repeat("a", 64) + `"}}}`, "must be"},
		"an unknown member twice":           {`{"query":"{ hello }","other":1,"other":2}`, "two members of the same name"},
		"within an unknown member, twice":   {`{"query":"{ hello }","other":{"a":1,"a":2}}`, "two members of the same name"},
		"in a batch":                        {`[{"query":"{ hello }"},{"query":"{ hello }","query":"{ broken }"}]`, "query is given more than once"},
		"in a batch, another case":          {`[{"query":"{ hello }","Query":"{ broken }"}]`, "[" + answer + "]"},
		"two variables of different case":   {`{"query":"query($n: String!, $N: String!) { hello(name: $n) b: hello(name: $N) }","variables":{"n":"A","N":"B"}}`, `{"data":{"hello":"hello A","b":"hello B"}}`},
		"another body after it":             {`{"query":"{ hello }"}{"query":"{ broken }"}`, "data after the JSON"},
		"a trailing comma":                  {`{"query":"{ hello }",}`, "not JSON"},
		"a query that is null":              {`{"query":null}`, "There is no query."},
		"variables and extensions are null": {`{"query":"{ hello }","variables":null,"extensions":null,"operationName":null}`, answer},
		"variables are a list":              {`{"query":"{ hello }","variables":[]}`, "variables must be an object"},
		"nested a hundred thousand deep":    {`{"query":"{ hello }","variables":{"n":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`, "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{})
			r := s.do(t, http.MethodPost, "/", c.body, asJSON)
			got := text(t, r)
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			if refused := !strings.Contains(c.want, "data"); refused && (r.StatusCode != 400 || len(s.ran) > 0) {
				t.Errorf("got status %d and executed %q, want 400 and nothing executed", r.StatusCode, s.ran)
			}
		})
	}
	for _, parameters := range [][]string{
		{"query", "{ hello }", "query", "{ broken }"},
		{"query", "{ hello }", "query", "{ hello }"},
		{"query", "{ hello }", "variables", "{}", "variables", "{}"},
		{"query", "{ hello }", "operationName", "", "operationName", "A"},
		{"query", "{ hello }", "extensions", "{}", "extensions", "{}"},
		{"query", "{ hello }", "variables", `{"n":1,"n":2}`},
		{"query", "{ hello }", "variables", `{"n":{"a":1,"a":2}}`},
		{"query", "{ hello }", "variables", `{} {}`},
		{"query", "{ hello }", "variables", `[]`},
		{"query", "{ hello }", "extensions", `{"persistedQuery":{"version":1,"version":1}}`},
		{"Query", "{ hello }"},
	} {
		s := serve(transport.Options{})
		if r := s.do(t, http.MethodGet, get(parameters...), ""); r.StatusCode != 400 || len(s.ran) > 0 {
			t.Errorf("%q: got %d %s", parameters, r.StatusCode, text(t, r))
		}
	}
	s := serve(transport.Options{})
	if got := text(t, s.do(t, http.MethodGet, get("query", "{ hello }", "QUERY", "{ broken }", "Variables", "x"), "")); got != answer {
		t.Error(got)
	}
}

// A string that is not valid text is refused. It is not cached as another string.
func TestFault21BytesThatAreNoText(t *testing.T) {
	t.Parallel()
	variable := func(v string) string {
		return `{"query":"query($n: String!) { hello(name: $n) }","variables":{"n":` + v + `}}`
	}
	literal := func(v string) string {
		return fmt.Sprintf(`{"query":%q}`, `{ hello(name: `+v+`) }`)
	}
	for name, c := range map[string]struct{ body, want string }{
		"half a pair":               {variable(`"\ud800"`), "half a surrogate pair"},
		"the other half":            {variable(`"a\uDC00b"`), "half a surrogate pair"},
		"a pair in the wrong order": {variable(`"\udc00\ud800"`), "half a surrogate pair"},
		"two first halves":          {variable(`"\ud83d\ud83d\ude00"`), "half a surrogate pair"},
		"in a list":                 {variable(`["\ud800"]`), "half a surrogate pair"},
		"as a name":                 {`{"query":"{ hello }","variables":{"\ud800":1}}`, "half a surrogate pair"},
		"in the query":              {`{"query":"{ hello } # \ud800"}`, "half a surrogate pair"},
		"in extensions":             {`{"query":"{ hello }","extensions":{"a":"\ud800"}}`, "half a surrogate pair"},
		"within an unknown member":  {`{"query":"{ hello }","other":"\ud800"}`, "half a surrogate pair"},
		"in a batch":                {`[` + variable(`"\ud800"`) + `]`, "half a surrogate pair"},
		"a pair":                    {variable(`"\ud83d\ude00"`), "hello 😀"},
		"the replacement itself":    {variable(`"\ufffd"`), "hello \ufffd"},
		"bytes that are not UTF-8":  {variable("\"\xff\""), "not UTF-8"},
		"half a pair in UTF-8":      {variable("\"\xed\xa0\x80\""), "not UTF-8"},
		"a literal":                 {literal(`"\ud800"`), "half a surrogate pair"},
		"a literal's other half":    {literal(`"\udfff"`), "half a surrogate pair"},
		"a literal after others":    {`{"query":"# \"\n{ a: hello(name: \"\"\"\\ud800 \\\"\"\" \"\"\") hello(name: \"\\\\ \\\" \\ud800x\") }"}`, "half a surrogate pair"},
		"a literal's pair":          {literal(`"\ud83d\ude00"`), "hello 😀"},
		"a literal in braces":       {literal(`"\u{1F600}"`), "hello 😀"},
		"half a pair in braces":     {literal(`"\u{D800}"`), "GRAPHQL_PARSE_FAILED"},
		"an escaped backslash":      {literal(`"\\ud800"`), `hello \\ud800`},
		"a block string":            {literal(`"""\ud800"""`), `hello \\ud800`},
		"a comment":                 {`{"query":"{ hello } # \\ud800"}`, answer},
		"a mark before the body":    {bom + hello, answer},
		"two marks":                 {bom + bom + hello, "not JSON"},
		"a mark before a batch":     {bom + "[" + hello + "]", "[" + answer + "]"},
		"a mark before the query":   {`{"query":"\ufeff{ hello }"}`, answer},
		"a byte order mark only":    {bom, "The body is empty."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{})
			got := text(t, s.do(t, http.MethodPost, "/", c.body, asJSON))
			if !strings.Contains(strings.ReplaceAll(got, `\"`, `"`), c.want) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			if !strings.Contains(c.want, "hello") && len(s.ran) > 0 {
				t.Errorf("the operation was executed: %s", got)
			}
		})
	}
	for _, parameters := range [][]string{
		{"query", "query($n: String!) { hello(name: $n) }", "variables", `{"n":"\ud800"}`},
		{"query", `{ hello(name: "\ud800") }`},
		{"query", "{ hello } # \xed\xa0\x80"},
		{"query", "{ hello }", "variables", "{\"n\":\"\xff\"}"},
	} {
		s := serve(transport.Options{})
		if got := text(t, s.do(t, http.MethodGet, get(parameters...), "")); !strings.Contains(got, `"errors"`) || len(s.ran) > 0 {
			t.Errorf("%q: got %s", parameters, got)
		}
	}
}

// A body that ends before its Content-Length is refused, even if the received part is valid JSON.
func TestFault21BodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	for name, front := range map[string]bool{"looked up first": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{Answers: answerStore(t)})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served := false
				if front {
					_, served = s.ServeCached(w, r)
				}
				if !served {
					s.ServeHTTP(w, r)
				}
			}))
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(hello)+5, hello)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || len(s.ran) > 0 {
				t.Errorf("executed %q, got %s", s.ran, got)
			}
		})
	}
}

func answerStore(t *testing.T) *answers.Store {
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
	return store
}
