package transport_test

import (
	"net/http"
	"strings"
	"testing"

	"fieldcache/cache/transport"
)

// Requests with the same meaning are served from one cached response, however they are written.
// Other requests are not.
func TestRecallByMeaning(t *testing.T) {
	t.Parallel()
	const vars = `{"query":"query Q($n: ID, $f: Filter) { hello(name: $n, filter: $f) }","variables":{"n":"1","f":{"a":"x","b":[1,2]}}}`
	const two = `query A { hello } query B { hello(name: "b") }`
	number := func(value string) request {
		return post(`{"query":"query($n: Float) { number(n: $n) }","variables":{"n":` + value + `}}`)
	}
	literal := func(value string) request { return post(quoted("{ hello(name: " + value + ") }")) }
	skip := func(value string) request {
		return post(`{"query":"query($s: Boolean!) { hello long @skip(if: $s) }","variables":{"s":` + value + `}}`)
	}
	for name, c := range map[string]struct {
		first, second request
		same          bool
	}{
		"white space":                {post(hello), post(`{"query":"{\n  hello,,\t}"}`), true},
		"comments":                   {post(hello), post(`{"query":"# what it is\n{ hello # there\n}"}`), true},
		"the keyword":                {post(hello), post(`{"query":"query { hello }"}`), true},
		"JSON's white space":         {post(hello), post(`  { "query" : "{ hello }" } `), true},
		"JSON's keys":                {post(vars), post(`{"variables":{"f":{"b":[1,2],"a":"x"},"n":"1"},"query":"query Q($n: ID, $f: Filter) { hello(name: $n, filter: $f) }"}`), true},
		"JSON's escapes":             {post(hello), post(`{"query":"{ h\u0065llo }"}`), true},
		"clientLibrary":              {post(hello), post(`{"query":"{ hello }","extensions":{"clientLibrary":{"name":"x","version":"4.1.6"}}}`), true},
		"the only operation's name":  {post(`{"query":"query A { hello }"}`), post(`{"query":"query A { hello }","operationName":"A"}`), true},
		"GET and POST":               {post(hello), byGet("{ hello }"), true},
		"POST and GET":               {byGet("query Q { hello }"), post(`{"query":"query Q { hello }"}`), true},
		"HEAD and POST":              {request{method: http.MethodHead, target: get("query", "{ hello }")}, post(hello), true},
		"a hash and its text":        {post(persistedBody("{ hello }", true)), post(persistedBody("{ hello }", false)), true},
		"a hash by GET":              {post(persistedBody("{ hello }", true)), request{method: http.MethodGet, target: get("extensions", persistedExtension("{ hello }"))}, true},
		"an undeclared variable":     {post(hello), post(`{"query":"{ hello }","variables":{"x":1}}`), true},
		"the alias that is the name": {post(hello), post(`{"query":"{ hello: hello }"}`), true},
		"a default given":            {post(`{"query":"query($n: ID = \"1\") { hello(name: $n) }"}`), post(`{"query":"query($n: ID = \"1\") { hello(name: $n) }","variables":{"n":"1"}}`), true},
		"one string, two spellings":  {literal(`"a\u0062"`), literal(`"ab"`), true},
		"a string as a block":        {literal(`"ab"`), literal(`"""ab"""`), true},
		"by another viewer":          {post(hello).as("8"), post(` ` + hello).as("9"), true},

		"another variable":                    {post(vars), post(strings.Replace(vars, `"n":"1"`, `"n":"2"`, 1)), false},
		"null for absent":                     {post(`{"query":"query($n: ID) { hello(name: $n) }"}`), post(`{"query":"query($n: ID) { hello(name: $n) }","variables":{"n":null}}`), false},
		"a list's order":                      {post(vars), post(strings.Replace(vars, `[1,2]`, `[2,1]`, 1)), false},
		"a list's nesting":                    {post(vars), post(strings.Replace(vars, `[1,2]`, `[12]`, 1)), false},
		"a separator in a value":              {post(vars), post(strings.Replace(vars, `"a":"x"`, `"a":"x\",\"b\":[1,2]"`, 1)), false},
		"a zero byte in a value":              {post(vars), post(strings.Replace(vars, `"a":"x"`, `"a":"x\u0000"`, 1)), false},
		"another number":                      {number("1"), number("1.5"), false},
		"a number near it":                    {number("9007199254740992"), number("9007199254740994"), false},
		"another operation":                   {post(`{"query":` + quote(two) + `,"operationName":"A"}`), post(`{"query":` + quote(two) + `,"operationName":"B"}`), false},
		"skipped or not":                      {skip("true"), skip("false"), false},
		"an alias":                            {post(hello), post(`{"query":"{ hallo: hello }"}`), false},
		"another literal":                     {literal(`"1"`), literal(`"2"`), false},
		"a string for a number":               {literal(`"1 "`), literal(`1`), false},
		"a quote in a string":                 {literal(`"a\", filter: {a: \"b\"}"`), post(quoted(`{ hello(name: "a", filter: {a: "b"}) }`)), false},
		"a backslash":                         {literal(`"a\\n"`), literal(`"a\n"`), false},
		"a line in a block":                   {literal("\"\"\"a\nb\"\"\""), literal(`"a b"`), false},
		"a hash sign in a string":             {literal(`"a # b"`), literal(`"a "`), false},
		"white space in a string":             {literal(`"a  b"`), literal(`"a b"`), false},
		"the order of fields":                 {post(`{"query":"{ hello long }"}`), post(`{"query":"{ long hello }"}`), false},
		"an additional field":                 {post(hello), post(`{"query":"{ hello long }"}`), false},
		"the type of the response":            {post(hello, wantsJSON), post(hello, wantsNew), false},
		"a batch for a single one":            {post(hello), post("[" + hello + "]"), false},
		"a single one for a batch":            {post("[" + hello + "]"), post(hello), false},
		"a batch in another order":            {post(`[` + hello + `,{"query":"{ long }"}]`), post(`[{"query":"{ long }"},` + hello + `]`), false},
		"a private response":                  {post(`{"query":"{ mine }"}`).as("8"), post(` {"query":"{ mine }"}`).as("9"), false},
		"a private response without a viewer": {post(`{"query":"{ mine }"}`), post(` {"query":"{ mine }"}`).as("9"), false},
		"a private response of a viewer":      {post(`{"query":"{ mine }"}`).as("8"), post(` {"query":"{ mine }"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, transport.Options{})
			first := k.want(t, c.first, stored)
			for range 2 { // the second time by the form that was received
				second := k.send(t, c.second)
				if second.status != 200 || second.hit() != c.same {
					t.Fatalf("got %d %s %q", second.status, second.body, second.cacheStatus())
				}
				if c.same && second.body != first.body && c.first.method != http.MethodHead {
					t.Errorf("got  %s\nwant %s", second.body, first.body)
				}
				if !c.same {
					break
				}
			}
			if c.same {
				return
			}
			// Each request gets its own response, and no response replaced another.
			alone := newKeeper(t, transport.Options{}).want(t, c.second, stored)
			if again := k.send(t, c.second); again.body != alone.body || !again.hit() {
				t.Errorf("got  %s\nwant %s", again.body, alone.body)
			}
			if again := k.send(t, c.first); again.body != first.body || !again.hit() {
				t.Errorf("got  %s\nwant %s", again.body, first.body)
			}
		})
	}
}

// A batch is cached for the lowest of its ages, privately if a part is private, and only as a
// whole.
func TestCachedBatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, control string }{
		"the least age": {`[` + hello + `,{"query":"{ short }"}]`, "max-age=10, public"},
		"one private":   {`[{"query":"{ mine }"},` + hello + `]`, "max-age=10, private"},
		"one without":   {`[` + hello + `,{"query":"{ never }"}]`, "no-store"},
		"a mutation":    {`[{"query":"mutation { change }"},` + hello + `]`, "no-store"},
		"an error":      {`[` + hello + `,{"query":"{ broken }"}]`, "no-store"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "one private" {
				c.body = strings.Replace(c.body, "]", `,{"query":"{ short }"}]`, 1)
			}
			k := newKeeper(t, transport.Options{})
			in := post(c.body).as("8")
			for range 2 {
				r := k.send(t, in)
				if got := r.header.Get("Cache-Control"); got != c.control || r.status != 200 || !strings.HasPrefix(r.body, "[") {
					t.Errorf("got Cache-Control %q, want %q: %d %s", got, c.control, r.status, r.body)
				}
			}
			if r := k.send(t, in); r.hit() != (c.control != "no-store") {
				t.Error(r.cacheStatus())
			}
			if r := k.send(t, post(c.body).as("9")); r.hit() != strings.HasSuffix(c.control, "public") {
				t.Errorf("another viewer: got %s", r.cacheStatus())
			}
			if r := k.send(t, post(hello).as("8")); r.hit() || !strings.HasPrefix(r.body, "{") {
				t.Errorf("a single request: got %s %s", r.cacheStatus(), r.body)
			}
		})
	}
}

func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

func quoted(query string) string { return `{"query":` + quote(query) + `}` }

func persistedExtension(query string) string {
	return `{"persistedQuery":{"version":1,"sha256Hash":"` + hash(query) + `"}}`
}

func persistedBody(query string, text bool) string {
	body := `{"extensions":` + persistedExtension(query)
	if text {
		body += `,"query":` + quote(query)
	}
	return body + `}`
}
