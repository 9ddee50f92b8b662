package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fieldcache/graph"
)

// A null for a non-null argument or input field is a client error before anything runs, whichever
// way it gets there.
func TestFault11NullWhereNoneMayBe(t *testing.T) {
	t.Parallel()
	admin := graph.Viewer{ID: 42, Admin: true}
	backends(t, func(t *testing.T, s *shop) {
		for _, c := range []struct{ name, operation, variables, want string }{
			{"an argument", `mutation($s: Int = 5) { setStock(productId: 1, stock: $s) { stock } }`, `{"s": null}`, `"stock" of "setStock"`},
			{"a place with a default", `query($n: Int) { users(first: $n) { nodes { id } } }`, `{"n": null}`, `"first" of "users"`},
			{"a default that is null", `query($n: Int = null) { users(first: $n) { nodes { id } } }`, `{}`, `"first" of "users"`},
			{"below", `query($n: Int) { user(id: 1) { reviews(first: $n) { totalCount } } }`, `{"n": null}`, `"first" of "reviews"`},
			{"in a fragment", `query($n: Int = 1) { user(id: 1) { ...F } } fragment F on User { ... on User { reviews(first: $n) { totalCount } } }`, `{"n": null}`, `"first" of "reviews"`},
			{"an input field", `mutation($a: String = "1") { setPrice(productId: 1, price: {amount: $a, currency: "EUR"}) { id } }`, `{"a": null}`, `"price.amount" of "setPrice"`},
			{"a list item", `mutation($l: OrderLineInput = {productId: 1, quantity: 1}) { placeOrder(lines: [{productId: 1, quantity: 1}, $l]) { id } }`, `{"l": null}`, `"lines[1]" of "placeOrder"`},
			{"a field of a list item", `mutation($q: Int = 1) { placeOrder(lines: [{productId: 1, quantity: $q}]) { id } }`, `{"q": null}`, `"lines[0].quantity" of "placeOrder"`},
			{"an id", `mutation($i: ID = 1) { deleteUser(id: $i) }`, `{"i": null}`, `"id" of "deleteUser"`},
			{"after a write", `mutation($s: Int = 5) { a: setStock(productId: 1, stock: 7) { stock } b: setStock(productId: 2, stock: $s) { stock } }`, `{"s": null}`, `"stock" of "setStock"`},
			{"@include at the root", `query($b: Boolean = true) { user(id: 1) @include(if: $b) { id } }`, `{"b": null}`, `"if" of "@include"`},
			{"@skip below", `query($b: Boolean = true) { user(id: 1) { id name @skip(if: $b) } }`, `{"b": null}`, `"if" of "@skip"`},
			{"@include on a fragment", `query($b: Boolean = true) { user(id: 1) { ...F @include(if: $b) } } fragment F on User { id }`, `{"b": null}`, `"if" of "@include"`},
			{"@include in a fragment", `query($b: Boolean = true) { user(id: 1) { ...F } } fragment F on User { id ... @include(if: $b) { name } }`, `{"b": null}`, `"if" of "@include"`},
			{"@include behind a write", `mutation($b: Boolean = true) { setStock(productId: 1, stock: 7) { id stock @include(if: $b) } }`, `{"b": null}`, `"if" of "@include"`},
			{"@skip of a write behind a write", `mutation($b: Boolean = false) { a: setStock(productId: 1, stock: 7) { id } b: setStock(productId: 2, stock: 7) @skip(if: $b) { id } }`, `{"b": null}`, `"if" of "@skip"`},
			{"another operation's fragment", `query A($n: Int = 1) { user(id: 1) { ...F } } query B($n: Int! = 1) { user(id: 1) { ...F } } fragment F on User { reviews(first: $n) { totalCount } }`, `{"n": null}`, `"first" of "reviews"`},
			{"in a list's value", `mutation($l: [OrderLineInput!]!) { placeOrder(lines: $l) { id } }`, `{"l": [{"productId": 1, "quantity": null}]}`, "cannot be null"},
			{"an item of a list's value", `mutation($l: [OrderLineInput!]!) { placeOrder(lines: $l) { id } }`, `{"l": [null]}`, "cannot be null"},
		} {
			s.unchanged(t, func() {
				s.sql()
				body, err := json.Marshal(map[string]any{"query": c.operation, "variables": json.RawMessage(c.variables), "operationName": name(c.operation)})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second time the document is cached
					status, a := sendAs(t, s.handler, admin, string(body))
					if status >= 500 || len(a.Errors) != 1 || len(a.Data) > 0 || !strings.Contains(a.raw, strings.ReplaceAll(c.want, `"`, `\"`)) {
						t.Errorf("%s: got %d %s", c.name, status, a.raw)
					}
					if code := a.code(); code != "BAD_USER_INPUT" && code != "GRAPHQL_VALIDATION_FAILED" {
						t.Errorf("%s: got code %q", c.name, code)
					}
				}
				if got := s.sql(); len(got) > 0 {
					t.Errorf("%s: the request was refused, but ran\n%s", c.name, lines(got))
				}
			})
		}

		// An omitted value is not null.
		for operation, want := range map[string]string{
			`query($n: Int) { users(first: $n) { totalCount } }`:                    `{"users":{"totalCount":`,
			`query($b: Boolean = true) { user(id: 1) { id @include(if: $b) } }`:     `{"user":{"id":"1"}}`,
			`query($b: Boolean = true) { user(id: 1) { id name @skip(if: $b) } }`:   `{"user":{"id":"1"}}`,
			`query($a: String) { users(first: 1, after: $a) { nodes { id } } }`:     `{"users":{"nodes":[{"id":"1"}]}}`,
			`mutation($s: Int = 5) { setStock(productId: 1, stock: $s) { stock } }`: `{"setStock":{"stock":5}}`,
		} {
			if a := s.execute(t, admin, operation); len(a.Errors) > 0 || !strings.HasPrefix(string(a.Data), want) {
				t.Errorf("%s: got %s, want no error", operation, a.raw)
			}
		}
	})
}

// name returns the operation name to send, or nil for a document with one operation.
func name(operation string) any {
	if strings.HasPrefix(operation, "query A") {
		return "A"
	}
	return nil
}

func sendAs(t testing.TB, h http.Handler, v graph.Viewer, body string) (int, answer) {
	t.Helper()
	as := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(graph.WithViewer(r.Context(), v)))
	})
	return send(t, as, http.MethodPost, "/graphql", body)
}

// Each type accepts the values that the specification allows. A refused value is reported with its
// path.
func TestFault20Coercion(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	admin := graph.Viewer{ID: 42, Admin: true}
	const (
		stock  = `mutation($v: Int!) { setStock(productId: 1, stock: $v) { stock } }`
		price  = `mutation($v: MoneyInput!) { setPrice(productId: 1, price: $v) { price { amount } } }`
		order  = `mutation($v: [OrderLineInput!]!) { placeOrder(lines: $v) { lines { quantity } } }`
		search = `query($v: String!) { search(text: $v) { __typename } }`
		user   = `query($v: ID!) { user(id: $v) { id } }`
		skip   = `query($v: Boolean!) { user(id: 1) { id name @skip(if: $v) } }`
	)
	for _, c := range []struct{ operation, value, refused string }{
		{stock, `3`, ""},
		{stock, `-0`, ""},
		{stock, `2147483647`, ""},
		{stock, `"3"`, `Variable "$v": Int cannot represent non-integer value: "3"`},
		{stock, `3.0`, `Variable "$v": Int cannot represent non-integer value: 3.0`},
		{stock, `3.5`, `Variable "$v": Int cannot represent non-integer value: 3.5`},
		{stock, `3e2`, `Variable "$v": Int cannot represent non-integer value: 3e2`},
		{stock, `true`, `Variable "$v": Int cannot represent non-integer value: true`},
		{stock, `[3]`, `Variable "$v": Int cannot represent non-integer value: [3]`},
		{stock, `2147483648`, `Variable "$v": Int cannot represent non 32-bit signed integer value: 2147483648`},
		{stock, `-2147483649`, `Variable "$v": Int cannot represent non 32-bit signed integer value: -2147483649`},
		{stock, `9223372036854775808`, `Variable "$v": Int cannot represent non 32-bit signed integer value: 9223372036854775808`},
		{search, `"a"`, ""},
		{search, `12`, `Variable "$v": String cannot represent a non string value: 12`},
		{search, `true`, `Variable "$v": String cannot represent a non string value: true`},
		{search, `["a"]`, `Variable "$v": String cannot represent a non string value: ["a"]`},
		{user, `"1"`, ""},
		{user, `1`, ""},
		{user, `1.0`, `Variable "$v": ID cannot represent a non-string and non-integer value: 1.0`},
		{user, `true`, `Variable "$v": ID cannot represent a non-string and non-integer value: true`},
		{skip, `true`, ""},
		{skip, `"true"`, `Variable "$v": Boolean cannot represent a non boolean value: "true"`},
		{skip, `1`, `Variable "$v": Boolean cannot represent a non boolean value: 1`},
		{price, `{"amount": "12.5", "currency": "EUR"}`, ""},
		{price, `{"amount": 12, "currency": "EUR"}`, `Variable "$v.amount": String cannot represent a non string value: 12`},
		{price, `{"amount": "12"}`, `Variable "$v.currency": must be defined`},
		{price, `{"amount": "12", "currency": null}`, `Variable "$v.currency": cannot be null`},
		{price, `{"amount": "12", "currency": "EUR", "Amount": 1}`, `Variable "$v.Amount": unknown field`},
		{price, `"12 EUR"`, `Variable "$v": Expected value of type "MoneyInput" to be an object, found: "12 EUR".`},
		{order, `[{"productId": 1, "quantity": 1}, {"productId": "2", "quantity": 1}]`, ""},
		{order, `{"productId": 1, "quantity": 1}`, ""}, // a single value stands for a list of one
		{order, `[{"productId": 1, "quantity": "1"}]`, `Variable "$v[0].quantity": Int cannot represent non-integer value: "1"`},
		{order, `[{"productId": 1, "quantity": 1}, {"productId": 2, "quantity": 3000000000}]`, `Variable "$v[1].quantity": Int cannot represent non 32-bit signed integer value: 3000000000`},
		{order, `[[{"productId": 1, "quantity": 1}]]`, `Variable "$v[0]": Expected value of type "OrderLineInput" to be an object, found: [{"productId":1,"quantity":1}].`},
	} {
		body := fmt.Sprintf(`{"query": %q, "variables": {"v": %s}}`, c.operation, c.value)
		status, a := sendAs(t, s.handler, admin, body)
		switch {
		case c.refused == "" && (len(a.Errors) > 0 || status != 200):
			t.Errorf("%s as %s: got %s, want no error", c.value, c.operation, a.raw)
		case c.refused != "" && (len(a.Errors) != 1 || a.Errors[0].Message != c.refused || len(a.Data) > 0):
			t.Errorf("%s: got %s\nwant %s", c.value, a.raw, c.refused)
		case c.refused != "" && !strings.Contains(a.raw, `"path":["variable","v"`):
			t.Errorf("%s: the error has no path: %s", c.value, a.raw)
		}
	}

	// The same holds for literals.
	for query, refused := range map[string]string{
		`{ users(first: 3) { totalCount } }`:                                               "",
		`{ users(first: "3") { totalCount } }`:                                             `"3"`,
		`{ users(first: 3.0) { totalCount } }`:                                             "3.0",
		`{ users(first: 2147483648) { totalCount } }`:                                      "2147483648",
		`{ users(first: -2147483649) { totalCount } }`:                                     "-2147483649",
		`{ users(first: 99999999999999999999) { totalCount } }`:                            "99999999999999999999",
		`{ search(text: 12) { __typename } }`:                                              "12",
		`{ user(id: 1) { id } }`:                                                           "",
		`{ user(id: "1") { id } }`:                                                         "",
		`{ user(id: 1.0) { id } }`:                                                         "1.0",
		`{ user(id: true) { id } }`:                                                        "true",
		`{ user(id: 1) { id @skip(if: "true") } }`:                                         `"true"`,
		`{ user(id: 1) { id @skip(if: 1) } }`:                                              "1",
		`query($n: Int! = 3000000000) { users(first: $n) { totalCount } }`:                 "3000000000",
		`query($n: Int! = "3") { users(first: $n) { totalCount } }`:                        `"3"`,
		`mutation { setPrice(productId: 1, price: {amount: 12, currency: "EUR"}) { id } }`: "12",
	} {
		a := s.execute(t, admin, query)
		if refused == "" && len(a.Errors) > 0 || refused != "" && (len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, refused) || len(a.Data) > 0) {
			t.Errorf("%s: got %s", query, a.raw)
		}
	}
	// A literal that no Go integer can hold is not an internal error.
	if a := s.execute(t, admin, `{ user(id: 99999999999999999999) { id } }`); a.code() == "INTERNAL" || len(a.Errors) != 1 {
		t.Error(a.raw)
	}
}

// A number beyond Int is an error of its field; the other fields are returned.
func TestFault20ResultBeyondInt(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	s.force(t, "UPDATE products SET stock = 3000000000 WHERE id = 2")
	s.flush(t)
	for range 2 { // from the database, and from the cache
		a := s.execute(t, everyone, `{ a: product(id: 1) { id } b: product(id: 2) { name stock } c: product(id: 2) { name } }`)
		if len(a.Errors) != 1 || !strings.Contains(a.raw, `"message":"Int cannot represent non 32-bit signed integer value: 3000000000","path":["b","stock"]`) {
			t.Error(a.raw)
		}
		if !strings.Contains(string(a.Data), `"a":{"id":"1"},"b":null,"c":{"name":"`) {
			t.Error(a.raw)
		}
	}
}

// force writes to SQLite against its constraints, as an adopted table may hold such values.
func (s *shop) force(t testing.TB, statement string) {
	t.Helper()
	conn, err := s.db.Bun().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{"PRAGMA ignore_check_constraints = ON", statement, "PRAGMA ignore_check_constraints = OFF"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}
