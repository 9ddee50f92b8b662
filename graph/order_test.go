package graph_test

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"testing"

	"fieldcache/graph"
)

// money is an amount as a client receives it.
type money struct{ Amount, Currency string }

// stocked sets the stock and the price of a product.
func (s *shop) stocked(t testing.TB, product int, stock int, amount, currency string) {
	t.Helper()
	var done any
	s.read(t, &done, `mutation($id: ID!, $stock: Int!, $price: MoneyInput!) {
		setStock(productId: $id, stock: $stock) { id } setPrice(productId: $id, price: $price) { id } }`,
		"id", fmt.Sprint(product), "stock", stock, "price", map[string]any{"amount": amount, "currency": currency})
}

func (s *shop) stock(t testing.TB, product int) int {
	t.Helper()
	var p struct{ Product struct{ Stock int } }
	s.read(t, &p, `query($id: ID!) { product(id: $id) { stock } }`, "id", fmt.Sprint(product))
	return p.Product.Stock
}

// placed is an order as a client receives it.
type placed struct {
	ID       string
	Customer struct{ ID string }
	Lines    []struct {
		Product   struct{ ID string }
		Quantity  int
		UnitPrice money
	}
	Total  money
	Totals []money
}

const wholeOrder = `{ id customer { id } total { amount currency } totals { amount currency }
	lines { product { id } quantity unitPrice { amount currency } } }`

func TestPlaceOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stock, left map[int]int
		price       map[int]string
		lines       string
		quantities  []int
		unitPrices  []string
		total       string
	}{
		"one piece":       {map[int]int{7: 5}, map[int]int{7: 4}, map[int]string{7: "19.99"}, `{productId: 7, quantity: 1}`, []int{1}, []string{"19.99"}, "19.99"},
		"all there is":    {map[int]int{7: 5}, map[int]int{7: 0}, map[int]string{7: "0.01"}, `{productId: 7, quantity: 5}`, []int{5}, []string{"0.01"}, "0.05"},
		"two products":    {map[int]int{7: 5, 8: 9}, map[int]int{7: 2, 8: 8}, map[int]string{7: "0.1", 8: "100"}, `{productId: 8, quantity: 1}, {productId: 7, quantity: 3}`, []int{1, 3}, []string{"100.00", "0.10"}, "100.30"},
		"the same twice":  {map[int]int{7: 5}, map[int]int{7: 0}, map[int]string{7: "1.1"}, `{productId: 7, quantity: 2}, {productId: 7, quantity: 3}`, []int{2, 3}, []string{"1.10", "1.10"}, "5.50"},
		"a price of zero": {map[int]int{7: 5}, map[int]int{7: 3}, map[int]string{7: "0"}, `{productId: 7, quantity: 2}`, []int{2}, []string{"0.00"}, "0.00"},
		// Beyond 2^53 cents, where a float can no longer tell neighbours apart.
		"the largest total": {map[int]int{7: math.MaxInt32}, map[int]int{7: math.MaxInt32 - 9000}, map[int]string{7: "999999999999.99"}, `{productId: 7, quantity: 9000}`, []int{9000}, []string{"999999999999.99"}, "8999999999999910.00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backends(t, func(t *testing.T, s *shop) {
				for product, n := range c.stock {
					s.stocked(t, product, n, c.price[product], "EUR")
				}
				s.stock(t, 7) // so that it is cached
				var response struct{ PlaceOrder placed }
				a := s.execute(t, graph.Viewer{ID: 42}, `mutation { placeOrder(lines: [`+c.lines+`]) `+wholeOrder+` }`)
				if err := json.Unmarshal(a.Data, &response); err != nil || len(a.Errors) > 0 {
					t.Fatal(a.raw)
				}
				for product, n := range c.left {
					if got := s.stock(t, product); got != n {
						t.Errorf("stock is %d for product %d, want %d", got, product, n)
					}
					s.stocked(t, product, 1000, "77.77", "USD") // later prices do not change the order
				}
				var user struct {
					User struct{ Orders struct{ Nodes []placed } }
				}
				s.flush(t)
				a = s.execute(t, graph.Viewer{ID: 42}, `{ user(id: 42) { orders(first: 100) { nodes `+wholeOrder+` } } }`)
				if err := json.Unmarshal(a.Data, &user); err != nil || len(user.User.Orders.Nodes) == 0 {
					t.Fatal(a.raw)
				}
				for _, o := range []placed{response.PlaceOrder, user.User.Orders.Nodes[len(user.User.Orders.Nodes)-1]} {
					if o.ID != response.PlaceOrder.ID || o.Customer.ID != "42" || o.Total != (money{c.total, "EUR"}) || len(o.Totals) != 1 || o.Totals[0] != o.Total || len(o.Lines) != len(c.quantities) {
						t.Fatalf("got %+v, want a total of %s", o, c.total)
					}
					for i, l := range o.Lines {
						if l.Quantity != c.quantities[i] || l.UnitPrice != (money{c.unitPrices[i], "EUR"}) {
							t.Errorf("line %d is %+v, want %d for %s each", i+1, l, c.quantities[i], c.unitPrices[i])
						}
					}
				}
			})
		})
	}
}

// An order that cannot be filled changes nothing.
func TestRefusedOrders(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		s.stocked(t, 7, 5, "1", "EUR")
		s.stocked(t, 8, 5, "1", "EUR")
		s.stocked(t, 9, 0, "1", "EUR")
		s.stocked(t, 10, 5, "1", "USD")
		s.unchanged(t, func() {
			for name, c := range map[string]struct{ lines, code string }{
				"one too many":                {`{productId: 7, quantity: 6}`, "CONFLICT"},
				"sold out":                    {`{productId: 9, quantity: 1}`, "CONFLICT"},
				"the second is short":         {`{productId: 7, quantity: 5}, {productId: 8, quantity: 6}`, "CONFLICT"},
				"the first is short":          {`{productId: 8, quantity: 6}, {productId: 7, quantity: 5}`, "CONFLICT"},
				"short only in sum":           {`{productId: 7, quantity: 3}, {productId: 8, quantity: 1}, {productId: 7, quantity: 3}`, "CONFLICT"},
				"beyond numbers in sum":       {`{productId: 7, quantity: 2147483647}, {productId: 7, quantity: 2147483647}`, "CONFLICT"},
				"the second is unknown":       {`{productId: 7, quantity: 1}, {productId: 99999999, quantity: 1}`, "NOT_FOUND"},
				"the second is no id":         {`{productId: 7, quantity: 1}, {productId: "x", quantity: 1}`, "BAD_USER_INPUT"},
				"the second quantity is zero": {`{productId: 7, quantity: 1}, {productId: 8, quantity: 0}`, "BAD_USER_INPUT"},
				"two currencies":              {`{productId: 7, quantity: 1}, {productId: 10, quantity: 1}`, "BAD_USER_INPUT"},
				"currencies in disorder":      {`{productId: 10, quantity: 1}, {productId: 7, quantity: 1}`, "BAD_USER_INPUT"},
			} {
				a := s.execute(t, graph.Viewer{ID: 42}, `mutation { placeOrder(lines: [`+c.lines+`]) `+wholeOrder+` }`)
				if a.code() != c.code || string(a.Data) != "null" || internals.MatchString(a.raw) {
					t.Errorf("%s: want %s, got %s", name, c.code, a.raw)
				}
			}
		})
	})
}

// If twenty customers order the last ten pieces at once, ten of them get one.
func TestLastPieces(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		s.stocked(t, 7, 10, "1", "EUR")
		s.stocked(t, 8, 1000, "1", "EUR")
		before := len(s.ids(t, list{sql: "SELECT id FROM orders"}))
		answers := make([]answer, 20)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				// In either order, to provoke deadlocks.
				lines := `{productId: 7, quantity: 1}, {productId: 8, quantity: 1}`
				if i%2 == 1 {
					lines = `{productId: 8, quantity: 1}, {productId: 7, quantity: 1}`
				}
				answers[i] = s.execute(t, graph.Viewer{ID: int64(i + 1)}, `mutation { placeOrder(lines: [`+lines+`]) { id lines { product { stock } } } }`)
			})
		}
		all.Wait()
		served := map[string]int{}
		for _, a := range answers {
			served[a.code()]++
		}
		if served[""] != 10 || served["CONFLICT"] != 10 {
			t.Errorf("got the codes %v, want 10 orders placed and 10 refused with CONFLICT", served)
		}
		for range 2 {
			if a, b := s.stock(t, 7), s.stock(t, 8); a != 0 || b != 990 {
				t.Errorf("stock is %d and %d, want 0 and 990", a, b)
			}
			s.flush(t)
		}
		if created := len(s.ids(t, list{sql: "SELECT id FROM orders"})) - before; created != 10 {
			t.Errorf("%d orders were placed, want 10", created)
		}
	})
}

// Deleting a user keeps their reviews without an author, and deletes their orders.
func TestDeleteUser(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		reviews := s.ids(t, list{sql: "SELECT id FROM reviews WHERE author_id = 42"})
		orders := s.ids(t, list{sql: "SELECT id FROM orders WHERE customer_id = 42"})
		if len(reviews) == 0 || len(orders) == 0 {
			t.Fatal("user 42 has no reviews or no orders")
		}
		count := func(sql string, args ...any) (n int) {
			if err := s.db.Bun().NewRaw(sql, args...).Scan(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		all := count("SELECT count(*) FROM reviews")
		others := count("SELECT count(*) FROM order_lines l JOIN orders o ON o.id = l.order_id WHERE o.customer_id <> 42")
		product := count("SELECT product_id FROM reviews WHERE id = ?", reviews[0])
		type onProduct struct {
			Product struct {
				AverageRating *float64
				Reviews       struct {
					TotalCount int
					Nodes      []struct {
						ID     int64 `json:"id,string"`
						Author *struct{ ID string }
					}
				}
			}
		}
		query := fmt.Sprintf(`{ product(id: %d) { averageRating reviews(first: 100) { totalCount nodes { id author { id } } } } }`, product)
		var before, after onProduct
		s.read(t, &before, query)
		if a := s.execute(t, graph.Viewer{ID: 42}, `mutation { deleteUser(id: 42) }`); a.raw != `{"data":{"deleteUser":"42"}}` {
			t.Fatal(a.raw)
		}
		s.read(t, &after, query)
		if before.Product.Reviews.TotalCount != after.Product.Reviews.TotalCount || *before.Product.AverageRating != *after.Product.AverageRating {
			t.Errorf("product %d had %+v before, has %+v after", product, before, after)
		}
		found := false
		for i, n := range after.Product.Reviews.Nodes {
			old := before.Product.Reviews.Nodes[i]
			switch {
			case n.ID != old.ID:
				t.Errorf("got review %d in place of %d", n.ID, old.ID)
			case old.Author != nil && old.Author.ID == "42":
				found = found || n.ID == reviews[0]
				if n.Author != nil {
					t.Errorf("review %d still has the author %v", n.ID, n.Author)
				}
			case n.Author == nil || old.Author == nil || n.Author.ID != old.Author.ID:
				t.Errorf("the author of review %d changed from %v to %v", n.ID, old.Author, n.Author)
			}
		}
		if !found {
			t.Errorf("review %d is gone", reviews[0])
		}
		if a := s.execute(t, everyone, `{ user(id: 42) { id } }`); a.raw != `{"data":{"user":null}}` {
			t.Error(a.raw)
		}
		for sql, want := range map[string]int{
			"SELECT count(*) FROM reviews":                                                              all,
			"SELECT count(*) FROM reviews WHERE author_id = 42":                                         0,
			"SELECT count(*) FROM orders WHERE customer_id = 42":                                        0,
			"SELECT count(*) FROM order_lines":                                                          others,
			"SELECT count(*) FROM order_lines WHERE order_id NOT IN (SELECT id FROM orders)":            0,
			fmt.Sprintf("SELECT count(*) FROM reviews WHERE id = %d AND author_id IS NULL", reviews[0]): 1,
		} {
			if got := count(sql); got != want {
				t.Errorf("%s: %d, want %d", sql, got, want)
			}
		}
	})
}

// Amounts are exact to the cent, however large, and have two decimals.
func TestExactMoney(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		for in, want := range map[string]string{
			"0": "0.00", "0.0": "0.00", "0.01": "0.01", "0.1": "0.10", "00012": "12.00", "1.05": "1.05", "19.99": "19.99", "0.29": "0.29", "1.15": "1.15",
			"999999999999.99": "999999999999.99", "999999999999.98": "999999999999.98", "100000000000.01": "100000000000.01",
		} {
			var got struct{ SetPrice struct{ Price money } }
			s.read(t, &got, `mutation($a: String!) { setPrice(productId: 7, price: {amount: $a, currency: "JPY"}) { price { amount currency } } }`, "a", in)
			if got.SetPrice.Price != (money{want, "JPY"}) {
				t.Errorf("%s is returned as %v, want %s", in, got.SetPrice.Price, want)
			}
			s.flush(t)
			var read struct{ Product struct{ Price money } }
			s.read(t, &read, `{ product(id: 7) { price { amount currency } } }`)
			if read.Product.Price != (money{want, "JPY"}) {
				t.Errorf("%s is read as %v, want %s", in, read.Product.Price, want)
			}
		}
	})
}

// The average rating has two decimals, with halves rounded up, and follows each new review.
func TestAverageRating(t *testing.T) {
	t.Parallel()
	backends(t, func(t *testing.T, s *shop) {
		for _, c := range []struct {
			ratings []int
			want    string
		}{
			{nil, "null"},
			{[]int{4}, "4"},
			{[]int{1, 2}, "1.5"},
			{[]int{5, 5, 4}, "4.67"},
			{[]int{1, 1, 2}, "1.33"},
			{[]int{5, 5, 5, 5, 5, 5, 5, 4}, "4.88"},    // 4.875
			{[]int{1, 1, 1, 1, 1, 1, 1, 2}, "1.13"},    // 1.125
			{[]int{2, 1, 1, 1, 1, 1, 1, 1}, "1.13"},    // the order does not matter
			{[]int{3, 3, 3, 3, 3, 3, 3, 4}, "3.13"},    // 3.125
			{[]int{1, 2, 3, 4, 5, 5, 5, 5}, "3.75"},    // exact
			{[]int{5, 5, 5, 5, 5, 5, 4}, "4.86"},       // 4.857…
			{[]int{1, 1, 1, 1, 1, 2}, "1.17"},          // 1.1666…
			{[]int{2, 2, 2, 2, 2, 2, 2, 2, 1}, "1.89"}, // 1.888…
		} {
			var product int64
			if err := s.db.Bun().NewRaw(`INSERT INTO products (name, description, category, price_cents, currency, stock) VALUES ('P', 'D', 'c', 1, 'EUR', 1) RETURNING id`).Scan(t.Context(), &product); err != nil {
				t.Fatal(err)
			}
			query := fmt.Sprintf(`{ product(id: %d) { averageRating } }`, product)
			shown := func() string {
				var got struct {
					Product struct{ AverageRating json.RawMessage }
				}
				s.read(t, &got, query)
				return string(got.Product.AverageRating)
			}
			if got := shown(); got != "null" {
				t.Errorf("got %s without reviews, want null", got)
			}
			for _, r := range c.ratings {
				var done any
				s.read(t, &done, fmt.Sprintf(`mutation { addReview(productId: %d, rating: %d, body: "B") { product { averageRating } } }`, product, r))
			}
			if got := shown(); got != c.want {
				t.Errorf("%v: got %s, want %s", c.ratings, got, c.want)
			}
			s.flush(t)
			if got := shown(); got != c.want {
				t.Errorf("%v: got %s on a cold cache, want %s", c.ratings, got, c.want)
			}
		}
	})
}
