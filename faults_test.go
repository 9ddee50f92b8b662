package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fieldcache/internal/testservers"
)

// lockUsers blocks statements on users until unlock is called or the test ends.
func lockUsers(t *testing.T, database string) (unlock func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(func() { _ = conn.Close(context.Background()) })
	t.Cleanup(unlock)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE users"); err != nil {
		t.Fatal(err)
	}
	return unlock
}

// Under overload, excess requests are refused early, cached responses are served, and the admin
// port responds. A request that does not finish in time gets no 200. Afterwards the gateway works
// as before.
func TestFault29Overload(t *testing.T) {
	t.Parallel()
	database := shop(t)
	p := startAs(t, patientGateway, "DATABASE_URL="+database, "DATABASE_MAX_CONNS=1", "REQUEST_TIMEOUT=4s", "LOG_LEVEL=info")
	const hit = `{ products(first: 3) { nodes { name } } }`
	eventually(t, "the response is cached", func() bool {
		r, _ := send(t, http.MethodGet, p.graphql+"?query="+url.QueryEscape(hit), "")
		return isHit(r.Header.Get("Cache-Status"))
	})
	unlock := lockUsers(t, database)
	var refused, late atomic.Int64
	var group sync.WaitGroup
	for n := range 96 {
		group.Go(func() {
			query := fmt.Sprintf(`{ user(id: %d) { name } }`, 1+n%50)
			if n%4 == 0 {
				query = `mutation { updateUser(id: 42, input: {bio: "late"}) { id } }`
			}
			r, text := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query": %q, "operationName": null, "extensions": {"n": %d}}`, query, n), "Content-Type: application/json")
			switch {
			case r.StatusCode == http.StatusServiceUnavailable && strings.Contains(text, `"code":"OVERLOADED"`) && r.Header.Get("Retry-After") == "1":
				refused.Add(1)
			case r.StatusCode == http.StatusGatewayTimeout && strings.Contains(text, `"code":"TIMEOUT"`):
				late.Add(1)
			default:
				t.Errorf("got %s: %s, want OVERLOADED or TIMEOUT", r.Status, text)
			}
		})
	}
	eventually(t, "requests are refused", func() bool { return refused.Load() > 0 })
	if r, text := send(t, http.MethodGet, p.graphql+"?query="+url.QueryEscape(hit), ""); !isHit(r.Header.Get("Cache-Status")) {
		t.Errorf("a cached query: got %s %s, want a hit", r.Status, text)
	}
	for _, path := range []string{"healthz", "readyz", "metrics"} {
		if r, text := send(t, http.MethodGet, p.admin+path, ""); r.StatusCode != http.StatusOK {
			t.Errorf("/%s: got %s %s, want 200", path, r.Status, text)
		}
	}
	group.Wait()
	if refused.Load() == 0 || late.Load() == 0 {
		t.Errorf("%d requests were refused and %d timed out, want both above 0", refused.Load(), late.Load())
	}
	_, metrics := send(t, http.MethodGet, p.admin+"metrics", "")
	if want := fmt.Sprintf("fieldcache_overloaded_total %d\n", refused.Load()); !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}
	if n := strings.Count(p.stderr.String(), "overloaded: "); n != 1 {
		t.Errorf("logged the overload %d times, want 1", n)
	}
	unlock()
	eventually(t, "the gateway serves requests again", func() bool {
		_, text := send(t, http.MethodPost, p.graphql, `{"query": "{ user(id: 42) { name bio } }"}`, "Content-Type: application/json")
		return strings.Contains(text, "Zawadi") && !strings.Contains(text, "late")
	})
}

// A hanging database is not overload: requests that wait for it in vain do not keep others from
// stale responses.
func TestFault33ManyClientsOfADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	server, redisURL := testservers.PostgresServer(t), testservers.Redis(t)
	if err := openShop(server.URL()); err != nil {
		t.Fatal(err)
	}
	environ := []string{"DATABASE_URL=" + server.URL(), "REDIS_URL=" + redisURL, "REDIS_TIMEOUT=5s", "DATABASE_MAX_CONNS=1", "REQUEST_TIMEOUT=30s", "STALE_IF_ERROR=10m"}
	p, other := startAs(t, newGateway, environ...), startAs(t, newGateway, environ...)
	const clients = 64
	read := func(n int) string { return fmt.Sprintf(`{ user(id: %d) { name country { name } } }`, 1+n%40) }
	for n := range clients {
		other.query(t, read(n)) // fills Redis
		if n%2 == 0 {
			p.query(t, read(n)) // and memory
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server.Pause()
	defer server.Resume()
	var stuck, group sync.WaitGroup
	for range clients {
		stuck.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.graphql, strings.NewReader(`{"query": "mutation { updateUser(id: 42, input: {bio: \"late\"}) { id } }"}`))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			if res, err := http.DefaultClient.Do(r); err == nil {
				_ = res.Body.Close()
			}
		})
	}
	eventually(t, "the mutations wait, and the lease is lost", func() bool {
		_, metrics := send(t, http.MethodGet, p.admin+"metrics", "")
		return strings.Contains(metrics, "fieldcache_lease_losses_total 1\n")
	})
	for round := range 2 {
		for n := range clients {
			group.Go(func() {
				began := time.Now()
				r, text := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query": %q}`, read(n)), "Content-Type: application/json")
				if r.StatusCode != http.StatusOK || strings.Contains(text, "errors") || !strings.Contains(r.Header.Get("Cache-Status"), "fwd=stale") {
					t.Errorf("round %d, after %v: got %s %s %s, want a stale response", round, time.Since(began), r.Status, r.Header.Get("Cache-Status"), text)
				}
			})
		}
		group.Wait()
	}
	server.Resume()
	cancel()
	stuck.Wait()
	eventually(t, "the gateway serves the new value", func() bool {
		r, _ := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query": %q}`, read(0)), "Content-Type: application/json")
		return r.StatusCode == http.StatusOK && !strings.Contains(r.Header.Get("Cache-Status"), "stale")
	})
}

// A client that sends its request and then closes its half of the connection, or all of it, counts
// as gone. That is neither an error nor a timeout.
func TestFault34HalfClose(t *testing.T) {
	t.Parallel()
	database := shop(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "LOG_LEVEL=info")
	u, err := url.Parse(p.graphql)
	if err != nil {
		t.Fatal(err)
	}
	lockUsers(t, database)
	requests := 0
	for _, accept := range []string{"application/json", "application/graphql-response+json"} {
		for _, body := range []string{
			`{"query":"{ user(id: 42) { name } }"}`, `{"query":"mutation { updateUser(id: 42, input: {bio: \"x\"}) { id } }"}`,
			`{"query":"{ products(first: 2) { nodes { name } } user(id: 43) { name } }"}`, `[{"query":"{ user(id: 44) { name } }"}]`,
		} {
			for _, whole := range []bool{false, true} {
				c, err := net.Dial("tcp", u.Host)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				fmt.Fprintf(c, "POST /graphql HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n%s", u.Host, accept, len(body), body)
				requests++
				if whole {
					eventually(t, "the request is in flight", func() bool {
						var waiting bool
						conn, err := pgx.Connect(t.Context(), database)
						if err != nil {
							return false
						}
						defer conn.Close(t.Context())
						err = conn.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(&waiting)
						return err == nil && waiting
					})
					_ = c.Close()
					continue
				}
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				text, _ := io.ReadAll(r.Body)
				_ = r.Body.Close()
				if r.StatusCode != 499 || !strings.Contains(string(text), `"code":"CLIENT_CLOSED_REQUEST"`) || strings.Contains(string(text), "longer than") {
					t.Errorf("%s: got %s %s, want 499 CLIENT_CLOSED_REQUEST", body, r.Status, text)
				}
				_ = c.Close()
			}
		}
	}
	code := regexp.MustCompile(`fieldcache_http_request_duration_seconds_count\{code="(\d+)"\} (\d+)`)
	var metrics string
	eventually(t, "all requests are counted", func() bool {
		_, metrics = send(t, http.MethodGet, p.admin+"metrics", "")
		return strings.Contains(metrics, fmt.Sprintf(`count{code="499"} %d`, requests))
	})
	for _, m := range code.FindAllStringSubmatch(metrics, -1) {
		if m[1] != "499" && m[2] != "0" {
			t.Errorf("%s requests are counted as %s, want 499 only", m[2], m[1])
		}
	}
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, `"request_id"`) && !strings.Contains(line, `"level":"INFO"`) {
			t.Errorf("logged above INFO: %s", line)
		}
	}
	if n := strings.Count(p.stderr.String(), `"status":499`); n != requests {
		t.Errorf("%d of %d requests are logged with status 499", n, requests)
	}
}

// TestFault16RedisThatRefuses gives the gateway a Redis user that lacks rights. The log says once
// why Redis cannot be used, readyz and the metrics say it too, and all report when Redis is used
// again.
func TestFault16RedisThatRefuses(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	c := redisClient(t, server.URL())
	allow := func(rules ...any) {
		t.Helper()
		rules = append([]any{"ACL", "SETUSER", "few", "on", ">geheim", "~*", "&*"}, rules...)
		if err := c.Do(t.Context(), rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("+@read", "+@connection")
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_TIMEOUT=5s",
		"REDIS_URL="+strings.Replace(server.URL(), "redis://", "redis://few:geheim@", 1))
	product := 1
	request := func() { product++; p.query(t, fmt.Sprintf("{product(id: %d) {name}}", product)) }
	for range 5 {
		request()
		time.Sleep(20 * time.Millisecond)
	}
	r, text := send(t, http.MethodPost, p.graphql, `{"query": "mutation {setStock(productId: 1, stock: 5) {stock}}"}`, "Content-Type: application/json", "Cache-Debug: 1")
	if status := r.Header.Get("Cache-Status"); status != "fieldcache; fwd=bypass; detail=lease" || !strings.Contains(text, `"acknowledged":"lease"`) {
		t.Errorf("the response does not say that the lease acknowledged the mutation: Cache-Status: %s; %s", status, text)
	}
	if line := p.stderr.wait(t, "Redis refuses commands"); !strings.Contains(line, "NOPERM") {
		t.Errorf("logged %s, want NOPERM in it", line)
	}
	if n := strings.Count(p.stderr.String(), "Redis refuses commands"); n != 1 {
		t.Errorf("logged %d times, want 1", n)
	}
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"sick"`) || !strings.Contains(text, "NOPERM") || !strings.Contains(text, `"status":"ready"`) {
		t.Errorf("readyz: got %s, want sick with the reason", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"metrics", ""); !strings.Contains(text, "fieldcache_redis_sick 1") ||
		!strings.Contains(text, `fieldcache_redis_sick_reason{reason="refused"} 1`) {
		t.Error("the metrics do not say that Redis refuses")
	}
	allow("+@all")
	eventually(t, "Redis is used again", func() bool {
		request()
		return strings.Contains(p.stderr.String(), "Redis responds again")
	})
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"ok"`) {
		t.Errorf("readyz: got %s, want Redis to be ok", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"metrics", ""); !strings.Contains(text, "fieldcache_redis_sick 0") {
		t.Error("the metrics still say that Redis is sick")
	}
}

// TestRedisThatTurnsClientsAway starts gateways with a Redis that has too many clients, and with one
// whose certificate is unknown. Queries are answered. The log and readyz say why Redis is not used,
// and Redis is used once it has room.
func TestRedisThatTurnsClientsAway(t *testing.T) {
	t.Parallel()
	full, unknown := testservers.RedisServer(t), testservers.RedisTLS(t)
	c := redisClient(t, full.URL())
	allow := func(clients string) {
		t.Helper()
		if err := c.ConfigSet(t.Context(), "maxclients", clients).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("1")
	for redis, reason := range map[string]string{full.URL(): "max number of clients", unknown.URL(): "unknown authority"} {
		p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_TIMEOUT=5s", "REDIS_URL="+redis)
		product := 0
		request := func() { product++; p.query(t, fmt.Sprintf("{product(id: %d) {name}}", product)) }
		request()
		if line := p.stderr.wait(t, "Redis does not respond"); !strings.Contains(line, reason) {
			t.Errorf("logged %s, want %q in it", line, reason)
		}
		if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"down"`) || !strings.Contains(text, reason) || !strings.Contains(text, `"status":"ready"`) {
			t.Errorf("readyz: got %s, want %q in it", text, reason)
		}
		if redis == unknown.URL() {
			continue
		}
		allow("100")
		eventually(t, "Redis is used", func() bool {
			request()
			return strings.Contains(p.stderr.String(), "Redis responds again")
		})
	}
}

// TestFault16OptionalCommands has Redis refuse only commands that the gateway can do without: Redis
// is filled, a mutation evicts from it, and it does not count as sick.
func TestFault16OptionalCommands(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	c := redisClient(t, server.URL())
	if err := c.Do(t.Context(), "ACL", "SETUSER", "few", "on", ">geheim", "~*", "&*",
		"+@all", "-@connection", "-@scripting", "-getex", "-unlink", "-@pubsub", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	p := startAs(t, patientGateway, "DATABASE_URL="+shop(t), "REDIS_TIMEOUT=5s",
		"REDIS_URL="+strings.Replace(server.URL(), "redis://", "redis://few:geheim@", 1))
	p.query(t, "{product(id: 7) {name stock}}")
	if n := c.Exists(t.Context(), "product:7").Val(); n != 1 {
		t.Error("product:7 is not in Redis")
	}
	p.query(t, "mutation {setStock(productId: 7, stock: 5) {id}}")
	if n := c.Exists(t.Context(), "{product:7}:stock").Val(); n != 0 {
		t.Error("{product:7}:stock is still in Redis after the mutation")
	}
	if text := p.stderr.String(); strings.Contains(text, "Redis refuses") || strings.Contains(text, "Redis does not") {
		t.Errorf("unexpected log: %s", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"ok"`) {
		t.Errorf("readyz: got %s, want Redis to be ok", text)
	}
}
