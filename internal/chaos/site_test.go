package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // servers that do not respond are part of the tests
	testservers.Main(m)
}

// quiet is a logger that discards everything.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

const (
	// patience limits every wait of a test. Only a failure uses it up.
	patience = 2 * time.Minute
	// secret signs the tokens.
	secret = "a secret that only these tests and their gateways know"
)

// The size of the shop at first.
const (
	users    = 48
	products = 8
)

// shop is the content of the tables. User 1 has given each product one review with one star, and
// has ordered one product.
var shop = []string{
	`INSERT INTO countries (code, name) VALUES ('GB', 'United Kingdom'), ('NO', 'Norway')`,
	fmt.Sprintf(`INSERT INTO users (name, email, bio, country_code)
		SELECT 'User ' || i, 'user-' || i || '@shop.example', 'v0', 'GB' FROM generate_series(1, %d) AS i ORDER BY i`, users),
	fmt.Sprintf(`INSERT INTO products (name, description, category, price_cents, currency, stock)
		SELECT 'Product ' || i, 'A thing.', 'p' || i || '-v0', 100 * i, 'GBP', 0 FROM generate_series(1, %d) AS i ORDER BY i`, products),
	`INSERT INTO reviews (product_id, author_id, rating, body) SELECT id, 1, 1, 'Poor.' FROM products ORDER BY id`,
	`INSERT INTO orders (customer_id) VALUES (1)`,
	`INSERT INTO order_lines (order_id, line_no, product_id, quantity, unit_price_cents, currency) VALUES (1, 1, 8, 2, 800, 'GBP')`,
}

// site is everything that a test has: gateways, PostgreSQL, Redis and the history.
type site struct {
	t        *testing.T
	program  string
	token    string // of an administrator, user 1
	began    time.Time
	gateways []*gateway
	postgres string // URL
	layout   layout
	db       *pgxpool.Pool         // for direct writes
	stored   redis.UniversalClient // to look into Redis

	mu      sync.Mutex // guards history
	history History
}

// gateway is one process and its proxies.
type gateway struct {
	*testservers.Server
	name            string
	redis, postgres *testservers.Proxy // redis is nil if Redis servers announce their own addresses
	client          *http.Client
}

// layout is the kind of Redis that the gateways share, and the PostgreSQL server. The zero value is
// a Redis of this test alone and a database on the shared server.
type layout struct {
	redis    *testservers.Server
	sentinel *testservers.Sentinel
	cluster  *testservers.Cluster
	postgres *testservers.Server
	// patient gateways wait for Redis as long as a busy machine may take. It is for tests in which
	// Redis always responds promptly: there an eviction that misses its deadline leaves an old
	// entry to be refused, which is no fault.
	patient bool
}

// open starts three gateways.
func open(t *testing.T, l layout) *site {
	t.Helper()
	if l.redis == nil && l.sentinel == nil && l.cluster == nil {
		l.redis = testservers.RedisServer(t)
	}
	module, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test binary has no build info")
	}
	s := &site{t: t, program: testservers.Build(t, module.Main.Path), layout: l, began: time.Now()}
	s.history.Initial = map[string]int64{}
	if l.postgres != nil {
		s.postgres = l.postgres.URL()
		if err := s.prepare(s.postgres); err != nil {
			t.Fatal(err)
		}
	} else {
		s.postgres = testservers.PostgresFrom(t, "shop", s.prepare)
	}
	token, err := s.run("JWT_SECRET="+secret, "token", "--user", "1", "--role", "admin", "--ttl", "24h")
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(token)
	s.connect()
	for range 3 {
		s.add()
	}
	return s
}

// run runs a command of the program with one variable in its environment.
func (s *site) run(variable string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(s.program, args...)
	cmd.Env, cmd.Stderr = []string{variable}, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out), nil
}

// prepare migrates and fills an empty database.
func (s *site) prepare(postgres string) error {
	if _, err := s.run("DATABASE_URL="+postgres, "migrate", "up"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return err
	}
	for _, statement := range shop {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return errors.Join(err, conn.Close(ctx))
		}
	}
	return conn.Close(ctx)
}

// connect opens the test's own connections to the database and to Redis.
func (s *site) connect() {
	s.t.Helper()
	c, err := pgxpool.ParseConfig(s.postgres)
	if err != nil {
		s.t.Fatal(err)
	}
	c.MaxConns = 6
	if s.db, err = pgxpool.NewWithConfig(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.db.Close)
	const quick = 500 * time.Millisecond
	o := &redis.UniversalOptions{DialTimeout: quick, ReadTimeout: quick, WriteTimeout: quick, MaxRetries: -1}
	for _, u := range s.redisURLs() {
		one, err := redis.ParseURL(u)
		if err != nil {
			s.t.Fatal(err)
		}
		o.Addrs = append(o.Addrs, one.Addr)
	}
	if s.layout.sentinel != nil {
		o.MasterName = s.layout.sentinel.Master()
	}
	o.IsClusterMode = s.layout.cluster != nil
	if o.IsClusterMode {
		o.MaxRetries = 3 // the client needs retries to follow moved slots
	}
	s.stored = redis.NewUniversalClient(o)
	s.t.Cleanup(func() { _ = s.stored.Close() }) // the servers may be stopped already
}

func (s *site) redisURLs() []string {
	switch {
	case s.layout.cluster != nil:
		return s.layout.cluster.URLs()
	case s.layout.sentinel != nil:
		return s.layout.sentinel.URLs()
	}
	return []string{s.layout.redis.URL()}
}

// add starts another gateway with its own proxies.
func (s *site) add() *gateway {
	s.t.Helper()
	g := &gateway{name: string(rune('A' + len(s.gateways))), postgres: testservers.NewProxy(s.t, s.postgres)}
	environ := []string{
		"ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=" + g.postgres.URL(), "DATABASE_MAX_CONNS=8", "JWT_SECRET=" + secret,
		"MEMORY_BYTES=32MiB", "LOG_FORMAT=json",
	}
	if s.layout.redis != nil {
		g.redis = testservers.NewProxy(s.t, s.layout.redis.URL())
		environ = append(environ, "REDIS_URL="+g.redis.URL())
	} else {
		environ = append(environ, "REDIS_URL="+strings.Join(s.redisURLs(), ","))
	}
	if s.layout.sentinel != nil {
		environ = append(environ, "REDIS_SENTINEL_MASTER="+s.layout.sentinel.Master())
	}
	if s.layout.patient {
		environ = append(environ, "REDIS_TIMEOUT=10s")
	}
	if len(s.gateways) == 0 {
		environ = append(environ, "MIGRATE=true")
	}
	g.Server = testservers.Program(s.t, `"msg":"serving"`, func(address string) []string {
		return append(append([]string{"env", "LISTEN_ADDR=" + address}, environ...), s.program)
	})
	g.client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	s.t.Cleanup(func() {
		g.client.CloseIdleConnections()
		log := g.Log()
		if strings.Contains(log, "DATA RACE") {
			s.t.Errorf("gateway %s has a data race:\n%s", g.name, log)
		}
		if s.t.Failed() {
			s.t.Logf("log of gateway %s:\n%s", g.name, tail(log, 40))
		}
	})
	s.gateways = append(s.gateways, g)
	return g
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// now returns the current time in the site's history.
func (s *site) now() time.Duration { return time.Since(s.began) }

// answer is a response of a gateway, with its times.
type answer struct {
	began, ended time.Duration
	stale        bool
	data         json.RawMessage
}

// into decodes the response's data.
func (a answer) into(v any) error { return json.Unmarshal(a.data, v) }

// query sends a query as an anonymous client and records the call.
func (s *site) query(ctx context.Context, g *gateway, operation string, variables map[string]any) (answer, error) {
	return s.call(ctx, g, false, operation, variables)
}

// mutate sends a mutation as an administrator and records the call.
func (s *site) mutate(ctx context.Context, g *gateway, operation string, variables map[string]any) (answer, error) {
	return s.call(ctx, g, true, operation, variables)
}

func (s *site) call(ctx context.Context, g *gateway, mutation bool, operation string, variables map[string]any) (answer, error) {
	a := answer{began: s.now()}
	err := s.send(ctx, g, mutation, operation, variables, &a)
	a.ended = s.now()
	if ctx.Err() != nil {
		return a, ctx.Err() // the test was canceled; the gateway did not fail
	}
	c := Call{Via: g.name, Mutation: mutation, Begun: a.began, Ended: a.ended}
	if err != nil {
		c.Err = err.Error()
	}
	s.mu.Lock()
	s.history.Calls = append(s.history.Calls, c)
	s.mu.Unlock()
	return a, err
}

func (s *site) send(ctx context.Context, g *gateway, mutation bool, operation string, variables map[string]any, a *answer) error {
	body, err := json.Marshal(map[string]any{"query": operation, "variables": variables})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL()+"/graphql", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if mutation {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := g.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var parsed struct {
		Data   json.RawMessage
		Errors []json.RawMessage
	}
	if err := json.Unmarshal(text, &parsed); err != nil || response.StatusCode != http.StatusOK || len(parsed.Errors) > 0 {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	a.stale = strings.Contains(response.Header.Get("Cache-Status"), "fwd=stale")
	a.data = parsed.Data
	return nil
}

// saw records reads.
func (s *site) saw(reads ...Read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.Reads = append(s.history.Reads, reads...)
}

// wrote records writes.
func (s *site) wrote(writes ...Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.Writes = append(s.history.Writes, writes...)
}

// excuse records that less is promised from now until healed is called, and for the time after it.
func (s *site) excuse(e Excuse, after time.Duration) (healed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.From, e.To = s.now(), time.Duration(1<<62)
	i := len(s.history.Excuses)
	s.history.Excuses = append(s.history.Excuses, e)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.history.Excuses[i].To = s.now() + after
	}
}

// eventually calls so until it returns nil, and returns how long that took.
func (s *site) eventually(what string, so func(context.Context) error) time.Duration {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := so(ctx)
		if err == nil {
			return time.Since(began)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("timed out after %v waiting for: %s: %v", patience, what, err)
		}
	}
}

// pass waits for a phase of a test to pass.
func (s *site) pass(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// exec writes directly to the database.
func (s *site) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.db.Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}
