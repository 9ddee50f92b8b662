package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"fieldcache/db"
	"fieldcache/internal/cli"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
	"fieldcache/internal/testservers"
)

// front is a gateway in this process, behind the handler chain of the real server.
type front struct {
	http.Handler
	cfg config.Config
	db  *db.DB

	mu         sync.Mutex
	statements []string
}

const secret = "0123456789abcdef0123456789abcdef"

// database opens the database named by environ and fills it with the demo data.
func database(t testing.TB, environ ...string) *db.DB {
	t.Helper()
	cfg, _, err := config.Load("serve", environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := cli.OpenDatabase(t.Context(), cfg, rowsOf(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := cli.PrepareDatabase(t.Context(), cfg, d, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return d
}

// openFront builds a separate gateway over d.
func openFront(t testing.TB, d *db.DB, environ ...string) *front {
	t.Helper()
	cfg, _, err := config.Load("serve", slices.Concat(environ, []string{"ALLOWED_HOSTS=*"}), nil) // httptest's requests are for example.com
	if err != nil {
		t.Fatal(err)
	}
	f := &front{cfg: cfg}
	f.db = d.WithQueryHook(f)
	log, metrics := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	ctx := context.WithoutCancel(t.Context())
	gw, err := patientGateway(ctx, cfg, f.db, metrics, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gw.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Handler = serve.Handler(ctx, serve.Options{Config: cfg, Gateway: gw, Metrics: metrics, Log: log})
	return f
}

// BeforeQuery implements [bun.QueryHook].
func (f *front) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

// AfterQuery records the SELECT statements on the shop's tables.
func (f *front) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	if !strings.HasPrefix(e.Query, "SELECT") || !shopTable.MatchString(e.Query) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statements = append(f.statements, e.Query)
}

var shopTable = regexp.MustCompile(`FROM "(users|products|reviews|orders|order_lines|countries)"`)

// reads returns the recorded statements and clears the record.
func (f *front) reads() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.statements
	f.statements = nil
	return list
}

// send sends a request; headers are "Name: value".
func (f *front) send(t testing.TB, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// request sends a query by POST and returns the body and Cache-Status.
func (f *front) request(t testing.TB, query string, headers ...string) (body, status string) {
	t.Helper()
	r, body := f.send(t, http.MethodPost, "/graphql", fmt.Sprintf(`{"query":%q}`, query), append(headers, "Content-Type: application/json")...)
	return body, r.Header.Get("Cache-Status")
}

// change runs a mutation and fails the test if it returns errors.
func (f *front) change(t testing.TB, mutation string, headers ...string) string {
	t.Helper()
	body, _ := f.request(t, mutation, headers...)
	if strings.Contains(body, `"errors"`) {
		t.Fatalf("%s: %s", mutation, body)
	}
	return body
}

// cachedBody repeats a query until the response is cached, and returns the body.
func (f *front) cachedBody(t *testing.T, query string) (body string) {
	t.Helper()
	eventually(t, "a cached response to "+query, func() bool {
		var status string
		body, status = f.request(t, query)
		return isHit(status)
	})
	return body
}

// once runs a test that returns a problem, or "". On PostgreSQL it retries: on a slow machine a
// poll of the outbox can take longer than the lease, and then nothing is served from the cache.
func (f *front) once(t *testing.T, test func() (problem string)) {
	t.Helper()
	rounds, problem := 1, ""
	if f.db.Postgres() {
		rounds = 10
	}
	for range rounds {
		if problem = test(); problem == "" || t.Failed() {
			return
		}
	}
	t.Error(problem)
}

func isHit(status string) bool { return strings.HasPrefix(status, "fieldcache; hit; ttl=") }

// fronts runs a test on SQLite with memory alone, on a fake clock, and on PostgreSQL with Redis.
// Audits are off, since they would count as reads.
func fronts(t *testing.T, test func(t *testing.T, f *front)) {
	t.Run("SQLite, memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := database(t, "DATABASE_URL=sqlite::memory:")
			test(t, openFront(t, d, "DATABASE_URL=sqlite::memory:", "CACHE_AUDIT=0"))
		})
	})
	t.Run("PostgreSQL, Redis", func(t *testing.T) {
		t.Parallel()
		environ := []string{"DATABASE_URL=" + shop(t), "REDIS_URL=" + testservers.Redis(t), "REDIS_TIMEOUT=5s", "CACHE_AUDIT=0"}
		test(t, openFront(t, database(t, environ...), environ...))
	})
}

const productPage = `{ product(id: 7) { name stock price { amount } averageRating reviews(first: 3) { totalCount nodes { rating author { name country { name } } } } } }`

// After a write, a cached response reads again only what the write touched.
func TestAnswersAfterAWrite(t *testing.T) {
	t.Parallel()
	const list = `{ products(first: 20) { totalCount nodes { name stock price { amount } } } }`
	fronts(t, func(t *testing.T, f *front) {
		n := 4710
		for name, c := range map[string]struct {
			read, write string // %d stands for the number written
			want        string // in the response after the write
			reads       string // part of the only statement that runs
		}{
			"stock":          {productPage, `mutation { setStock(productId: 7, stock: %d) { id } }`, `"stock":%d`, `"stock" FROM "products"`},
			"stock, of many": {list, `mutation { setStock(productId: 7, stock: %d) { id } }`, `"stock":%d`, `"stock" FROM "products"`},
			"price":          {productPage, `mutation { setPrice(productId: 7, price: {amount: "%d.00", currency: "USD"}) { id } }`, `"amount":"%d.00"`, `"price_cents", "product_row"."currency" FROM "products"`},
			"a user's name":  {`{ users(first: 20) { totalCount nodes { name country { name } } } }`, `mutation { updateUser(id: 8, input: {name: "Ada %d"}) { id } }`, `"name":"Ada %d"`, `FROM "users"`},
		} {
			f.once(t, func() string {
				n++
				f.cachedBody(t, c.read)
				f.change(t, fmt.Sprintf(c.write, n))
				f.reads()
				body, status := f.request(t, c.read)
				if !strings.Contains(body, fmt.Sprintf(c.want, n)) {
					t.Errorf("%s: the new value is not in %s", name, body)
				}
				reads := f.reads()
				if status != "fieldcache; fwd=partial; stored" || len(reads) != 1 || !strings.Contains(reads[0], c.reads) {
					return fmt.Sprintf("%s: %s %s, read by\n%s", name, status, body, strings.Join(reads, "\n"))
				}
				if again, status := f.request(t, c.read); again != body || !isHit(status) || len(f.reads()) > 0 {
					return fmt.Sprintf("%s: the second time %s %s", name, status, again)
				}
				return ""
			})
		}
	})
}

// When the max age of stock has passed, only stock is read again.
func TestAnswersWhenStockEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := database(t, "DATABASE_URL=sqlite::memory:")
		f := openFront(t, d, "DATABASE_URL=sqlite::memory:")
		f.cachedBody(t, productPage)
		time.Sleep(20 * time.Second)
		if body, status := f.request(t, productPage); !isHit(status) {
			t.Errorf("after 20 s: got %s %s, want a hit", status, body)
		}
		f.reads()
		time.Sleep(10 * time.Second)
		body, status := f.request(t, productPage)
		if reads := f.reads(); status != "fieldcache; fwd=partial; stored" || len(reads) != 1 || !strings.Contains(reads[0], `"stock"`) {
			t.Errorf("after 30 s: got %s %s, want one read of stock; read by\n%s", status, body, strings.Join(reads, "\n"))
		}
	})
}

// Creating or deleting a row evicts the lists, counts and negative results that it changes.
func TestAnswersThatRowsComeAndGo(t *testing.T) {
	t.Parallel()
	fronts(t, func(t *testing.T, f *front) {
		users := `{ users(first: 100) { totalCount nodes { id name } } }`
		last := regexp.MustCompile(`"totalCount":(\d+)`).FindStringSubmatch(f.cachedBody(t, users))
		n, err := strconv.Atoi(last[1])
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint(n + 1)
		one := `{ user(id: ` + id + `) { name } }`
		if body := f.cachedBody(t, one); body != `{"data":{"user":null}}` {
			t.Fatalf("user %s: got %s, want null", id, body)
		}
		search := `{ search(text: "Newcomer") { __typename ... on User { id } } }`
		if body := f.cachedBody(t, search); body != `{"data":{"search":[]}}` {
			t.Fatal(body)
		}
		reviews := `{ product(id: 7) { averageRating reviews(first: 100) { totalCount } } }`
		before := f.cachedBody(t, reviews)

		body := f.change(t, `mutation { createUser(input: {name: "Newcomer", email: "newcomer@shop.example"}) { id } }`)
		if !strings.Contains(body, `"id":"`+id+`"`) {
			t.Fatalf("the id of the new user is not %s: %s", id, body)
		}
		f.change(t, `mutation { addReview(productId: 7, rating: 1, body: "no", authorId: `+id+`) { id } }`)
		for query, want := range map[string]string{users: `"id":"` + id + `"`, one: `"Newcomer"`, search: `"id":"` + id + `"`, reviews: `"totalCount"`} {
			if body, status := f.request(t, query); isHit(status) || !strings.Contains(body, want) || body == before {
				t.Errorf("after the insert: got %s %s, want a miss with the new row", status, body)
			}
			f.cachedBody(t, query)
		}
		f.change(t, `mutation { deleteUser(id: `+id+`) }`)
		for _, query := range []string{users, one, search} {
			if body, status := f.request(t, query); isHit(status) || strings.Contains(body, "Newcomer") {
				t.Errorf("after the delete: got %s %s, want a miss without the user", status, body)
			}
		}
	})
}

// A mutation that fails evicts nothing.
func TestAnswersAfterFailedWrites(t *testing.T) {
	t.Parallel()
	fronts(t, func(t *testing.T, f *front) {
		reads := []string{productPage, `{ users(first: 100) { totalCount nodes { id name email } } }`, `{ user(id: 999) { name } }`}
		for _, c := range []struct{ mutation, code string }{
			{`mutation { updateUser(id: 8, input: {email: "zawadi.okafor42@shop.example"}) { id } }`, "CONFLICT"},
			{`mutation { updateUser(id: 999, input: {name: "x"}) { id } }`, "NOT_FOUND"},
			{`mutation { deleteUser(id: 999) }`, "NOT_FOUND"},
			{`mutation { setStock(productId: 7, stock: -1) { id } }`, "BAD_USER_INPUT"},
			{`mutation { setStock(productId: 7) { id } }`, "GRAPHQL_VALIDATION_FAILED"},
			{`mutation { placeOrder(lines: [{productId: 7, quantity: 100000}]) { id } }`, "CONFLICT"},
		} {
			f.once(t, func() string {
				for _, read := range reads {
					f.cachedBody(t, read)
				}
				if body, _ := f.request(t, c.mutation); !strings.Contains(body, `"code":"`+c.code+`"`) {
					t.Errorf("%s: %s", c.mutation, body)
				}
				for _, read := range reads {
					if body, status := f.request(t, read); !isHit(status) {
						return fmt.Sprintf("after %s: %s %s", c.mutation, status, body)
					}
				}
				return ""
			})
		}
	})
}

// A write that bypasses the gateway evicts cached responses within half a second.
func TestAnswersAfterWritesAround(t *testing.T) {
	t.Parallel()
	const write = `UPDATE products SET stock = 4711 WHERE id = 7`
	synctest.Test(t, func(t *testing.T) {
		d := database(t, "DATABASE_URL=sqlite::memory:")
		f := openFront(t, d, "DATABASE_URL=sqlite::memory:")
		f.cachedBody(t, productPage)
		if _, err := d.Bun().Exec(write); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if body, status := f.request(t, productPage); isHit(status) || !strings.Contains(body, `"stock":4711`) {
			t.Errorf("half a second after the write: got %s %s, want a miss with the new stock", status, body)
		}
	})
	t.Run("PostgreSQL, Redis", func(t *testing.T) {
		environ := []string{"DATABASE_URL=" + shop(t), "REDIS_URL=" + testservers.Redis(t), "REDIS_TIMEOUT=5s"}
		f := openFront(t, database(t, environ...), environ...)
		f.cachedBody(t, productPage)
		if _, err := f.db.Bun().Exec(write); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a response with the new value", func() bool {
			body, _ := f.request(t, productPage)
			return strings.Contains(body, `"stock":4711`)
		})
	})
}

// A write through one gateway evicts the responses cached by another.
func TestAnswersOfAnotherGateway(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=" + shop(t), "REDIS_URL=" + testservers.Redis(t), "REDIS_TIMEOUT=5s"}
	d := database(t, environ...)
	one, other := openFront(t, d, environ...), openFront(t, d, environ...)
	other.cachedBody(t, productPage)
	one.change(t, `mutation { setStock(productId: 7, stock: 4711) { id } }`)
	eventually(t, "a response with the new value from the other gateway", func() bool {
		body, _ := other.request(t, productPage)
		return strings.Contains(body, `"stock":4711`)
	})
}

// With ANSWER_CACHE=false every response is computed, with the headers that caches downstream need.
func TestWithoutAnswers(t *testing.T) {
	t.Parallel()
	d := database(t, "DATABASE_URL=sqlite::memory:")
	f := openFront(t, d, "DATABASE_URL=sqlite::memory:", "ANSWER_CACHE=false", "TAG_HEADER=Cache-Tag", "CORS_ORIGINS=https://shop.example")
	for range 2 {
		r, body := f.send(t, http.MethodGet, "/graphql?query={user(id:42){name}}", "")
		h := r.Header
		if h.Get("Cache-Control") != "max-age=60, public" || h.Get("Etag") == "" || isHit(h.Get("Cache-Status")) || !slices.Contains(strings.Split(h.Get("Cache-Tag"), ","), "user:42") {
			t.Errorf("got %s with the headers %v", body, h)
		}
	}
}

// Requests of this origin and of another get different headers, so responses vary by Origin,
// whether they are cached or not.
func TestAnswersVaryByOrigin(t *testing.T) {
	t.Parallel()
	d := database(t, "DATABASE_URL=sqlite::memory:")
	f := openFront(t, d, "DATABASE_URL=sqlite::memory:", "CORS_ORIGINS=https://shop.example")
	for range 3 {
		for _, headers := range [][]string{nil, {"Origin: https://shop.example"}} {
			r, body := f.send(t, http.MethodGet, "/graphql?query={user(id:42){name}}", "", headers...)
			if vary := strings.Join(r.Header.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept-Encoding") {
				t.Errorf("Vary is %q, want Origin and Accept-Encoding in it: %s", vary, body)
			}
			if (r.Header.Get("Access-Control-Allow-Origin") != "") != (headers != nil) {
				t.Errorf("%v: unexpected Access-Control-Allow-Origin in %v", headers, r.Header)
			}
		}
	}
}
