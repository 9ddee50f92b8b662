package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
)

// send sends a raw request and returns the status and the response.
func send(t testing.TB, h http.Handler, method, target, body string) (int, answer) {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), method, target, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	return w.Code, a
}

// internals matches words that no client may see.
var internals = regexp.MustCompile(`(?i)sqlstate|sqlite|postgres|\bpgx\b|pgconn|\bbun\b|redis|select |insert |update "|delete from|constraint|syntax error|relation|foreign key|goroutine|\.go:|runtime error|nil pointer|0x[0-9a-f]{6}|price_cents|country_code|127\.0\.0\.1`)

// badInput is a set of values that a field refuses.
type badInput struct {
	field     string // as the error names it
	operation string // with $v for the value
	values    []any
}

func badInputs() []badInput {
	var (
		ids     = []any{"abc", "", "0", "-1", "042", "+1", " 1", "1 ", "1.0", "1e3", "99999999999999999999", "9223372036854775808", "٤٢", "42\x00", "*", "1 OR 1=1", "1;2"}
		firsts  = []any{0, -1, 101, 2147483647}
		cursors = []any{"", "abc", "!", "42", cursor("users", 0), cursor("users", -1), cursor("carts", 1), cursor("users", 1) + "=", cursor("users", 1) + "\n", cursor("users", 1)[1:], "'; DROP TABLE users; --", "\x00"}
		blank   = []any{"", " ", "\t\n", "\u00a0", "\u3000"}
		nul     = []any{"\x00", "a\x00b", "a\x00"}
		long    = strings.Repeat("ж", 201)
		endless = strings.Repeat("ж", 10_001)
		emails  = []any{"", " ", "a", "@", "a@", "@shop.example", "a b@shop.example", "a@shop.example ", "Ann <a@shop.example>", "a@shop.example, b@shop.example", "a\x00@shop.example", "a@shop.example\nBcc: b@shop.example", strings.Repeat("a", 250) + "@shop.example"}
		codes   = []any{"", "G", "gb", "GBR", "ZZ", "G1", " GB", "GB ", "GB\n", "ÄÖ", "\x00\x00", "'; DROP TABLE users; --"}
		numbers = []any{-1, 2147483648, 9007199254740993}
	)
	with := func(lists ...[]any) (all []any) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	foreign := func(lists ...string) (all []any) {
		all = append(all, cursors...)
		for _, l := range lists {
			all = append(all, cursor(l, 1))
		}
		return all
	}
	return []badInput{
		{"id", `query($v: ID!) { user(id: $v) { id } }`, ids},
		{"id", `query($v: ID!) { product(id: $v) { id } }`, ids},
		{"id", `mutation($v: ID!) { updateUser(id: $v, input: {name: "N"}) { id } }`, ids},
		{"id", `mutation($v: ID!) { deleteUser(id: $v) }`, ids},
		{"id", `mutation($v: ID!) { updateProduct(id: $v, input: {name: "N"}) { id } }`, ids},
		{"productId", `mutation($v: ID!) { setPrice(productId: $v, price: {amount: "1", currency: "EUR"}) { id } }`, ids},
		{"productId", `mutation($v: ID!) { setStock(productId: $v, stock: 1) { id } }`, ids},
		{"productId", `mutation($v: ID!) { addReview(productId: $v, rating: 1, body: "B") { id } }`, ids},
		{"authorId", `mutation($v: ID!) { addReview(productId: 7, rating: 1, body: "B", authorId: $v) { id } }`, ids},
		{"productId", `mutation($v: ID!) { placeOrder(lines: [{productId: 7, quantity: 1}, {productId: $v, quantity: 1}]) { id } }`, ids},
		{"customerId", `mutation($v: ID!) { placeOrder(lines: [{productId: 7, quantity: 1}], customerId: $v) { id } }`, ids},

		{"first", `query($v: Int!) { users(first: $v) { nodes { id } } }`, firsts},
		{"first", `query($v: Int!) { products(first: $v) { nodes { id } } }`, firsts},
		{"first", `query($v: Int!) { search(text: "a", first: $v) { __typename } }`, firsts},
		{"first", `query($v: Int!) { user(id: 42) { reviews(first: $v) { nodes { id } } } }`, firsts},
		{"first", `query($v: Int!) { product(id: 7) { reviews(first: $v) { nodes { id } } } }`, firsts},
		{"first", `query($v: Int!) { me { orders(first: $v) { nodes { id } } } }`, firsts},
		{"after", `query($v: String!) { users(after: $v) { nodes { id } } }`, foreign("products", "reviews", "orders")},
		{"after", `query($v: String!) { products(after: $v) { nodes { id } } }`, foreign("users", "reviews", "orders")},
		{"after", `query($v: String!) { products(category: "kitchen", after: $v) { nodes { id } } }`, foreign("users", "reviews", "orders")},
		{"after", `query($v: String!) { user(id: 42) { reviews(after: $v) { nodes { id } } } }`, foreign("users", "products", "orders")},
		{"after", `query($v: String!) { me { orders(after: $v) { nodes { id } } } }`, foreign("users", "products", "reviews")},

		{"category", `query($v: String!) { products(category: $v) { nodes { id } } }`, with(blank, nul, []any{long})},
		{"text", `query($v: String!) { search(text: $v) { __typename } }`, with(blank, nul, []any{long})},
		{"code", `query($v: ID!) { country(code: $v) { name } }`, without(codes, "ZZ")}, // well formed, so the response is null

		{"name", `mutation($v: String!) { createUser(input: {name: $v, email: "n@shop.example"}) { id } }`, with(blank, nul, []any{long})},
		{"name", `mutation($v: String) { updateUser(id: 42, input: {name: $v}) { id } }`, with(blank, nul, []any{long, nil})},
		{"email", `mutation($v: String!) { createUser(input: {name: "N", email: $v}) { id } }`, emails},
		{"email", `mutation($v: String) { updateUser(id: 42, input: {email: $v}) { id } }`, with(emails, []any{nil})},
		{"bio", `mutation($v: String!) { createUser(input: {name: "N", email: "n@shop.example", bio: $v}) { id } }`, with(nul, []any{endless})},
		{"bio", `mutation($v: String!) { updateUser(id: 42, input: {bio: $v}) { id } }`, with(nul, []any{endless})},
		{"countryCode", `mutation($v: ID!) { createUser(input: {name: "N", email: "n@shop.example", countryCode: $v}) { id } }`, codes},
		{"countryCode", `mutation($v: ID!) { updateUser(id: 42, input: {countryCode: $v}) { id } }`, codes},
		{"name", `mutation($v: String) { updateProduct(id: 7, input: {name: $v}) { id } }`, with(blank, nul, []any{long, nil})},
		{"description", `mutation($v: String) { updateProduct(id: 7, input: {description: $v}) { id } }`, with(blank, nul, []any{endless, nil})},
		{"category", `mutation($v: String) { updateProduct(id: 7, input: {category: $v}) { id } }`, with(blank, nul, []any{long, nil})},
		{"body", `mutation($v: String!) { addReview(productId: 7, rating: 1, body: $v) { id } }`, with(blank, nul, []any{endless})},
		{"rating", `mutation($v: Int!) { addReview(productId: 7, rating: $v, body: "B") { id } }`, with(numbers, []any{0, 6})},
		{"stock", `mutation($v: Int!) { setStock(productId: 7, stock: $v) { id } }`, numbers},
		{"price.amount", `mutation($v: String!) { setPrice(productId: 7, price: {amount: $v, currency: "EUR"}) { id } }`, []any{
			"-1", "-0", "+1", "1.234", "1e3", "", " ", "1 ", " 1", "12,5", "1,000.00", ".5", "1.", "٣", "NaN", "Infinity", "0x10", "1.2.3", "1_000", "9999999999999", "1\x00", "1\n",
		}},
		{"price.currency", `mutation($v: String!) { setPrice(productId: 7, price: {amount: "1", currency: $v}) { id } }`, []any{
			"", "E", "eur", "EURO", "€", "EU ", "E1R", "EUR\n", "ÄÖÜ", "EU\x00",
		}},
		{"quantity", `mutation($v: Int!) { placeOrder(lines: [{productId: 7, quantity: $v}]) { id } }`, with(numbers, []any{0})},
		{"lines", `mutation($v: [OrderLineInput!]!) { placeOrder(lines: $v) { id } }`, []any{[]any{}, orderOf(101)}},
	}
}

func without(list []any, v any) (rest []any) {
	for _, e := range list {
		if e != v {
			rest = append(rest, e)
		}
	}
	return rest
}

func orderOf(n int) (list []any) {
	for range n {
		list = append(list, map[string]any{"productId": "7", "quantity": 1})
	}
	return list
}

// For every bad value the error names the field and is readable, and nothing changes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	viewer := graph.Viewer{ID: 42, Admin: true}
	backends(t, func(t *testing.T, s *shop) {
		s.unchanged(t, func() {
			for _, c := range badInputs() {
				for _, v := range c.values {
					a := s.execute(t, viewer, c.operation, "v", v)
					shown := fmt.Sprintf("%.60q: %s: %.300s", fmt.Sprint(v), c.operation, a.raw)
					if len(a.Errors) != 1 || a.code() != "BAD_USER_INPUT" || a.Errors[0].Extensions["field"] != c.field {
						t.Errorf("want BAD_USER_INPUT of %s, got %s", c.field, shown)
						continue
					}
					if m := a.Errors[0].Message; len(m) < 15 || len(m) > 250 || internals.MatchString(a.raw) {
						t.Errorf("the message is unclear: %s", shown)
					}
				}
			}
		})
	})
}

// Text that is not UTF-8 is refused. It can arrive in a URL and from careless clients, although
// JSON does not allow it.
func TestBadEncoding(t *testing.T) {
	t.Parallel()
	fields := map[string]string{
		"text":     `{ search(text: "%s") { __typename } }`,
		"category": `{ products(category: "%s") { nodes { id } } }`,
		"after":    `{ users(after: "%s") { nodes { id } } }`,
		"id":       `{ user(id: "%s") { id } }`,
		"code":     `{ country(code: "%s") { name } }`,
	}
	mutations := []string{
		`mutation { createUser(input: {name: "%s", email: "n@shop.example"}) { id } }`,
		`mutation { createUser(input: {name: "N", email: "%s@shop.example"}) { id } }`,
		`mutation { updateUser(id: 42, input: {bio: "%s"}) { id } }`,
		`mutation { updateProduct(id: 7, input: {name: "%s"}) { id } }`,
		`mutation { updateProduct(id: 7, input: {description: "%s"}) { id } }`,
		`mutation { addReview(productId: 7, rating: 1, body: "%s") { id } }`,
	}
	bad := []string{"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf8\x88\x80\x80\x80"}
	backends(t, func(t *testing.T, s *shop) {
		s.unchanged(t, func() {
			for field, query := range fields {
				for _, v := range bad {
					_, a := send(t, s.handler, http.MethodGet, "/graphql?query="+url.QueryEscape(fmt.Sprintf(query, v)), "")
					if a.code() != "BAD_USER_INPUT" && a.code() != "GRAPHQL_PARSE_FAILED" && a.code() != "BAD_REQUEST" || internals.MatchString(a.raw) {
						t.Errorf("%s by GET: %q: got %s", field, v, a.raw)
					}
				}
			}
			for _, m := range slices.Concat(mutations, slices.Collect(maps.Values(fields))) {
				for _, v := range bad {
					body := `{"query": "` + strings.ReplaceAll(fmt.Sprintf(m, v), `"`, `\"`) + `"}`
					status, a := send(t, s.handler, http.MethodPost, "/graphql", body)
					if a.code() != "BAD_REQUEST" || status != http.StatusBadRequest {
						t.Errorf("by POST: %q: got %d %s, want 400 BAD_REQUEST", body, status, a.raw)
					}
				}
			}
		})
	})
}

func TestMissingAndTaken(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		var known struct {
			User    struct{ Email string }
			Product struct{ Stock int }
		}
		a := s.execute(t, graph.Viewer{ID: 43}, `{ user(id: 43) { email } product(id: 7) { stock } }`)
		if err := json.Unmarshal(a.Data, &known); err != nil || known.User.Email == "" {
			t.Fatalf("%s: %v", a.raw, err)
		}
		s.unchanged(t, func() {
			for _, c := range []struct{ mutation, code, field string }{
				{`updateUser(id: 99999999, input: {name: "N"}) { id }`, "NOT_FOUND", "id"},
				{`updateUser(id: 99999999, input: {bio: "B"}) { id }`, "NOT_FOUND", "id"},
				{`updateUser(id: 9223372036854775807, input: {}) { id }`, "NOT_FOUND", "id"},
				{`deleteUser(id: 99999999)`, "NOT_FOUND", "id"},
				{`updateProduct(id: 99999999, input: {name: "N"}) { id }`, "NOT_FOUND", "id"},
				{`setPrice(productId: 99999999, price: {amount: "1", currency: "EUR"}) { id }`, "NOT_FOUND", "productId"},
				{`setStock(productId: 99999999, stock: 1) { id }`, "NOT_FOUND", "productId"},
				{`addReview(productId: 99999999, rating: 1, body: "B") { id }`, "NOT_FOUND", "productId"},
				{`addReview(productId: 7, rating: 1, body: "B", authorId: 99999999) { id }`, "NOT_FOUND", "authorId"},
				{`placeOrder(lines: [{productId: 7, quantity: 1}, {productId: 99999999, quantity: 1}]) { id }`, "NOT_FOUND", "lines"},
				{`placeOrder(lines: [{productId: 7, quantity: 1}], customerId: 99999999) { id }`, "NOT_FOUND", "customerId"},
				{`createUser(input: {name: "N", email: "` + known.User.Email + `"}) { id }`, "CONFLICT", "email"},
				{`updateUser(id: 42, input: {name: "N", email: "` + known.User.Email + `"}) { id }`, "CONFLICT", "email"},
				{`updateUser(id: 42, input: {email: "` + known.User.Email + `"}) { id }`, "CONFLICT", "email"},
				{fmt.Sprintf(`placeOrder(lines: [{productId: 7, quantity: %d}]) { id }`, known.Product.Stock+1), "CONFLICT", "lines"},
			} {
				a := s.execute(t, everyone, "mutation { "+c.mutation+" }")
				if len(a.Errors) != 1 || a.code() != c.code || a.Errors[0].Extensions["field"] != c.field || internals.MatchString(a.raw) {
					t.Errorf("want %s of %s: %s: got %s", c.code, c.field, c.mutation, a.raw)
				}
			}
		})
		// Reading something that does not exist returns null without an error.
		if a := s.execute(t, everyone, `{ user(id: 99999999) { id } product(id: 99999999) { id } country(code: "ZZ") { code } }`); a.raw != `{"data":{"user":null,"product":null,"country":null}}` {
			t.Error(a.raw)
		}
	})
}

func TestBadDocuments(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	const secret = "correct-horse-battery-staple"
	for name, c := range map[string]struct{ body, code string }{
		"an unterminated selection": {`{"query": "{ user(id: 1) { id }"}`, "GRAPHQL_PARSE_FAILED"},
		"not GraphQL":               {`{"query": "SELECT 1"}`, "GRAPHQL_PARSE_FAILED"},
		"an unknown field":          {`{"query": "{ user(id: 1) { password } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an unknown type":           {`{"query": "{ search(text: \"a\") { ... on Shop { id } } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an unknown argument":       {`{"query": "{ user(id: 1, name: 2) { id } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a missing argument":        {`{"query": "{ user { id } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a null argument":           {`{"query": "{ user(id: null) { id } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a wrong literal":           {`{"query": "{ users(first: \"3\") { nodes { id } } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an unknown input field":    {`{"query": "mutation { updateUser(id: 1, input: {role: \"admin\"}) { id } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"no selection":              {`{"query": "{ users }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a wrong variable":          {`{"query": "query($n: Int!) { users(first: $n) { nodes { id } } }", "variables": {"n": "three"}}`, "GRAPHQL_VALIDATION_FAILED"},
		"a number with a part":      {`{"query": "query($n: Int!) { users(first: $n) { nodes { id } } }", "variables": {"n": 1.5}}`, "GRAPHQL_VALIDATION_FAILED"},
		"a huge number":             {`{"query": "query($n: Int!) { users(first: $n) { nodes { id } } }", "variables": {"n": 1e400}}`, "GRAPHQL_VALIDATION_FAILED"},
		"a missing variable":        {`{"query": "query($n: Int!) { users(first: $n) { nodes { id } } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an unknown variable":       {`{"query": "{ users(first: $n) { nodes { id } } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an object for an id":       {`{"query": "query($id: ID!) { user(id: $id) { id } }", "variables": {"id": {"$gt": ""}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"two operations, no name":   {`{"query": "query A { countries { code } } query B { countries { code } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a name that is not there":  {`{"query": "query A { countries { code } }", "operationName": "B"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a subscription":            {`{"query": "subscription { users { id } }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"nothing":                   {``, "BAD_REQUEST"},
		"no JSON":                   {secret, "BAD_REQUEST"},
		"half a JSON":               {`{"query": "` + secret, "BAD_REQUEST"},
		"a list":                    {`["` + secret + `"]`, "BAD_REQUEST"},
		"null":                      {`null`, "BAD_REQUEST"},
		"a number for a query":      {`{"query": 1, "` + secret + `": 2}`, "BAD_REQUEST"},
		"a list of variables":       {`{"query": "{ countries { code } }", "variables": ["` + secret + `"]}`, "BAD_REQUEST"},
		"data after the JSON":       {`{"query": "{ countries { code } }"} ` + secret, "BAD_REQUEST"},
		"no query":                  {`{}`, "BAD_REQUEST"},
		"an empty query":            {`{"query": ""}`, "BAD_REQUEST"},
		"a query of space":          {`{"query": " \n "}`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, a := send(t, s.handler, http.MethodPost, "/graphql", c.body)
			if a.code() != c.code {
				t.Errorf("code %q, want %q: %s", a.code(), c.code, a.raw)
			}
			if strings.Contains(a.raw, `"path":["variable",`) && !strings.Contains(a.raw, `"message":"Variable \"$`) {
				t.Errorf("the message does not name the variable: %s", a.raw)
			}
			if string(a.Data) != "" && string(a.Data) != "null" {
				t.Errorf("the request was refused, but has data: %s", a.raw)
			}
			if c.code == "BAD_REQUEST" && status != http.StatusBadRequest {
				t.Errorf("got status %d, want 400", status)
			}
			if strings.Contains(a.raw, secret) || internals.MatchString(a.raw) {
				t.Errorf("the response reveals internals: %s", a.raw)
			}
		})
	}
}

// Clients see only an id of an internal error. The log has the details under it.
func TestInternalFaults(t *testing.T) {
	t.Parallel()
	var broken []*shop
	for _, url := range []string{sqlite(t), seeded(t, "demo", fixtures.Demo)} {
		s := open(t, url, "")
		if err := s.db.Close(); err != nil {
			t.Fatal(err)
		}
		broken = append(broken, s)
	}
	// Without a database every resolver panics.
	s := &shop{log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(&locked{w: s.log}, nil))
	memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if s.cache, err = cache.New(cache.Options{Memory: memory, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cache.Close() })
	kinds, err := dataloader.NewKinds(nil, func(string) (cache.Policy, error) { return cache.Policy{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	loaders := dataloader.New(s.cache, kinds, func(...outbox.Change) cache.Eviction { return cache.Eviction{} })
	s.handler = handlerOf(t, graph.NewExecutor(graph.NewSchema(nil, log), loaders, graph.Options{
		Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000,
	}, log), transport.Options{})
	broken = append(broken, s)

	for _, s := range broken {
		for _, query := range []string{
			`{ user(id: 42) { id } }`, `{ product(id: 7) { id } }`, `{ users { nodes { id } } }`, `{ countries { code } }`, `{ search(text: "lamp") { __typename } }`,
			`mutation { createUser(input: {name: "N", email: "n@shop.example"}) { id } }`,
			`mutation { updateUser(id: 42, input: {name: "N"}) { id } }`,
			`mutation { deleteUser(id: 42) }`,
			`mutation { setStock(productId: 7, stock: 1) { id } }`,
			`mutation { addReview(productId: 7, rating: 1, body: "B") { id } }`,
			`mutation { placeOrder(lines: [{productId: 7, quantity: 1}]) { id } }`,
		} {
			s.log.Reset()
			a := s.execute(t, everyone, query)
			id := ""
			if len(a.Errors) == 1 {
				id, _ = a.Errors[0].Extensions["id"].(string)
			}
			body := strings.ReplaceAll(a.raw, id, "") // the id is random and could match
			if a.code() != "INTERNAL" || len(id) < 16 || internals.MatchString(body) || strings.Contains(body, "closed") {
				t.Errorf("%s: got %s, want INTERNAL with an id", query, a.raw)
				continue
			}
			if !strings.Contains(s.log.String(), "id="+id) {
				t.Errorf("%s: the log lacks the id %s:\n%s", query, id, s.log)
			}
			if s.db == nil && !strings.Contains(s.log.String(), "nil pointer") {
				t.Errorf("%s: the log lacks the panic:\n%s", query, s.log)
			}
		}
	}
}
