package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
	"fieldcache/internal/testservers"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// shop returns the URL of a PostgreSQL database with the demo data.
func shop(t *testing.T) string {
	return testservers.PostgresFrom(t, "demo", openShop)
}

// openShop fills an empty database with the demo data.
func openShop(url string) error {
	rows, err := cachedRows()
	if err != nil {
		return err
	}
	d, err := db.Open(context.Background(), db.Options{URL: url, Rows: rows})
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.MigrateUp(context.Background()); err != nil {
		return err
	}
	if err := fixtures.Seed(context.Background(), d, fixtures.Demo); err != nil {
		return err
	}
	// Otherwise gateways relay the seed's outbox records and evict what tests look at.
	_, err = d.Bun().Exec("DELETE FROM cache_outbox")
	return err
}

// patientGateway is newGateway with a long lease, for tests that expect hits: the gateway polls its
// outbox within the lease even on a busy machine.
func patientGateway(ctx context.Context, cfg config.Config, d *db.DB, metrics prometheus.Registerer, traces *serve.Traces, log *slog.Logger) (*serve.Gateway, error) {
	return leasedGateway(ctx, cfg, d, metrics, traces, log, 20*time.Second)
}

// query sends a query and returns the data of the response. Errors fail the test.
func (p *program) query(t *testing.T, query string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	res, text := send(t, http.MethodPost, p.graphql, string(body), "Content-Type: application/json")
	var answer struct{ Data, Errors json.RawMessage }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || res.StatusCode != http.StatusOK || answer.Errors != nil {
		t.Fatalf("%s: %s %s", query, res.Status, text)
	}
	return string(answer.Data)
}

func redisClient(t *testing.T, url string) *redis.Client {
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The first steps of a newcomer: query, look into Redis, mutate, look again.
func TestGateway(t *testing.T) {
	t.Parallel()
	database, redisURL := shop(t), testservers.Redis(t)
	environ := []string{"DATABASE_URL=" + database, "REDIS_URL=" + redisURL, "REDIS_TIMEOUT=5s"}
	p, other, c := startAs(t, patientGateway, environ...), startAs(t, patientGateway, environ...), redisClient(t, redisURL)
	const read = `{ user(id: 42) { name bio } product(id: 7) { name price { amount } stock averageRating } }`
	p.query(t, read)
	other.query(t, read)

	for key, most := range map[string]time.Duration{
		"user:42": time.Minute, "product:7": time.Hour, "{product:7}:price": 5 * time.Minute,
		"{product:7}:stock": 30 * time.Second, "{product:7}:rating": 5 * time.Minute,
	} {
		if d := c.PTTL(t.Context(), key).Val(); d > most || d < most*9/10-5*time.Second {
			t.Errorf("TTL %s is %v, want %v less up to a tenth", key, d, most)
		}
	}
	p.query(t, `mutation { updateUser(id: 42, input: {bio: "new"}) { id } setStock(productId: 7, stock: 12345) { id } }`)
	for key, want := range map[string]int64{"user:42": 0, "{product:7}:stock": 0, "product:7": 1, "{product:7}:price": 1, "{product:7}:rating": 1} {
		if n := c.Exists(t.Context(), key).Val(); n != want {
			t.Errorf("EXISTS %s after the mutation is %d, want %d", key, n, want)
		}
	}
	if got := p.query(t, read); !strings.Contains(got, `"bio":"new"`) || !strings.Contains(got, `"stock":12345`) {
		t.Errorf("after the mutation: got %s, want the new bio and stock", got)
	}
	eventually(t, "the other gateway serves the new value", func() bool {
		got := other.query(t, read)
		return strings.Contains(got, `"bio":"new"`) && strings.Contains(got, `"stock":12345`)
	})

	res, text := send(t, http.MethodPost, p.admin+"evict", `{"keys":["user:42"],"types":["Product"]}`, "Content-Type: application/json")
	if res.StatusCode != http.StatusOK || c.Exists(t.Context(), "user:42").Val() != 0 || c.Exists(t.Context(), "{Product}:g").Val() != 0 {
		t.Errorf("POST /evict: got %s %s, want 200 and the keys gone", res.Status, text)
	}
	if res, text := send(t, http.MethodPost, p.admin+"evict", `{"types":["Produkt"]}`, "Content-Type: application/json"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a type that the schema does not have: got %s %s, want 400", res.Status, text)
	}
	for _, key := range c.Keys(t.Context(), "*").Val() {
		if c.PTTL(t.Context(), key).Val() == -1 { // -2: the key has just expired
			t.Errorf("%s has no TTL", key)
		}
	}
	if _, text := send(t, http.MethodGet, p.admin+"metrics", ""); !strings.Contains(text, `fieldcache_hits_total{tier="memory"}`) {
		t.Error("the metrics lack the cache's counters")
	}
}

// Whatever happens to Redis, every query gets a response in time, and reads return what was
// written.
func TestGatewayWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+server.URL())
	const read = `{ user(id: %d) { bio country { name } reviews(first: 3) { nodes { product { name stock } } } } }`
	first := 0
	all := func(when string) { // different users each time, so that none is in memory
		t.Helper()
		first++
		for id := first; id <= 50; id += 7 {
			if got := p.query(t, fmt.Sprintf(read, id)); strings.Contains(got, `"user":null`) {
				t.Errorf("%s: got %s, want a user", when, got)
			}
		}
	}
	change := func(bio string) {
		t.Helper()
		p.query(t, fmt.Sprintf(`mutation { updateUser(id: 8, input: {bio: %q}) { id } }`, bio))
		if got := p.query(t, fmt.Sprintf(read, 8)); !strings.Contains(got, fmt.Sprintf(`"bio":%q`, bio)) {
			t.Errorf("bio %q: the next read returned %s", bio, got)
		}
	}
	all("with Redis")
	change("with Redis")

	server.Stop()
	all("Redis stopped")
	change("while Redis is away")
	if res, text := send(t, http.MethodGet, p.admin+"readyz", ""); res.StatusCode != http.StatusOK {
		t.Errorf("without Redis the gateway is not ready: %s", text)
	}
	server.Start()
	all("Redis is back, empty")
	change("Redis is back")

	server.Pause()
	change("Redis hangs")
	all("Redis hangs")
	server.Resume()
	change("Redis goes on")
	c := redisClient(t, server.URL())
	eventually(t, "the gateway uses Redis again", func() bool {
		send(t, http.MethodPost, p.admin+"evict", `{"keys":["user:8"]}`, "Content-Type: application/json")
		p.query(t, fmt.Sprintf(read, 8))
		return c.Exists(t.Context(), "user:8").Val() == 1
	})
	for line, want := range map[string]int{"Redis does not respond": 1, "Redis responds again": 1} {
		if n := strings.Count(p.stderr.String(), line); n < want || n > 20 {
			t.Errorf("%q was logged %d times, want 1 to 20: a change of state is logged, not each call", line, n)
		}
	}
}

// A database that does not respond in time fails the request, not the gateway.
func TestGatewayTimeout(t *testing.T) {
	t.Parallel()
	database := shop(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REQUEST_TIMEOUT=200ms")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE users"); err != nil {
		t.Fatal(err)
	}
	const read = `{ user(id: 42) { name } }`
	for _, body := range []string{read, `mutation { updateUser(id: 42, input: {bio: "late"}) { id } }`} {
		res, text := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query": %q}`, body), "Content-Type: application/json")
		if res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, `"code":"TIMEOUT"`) {
			t.Errorf("%s: got %s %s, want 504 TIMEOUT", body, res.Status, text)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.query(t, `{ user(id: 42) { name bio } }`); !strings.Contains(got, "Zawadi") || strings.Contains(got, "late") {
		t.Errorf("after the lock: got %s, want the unchanged user", got)
	}
}

func TestGatewayStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	server.Stop()
	p := startAs(t, newGateway, "REDIS_URL="+server.URL())
	if got := p.query(t, `{ user(id: 42) { name } }`); !strings.Contains(got, "name") {
		t.Error(got)
	}
}

// A real browser runs an operation in the playground of the real server, as a newcomer does first.
func TestGatewayPlayground(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the playground is not built: run `make playground`")
	}
	p := startAs(t, newGateway)
	page := browsertest.Open(t, strings.TrimSuffix(p.graphql, "graphql"), browsertest.Options{})
	page.WaitReady()
	page.Execute(`"name": "Zawadi Okafor"`)
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// A connection that is kept open, whose request heads the server soon recognizes, gets the same
// responses as any other: the same headers for each hit, and the new value after a write.
func TestHitsOnOneConnection(t *testing.T) {
	t.Parallel()
	p := startAs(t, patientGateway, "LOG_LEVEL=info")
	client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	request := func(body string) (http.Header, string) {
		t.Helper()
		response, err := client.Post(p.graphql, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.Header, string(text)
	}
	const query = `{"query":"{ product(id: 7) { id stock } }"}`
	request(query)
	for stock := range 3 {
		request(fmt.Sprintf(`{"query":"mutation { setStock(productId: 7, stock: %d) { stock } }"}`, stock))
		want := fmt.Sprintf(`{"data":{"product":{"id":"7","stock":%d}}}`, stock)
		if header, text := request(query); text != want || strings.Contains(header.Get("Cache-Status"), "hit") {
			t.Errorf("after the write: got %s, %v; want a miss with the new stock", text, header)
		}
		var first http.Header
		for n := range 8 {
			header, text := request(query)
			if text != want || !strings.Contains(header.Get("Cache-Status"), "fieldcache; hit; ttl=") || header.Get("Date") == "" {
				t.Errorf("got %s, %v; want a hit", text, header)
			}
			for _, changing := range []string{"Date", "Age", "Cache-Status"} {
				if len(header[changing]) != 1 {
					t.Errorf("%s: got %q, want one value", changing, header[changing])
				}
				header.Del(changing)
			}
			if n == 0 {
				first = header
			} else if !reflect.DeepEqual(header, first) {
				t.Errorf("got the headers %v; the first hit had %v", header, first)
			}
		}
	}
	// A request is counted a moment after the client has received the response.
	const count = `fieldcache_http_request_duration_seconds_count{code="200"} 31`
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		_, metrics := send(t, "GET", p.admin+"metrics", "")
		if strings.Contains(metrics, count) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the metrics do not count 31 requests: %s", metrics)
		}
	}
}

const britain = `{"data":{"country":{"name":"United Kingdom"}}}`

// persistedQuery requests a query by its hash and returns the body. An empty text leaves the query
// out.
func (p *program) persistedQuery(t *testing.T, text, hash string) string {
	t.Helper()
	parameters := url.Values{"extensions": {fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hash)}}
	if text != "" {
		parameters.Set("query", text)
	}
	_, answer := send(t, http.MethodGet, p.graphql+"?"+parameters.Encode(), "")
	return answer
}

// A document registered with one gateway is known to the others. Without Redis each still knows its
// own.
func TestGatewaySharesDocuments(t *testing.T) {
	t.Parallel()
	const query = `{ country(code: "GB") { name } }`
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(query)))
	server := testservers.RedisServer(t)
	environ := []string{"REDIS_URL=" + server.URL(), "REDIS_PREFIX=shop:"}
	first, second, third := startAs(t, newGateway, environ...), startAs(t, newGateway, environ...), startAs(t, newGateway, environ...)
	if got := second.persistedQuery(t, "", hash); !strings.Contains(got, `"message":"PersistedQueryNotFound"`) {
		t.Errorf("before the registration: got %s, want PersistedQueryNotFound", got)
	}
	if got := first.persistedQuery(t, query, hash); got != britain {
		t.Errorf("with the query: got %s", got)
	}
	if got := second.persistedQuery(t, "", hash); got != britain {
		t.Errorf("by hash at another gateway: got %s", got)
	}
	c := redisClient(t, server.URL())
	if ttl := c.TTL(context.Background(), "shop:apq:"+hash).Val(); ttl > 24*time.Hour || ttl < 23*time.Hour {
		t.Errorf("the TTL in Redis is %v, want a day", ttl)
	}

	server.Pause()
	began := time.Now()
	if got := third.persistedQuery(t, "", hash); !strings.Contains(got, `"message":"PersistedQueryNotFound"`) {
		t.Errorf("Redis hangs, before the registration: got %s, want PersistedQueryNotFound", got)
	}
	if got := third.persistedQuery(t, query, hash); got != britain {
		t.Errorf("Redis hangs, with the query: got %s", got)
	}
	if got := third.persistedQuery(t, "", hash); got != britain {
		t.Errorf("Redis hangs, by hash: got %s", got)
	}
	// Twice REDIS_TIMEOUT for the documents, plus the reads of the country, on a machine that may
	// be busy.
	if took := time.Since(began); took > 8*time.Second { // a client with its default timeouts takes half a minute
		t.Errorf("took %v, want at most 8 s", took)
	}
	server.Resume()
}

func TestGatewayTrustsDocuments(t *testing.T) {
	t.Parallel()
	const query = `query Name($code: ID!) { country(code: $code) { name } }`
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "name.graphql"), []byte(query), 0o600); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"documentId":"sha256:%x","variables":{"code":"GB"}}`, sha256.Sum256([]byte(query)))
	const other = `{"query":"{ country(code: \"GB\") { name } }"}`
	for name, c := range map[string]struct {
		environ []string
		status  int // of another query
	}{
		"and others": {[]string{"TRUSTED_DOCUMENTS=" + folder}, http.StatusOK},
		"alone":      {[]string{"TRUSTED_DOCUMENTS=" + folder, "TRUSTED_ONLY=true"}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startAs(t, newGateway, c.environ...)
			if res, got := send(t, http.MethodPost, p.graphql, body, "Content-Type: application/json"); got != britain {
				t.Errorf("by id: got %d %s, want the data", res.StatusCode, got)
			}
			if res, got := send(t, http.MethodPost, p.graphql, other, "Content-Type: application/json"); res.StatusCode != c.status {
				t.Errorf("by text: got %d %s", res.StatusCode, got)
			}
		})
	}

	p := launchAs(t, newGateway, []string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=sqlite::memory:", "TRUSTED_DOCUMENTS=" + t.TempDir(),
	})
	p.wantExit(t, 1)
	if !strings.Contains(p.stderr.String(), "no file *.graphql found") {
		t.Errorf("a folder without documents: got stderr %s", p.stderr)
	}
}

// rowsOf returns the rows that the shop's cached values are made of.
func rowsOf(t testing.TB) []outbox.Rows {
	t.Helper()
	rows, err := cachedRows()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
