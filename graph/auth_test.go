package graph_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fieldcache/graph"
)

// The viewers of the tables below, in relation to a user.
const (
	anonymous = "anonymous"
	themself  = "the user themself"
	another   = "another user"
	admin     = "an admin"
	openly    = "anyone on an open server"
)

func viewers(user int64) map[string]graph.Viewer {
	return map[string]graph.Viewer{
		anonymous: {},
		themself:  {ID: user},
		another:   {ID: 3},
		admin:     {ID: 2, Admin: true},
		openly:    {Open: true},
	}
}

// contents returns all rows of the shop's tables as text.
func (s *shop) contents(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{"countries", "users", "products", "reviews", "orders", "order_lines"} {
		var rows []map[string]any
		if err := s.db.Bun().NewRaw("SELECT * FROM "+table+" ORDER BY 1, 2").Scan(t.Context(), &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			fmt.Fprintln(&all, table, row)
		}
	}
	s.sql()
	return all.String()
}

// unchanged runs f and checks that it neither writes nor evicts.
func (s *shop) unchanged(t testing.TB, f func()) {
	t.Helper()
	before, evictions := s.contents(t), s.cache.Stats().Evictions()
	f()
	if s.contents(t) != before {
		t.Error("rows changed, want no change")
	}
	if got := s.cache.Stats().Evictions(); got != evictions {
		t.Errorf("%d keys and tags were evicted, want 0", got-evictions)
	}
}

// Each case writes to its own user, so that no case depends on another.
func TestWhoMayWrite(t *testing.T) {
	t.Parallel()
	const (
		unauthenticated = "UNAUTHENTICATED"
		forbidden       = "FORBIDDEN"
	)
	adminsOnly := map[string]string{anonymous: unauthenticated, themself: forbidden, another: forbidden}
	ownersOnly := map[string]string{anonymous: unauthenticated, another: forbidden}
	signedIn := map[string]string{anonymous: unauthenticated}
	rules := map[string]struct {
		mutation string
		refused  map[string]string // code by viewer; a viewer that is not listed may write
	}{
		"createUser":              {`createUser(input: {name: "New", email: "newUSER@shop.example"}) { id }`, adminsOnly},
		"updateUser":              {`updateUser(id: USER, input: {name: "Renamed"}) { id }`, ownersOnly},
		"deleteUser":              {`deleteUser(id: USER)`, ownersOnly},
		"updateProduct":           {`updateProduct(id: 7, input: {name: "Renamed USER"}) { id }`, adminsOnly},
		"setPrice":                {`setPrice(productId: 7, price: {amount: "USER", currency: "EUR"}) { id }`, adminsOnly},
		"setStock":                {`setStock(productId: 7, stock: USER000) { id }`, adminsOnly},
		"addReview":               {`addReview(productId: 7, rating: 5, body: "By USER.") { id }`, signedIn},
		"addReview for the user":  {`addReview(productId: 7, rating: 5, body: "By USER.", authorId: USER) { id }`, ownersOnly},
		"placeOrder":              {`placeOrder(lines: [{productId: 8, quantity: 1}]) { id }`, signedIn},
		"placeOrder for the user": {`placeOrder(lines: [{productId: 8, quantity: 1}], customerId: USER) { id }`, ownersOnly},
	}
	// If the input is wrong as well, the refusal does not reveal what exists.
	for name, mutation := range map[string]string{
		"createUser, wrongly":    `createUser(input: {name: "", email: "USER"}) { id }`,
		"updateProduct, wrongly": `updateProduct(id: "0USER", input: {name: ""}) { id }`,
		"setPrice, wrongly":      `setPrice(productId: 99999999, price: {amount: "xUSER", currency: "EUR"}) { id }`,
		"setStock, wrongly":      `setStock(productId: 99999999, stock: -USER) { id }`,
	} {
		r := rules["setStock"]
		r.mutation = mutation
		rules[name] = r
	}
	backends(t, func(t *testing.T, s *shop) {
		var stocked any
		s.read(t, &stocked, `mutation { setStock(productId: 8, stock: 1000) { id } }`)
		type cell struct {
			name, who, mutation, code string
			user                      int64
		}
		var refused, allowed []cell
		for name, rule := range rules {
			for who := range viewers(0) {
				var created struct {
					CreateUser struct {
						ID int64 `json:"id,string"`
					}
				}
				s.read(t, &created, `mutation($email: String!) { createUser(input: {name: "Target", email: $email}) { id } }`,
					"email", fmt.Sprintf("target-%x@shop.example", name+who))
				c := cell{name, who, strings.ReplaceAll(rule.mutation, "USER", fmt.Sprint(created.CreateUser.ID)), rule.refused[who], created.CreateUser.ID}
				if c.code == "" && strings.HasSuffix(name, "wrongly") {
					c.code = "BAD_USER_INPUT"
				}
				if c.code == "" {
					allowed = append(allowed, c)
				} else {
					refused = append(refused, c)
				}
			}
		}
		s.unchanged(t, func() {
			for _, c := range refused {
				a := s.execute(t, viewers(c.user)[c.who], "mutation { "+c.mutation+" }")
				if a.code() != c.code || string(a.Data) != "null" {
					t.Errorf("%s by %s: want the code %s, got %s", c.name, c.who, c.code, a.raw)
				}
				if statements := s.sql(); len(statements) > 0 {
					t.Errorf("%s by %s was refused, but ran statements:\n%s", c.name, c.who, lines(statements))
				}
			}
		})
		for _, c := range allowed {
			evictions := s.cache.Stats().Evictions()
			a := s.execute(t, viewers(c.user)[c.who], "mutation { "+c.mutation+" }")
			if a.code() != "" || string(a.Data) == "null" {
				t.Errorf("%s by %s: got %s, want no error", c.name, c.who, a.raw)
			}
			if !writes.MatchString(lines(s.sql())) {
				t.Errorf("%s by %s: nothing was written", c.name, c.who)
			}
			if s.cache.Stats().Evictions() == evictions {
				t.Errorf("%s by %s: nothing was evicted", c.name, c.who)
			}
		}
	})
}

// writes finds writing statements in a list with one statement per line.
var writes = regexp.MustCompile(`(?m)^(INSERT|UPDATE|DELETE) `)

// Writes are attributed to the signed-in user; on an open server, to the first user.
func TestWriteAsThemself(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		var stocked any
		s.read(t, &stocked, `mutation { setStock(productId: 8, stock: 1000) { id } }`)
		for who, want := range map[string]string{themself: "42", another: "3", admin: "2", openly: "1"} {
			var got struct {
				AddReview  struct{ Author struct{ ID string } }
				PlaceOrder struct{ Customer struct{ ID string } }
			}
			a := s.execute(t, viewers(42)[who], `mutation {
				addReview(productId: 7, rating: 5, body: "Mine.") { author { id } }
				placeOrder(lines: [{productId: 8, quantity: 1}]) { customer { id } } }`)
			if err := json.Unmarshal(a.Data, &got); err != nil || len(a.Errors) > 0 {
				t.Fatalf("%s: %s", who, a.raw)
			}
			if got.AddReview.Author.ID != want || got.PlaceOrder.Customer.ID != want {
				t.Errorf("%s writes as %s and %s, want %s", who, got.AddReview.Author.ID, got.PlaceOrder.Customer.ID, want)
			}
		}
		// A deleted user can no longer write, although the token is still valid.
		s.unchanged(t, func() {
			for _, mutation := range []string{`addReview(productId: 7, rating: 5, body: "Mine.") { id }`, `placeOrder(lines: [{productId: 8, quantity: 1}]) { id }`} {
				if a := s.execute(t, graph.Viewer{ID: 424242}, "mutation { "+mutation+" }"); a.code() != "NOT_FOUND" {
					t.Errorf("%s by a deleted user: got %s, want NOT_FOUND", mutation, a.raw)
				}
			}
		})
	})
}

// A user's private fields are null for others, without an error, on every path to the user and
// whoever requested them before.
func TestWhoMayRead(t *testing.T) {
	t.Parallel()
	const private = `{ id email orders(first: 1) { totalCount nodes { id } } }`
	ways := map[string]string{
		"user":                `{ u: user(id: 42) ` + private + ` }`,
		"users":               `{ users(first: 1, after: "` + cursor("users", 41) + `") { nodes ` + private + ` } }`,
		"search":              `{ search(text: "Zawadi Okafor", first: 1) { ... on User ` + private + ` } }`,
		"a review's author":   `{ user(id: 42) { reviews(first: 1) { nodes { author ` + private + ` } } } }`,
		"an update":           `mutation { updateUser(id: 42, input: {bio: "Same."}) ` + private + ` }`,
		"an order's customer": `mutation { placeOrder(lines: [{productId: 8, quantity: 1}], customerId: 42) { customer ` + private + ` } }`,
		"a new review":        `mutation { addReview(productId: 7, rating: 3, body: "So-so.", authorId: 42) { author ` + private + ` } }`,
	}
	backends(t, func(t *testing.T, s *shop) {
		var stocked any
		s.read(t, &stocked, `mutation { setStock(productId: 8, stock: 1000) { id } }`)
		sees := []string{themself, admin}
		// The viewers take turns, so that what one may see is cached when another requests it.
		for _, who := range []string{admin, anonymous, themself, another, openly, themself, anonymous, admin, another} {
			for name, query := range ways {
				mutates := strings.HasPrefix(query, "mutation")
				if mutates && (who == anonymous || who == another) {
					continue // refused: see TestWhoMayWrite
				}
				a := s.execute(t, viewers(42)[who], query)
				if len(a.Errors) > 0 {
					t.Errorf("%s by %s: got %s, want no error", name, who, a.raw)
				}
				shown := strings.Contains(a.raw, `"email":"zawadi.okafor42@shop.example"`) && strings.Contains(a.raw, `"totalCount"`)
				hidden := strings.Contains(a.raw, `"email":null,"orders":null`) && !strings.Contains(a.raw, "@")
				if !strings.Contains(a.raw, `"id":"42"`) || shown != slices.Contains(sees, who) || hidden == shown {
					t.Errorf("%s by %s: wrong private fields: %s", name, who, a.raw)
				}
			}
			var me struct{ Me *struct{ ID, Email string } }
			a := s.execute(t, viewers(42)[who], `{ me { id email } }`)
			if err := json.Unmarshal(a.Data, &me); err != nil || len(a.Errors) > 0 {
				t.Fatalf("me by %s: got %s, want no error", who, a.raw)
			}
			switch id := viewers(42)[who].ID; {
			case id == 0 && me.Me != nil, id != 0 && (me.Me == nil || me.Me.ID != fmt.Sprint(id) || me.Me.Email == ""):
				t.Errorf("me by %s: got %s, want the viewer", who, a.raw)
			}
		}
		if a := s.execute(t, graph.Viewer{ID: 424242}, `{ me { id } }`); a.raw != `{"data":{"me":null}}` {
			t.Errorf("me by a deleted user: got %s, want null", a.raw)
		}
	})
}
