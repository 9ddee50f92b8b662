package gqlcache_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vektah/gqlparser/v2/ast"
	_ "modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// adopter is a project with a gqlgen server of its own that uses a Gateway, and the same server
// without it.
type adopter struct {
	*trackerSite
	gateway *gqlcache.Gateway
	url     string // of the server with the Gateway
	plain   string // of the one without
	runs    atomic.Int64
}

// transactions runs each mutation in a transaction, as entgql does.
type transactions struct {
	db   *sql.DB
	fail atomic.Bool
}

func (*transactions) ExtensionName() string                   { return "Transactions" }
func (*transactions) Validate(graphql.ExecutableSchema) error { return nil }
func (t *transactions) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if graphql.GetOperationContext(ctx).Operation.Operation != ast.Mutation {
		return next(ctx)
	}
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return graphql.ErrorResponse(ctx, "begin: %v", err)
	}
	r := next(context.WithValue(ctx, txKey{}, tx))
	if t.fail.Load() {
		_ = tx.Rollback()
		return r
	}
	if err := tx.Commit(); err != nil {
		return graphql.ErrorResponse(ctx, "commit: %v", err)
	}
	return r
}

type txKey struct{}

// txMutations writes in the transaction of the operation.
type txMutations struct{ tracker.MutationResolver }

func (m txMutations) SetTitle(ctx context.Context, id, title string) (*tracker.Issue, error) {
	tx, ok := ctx.Value(txKey{}).(*sql.Tx)
	if !ok {
		return m.MutationResolver.SetTitle(ctx, id, title)
	}
	_, err := tx.ExecContext(ctx, "UPDATE issues SET title = $1 WHERE id = $2", title, id)
	return &tracker.Issue{ID: id, Title: title, State: tracker.IssueStateOpen}, err
}

type txRoot struct{ *tracker.Resolver }

func (r txRoot) Mutation() tracker.MutationResolver { return txMutations{r.Resolver.Mutation()} }

// adopt adds a Gateway to a project. use returns the extensions of the project's server, in their
// order. If use is nil, the server uses only the Gateway.
func adopt(t *testing.T, redis string, use func(*adopter) []graphql.HandlerExtension) *adopter {
	t.Helper()
	url := testservers.Postgres(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	a := &adopter{trackerSite: &trackerSite{t: t, db: db, log: &syncBuffer{}}}
	t.Cleanup(a.close)
	a.closing(db.Close)
	a.exec(tracker.Tables)
	a.seed()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: txRoot{&tracker.Resolver{DB: db}}})
	o := gqlcache.Options{
		Database: db, Viewer: tracker.ViewerOf, Log: slog.New(slog.NewTextHandler(a.log, nil)), Metrics: prometheus.NewRegistry(),
	}
	if redis != "" {
		o.Redis = []string{redis}
	}
	if a.gateway, err = gqlcache.Open(t.Context(), schema, gqlcache.Patient(o)); err != nil {
		t.Fatal(err)
	}
	a.closing(a.gateway.Close)
	extensions := []graphql.HandlerExtension{a.gateway}
	if use != nil {
		extensions = use(a)
	}
	server := newServer(schema, extensions...)
	server.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		a.runs.Add(1)
		return next(ctx)
	})
	// The project authenticates requests before the Gateway's handler.
	a.url = listen(t, signedIn(a.gateway.Handler(server)))
	a.trackerSite.plain = nil
	a.plain = listen(t, signedIn(newServer(tracker.NewExecutableSchema(tracker.Config{Resolvers: txRoot{&tracker.Resolver{DB: db}}}))))
	return a
}

// newServer returns a server as projects configure it.
func newServer(schema graphql.ExecutableSchema, extensions ...graphql.HandlerExtension) *handler.Server {
	server := handler.New(schema)
	server.AddTransport(transport.Websocket{})
	server.AddTransport(transport.SSE{})
	server.AddTransport(transport.MultipartForm{})
	server.AddTransport(transport.GET{})
	server.AddTransport(transport.POST{})
	server.Use(extension.Introspection{})
	server.Use(extension.AutomaticPersistedQuery{Cache: lru.New[string](100)})
	server.Use(extension.FixedComplexityLimit(1000))
	for _, e := range extensions {
		server.Use(e)
	}
	return server
}

// signedIn is the project's own authentication.
func signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		viewer := r.Header.Get("Authorization")
		next.ServeHTTP(w, r.WithContext(tracker.WithViewer(r.Context(), viewer)))
	})
}

func listen(t *testing.T, h http.Handler) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// post sends a query. Headers are "Name: value".
func post(t testing.TB, url, query string, headers ...string) (body string, header http.Header) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	return send(t, http.MethodPost, url, string(text), append([]string{"Content-Type: application/json"}, headers...)...)
}

func send(t testing.TB, method, url, body string, headers ...string) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	w.Header.Set("Status", w.Status)
	return string(answer), w.Header
}

var titleOf = fmt.Sprintf(`{issue(id:%q){title}}`, bug)

// Whole responses are served from memory, with headers and an ETag, until a write evicts them,
// whoever makes it.
func TestGatewayAnswersWhole(t *testing.T) {
	a := adopt(t, testservers.Redis(t), nil)
	want, _ := post(t, a.plain, titleOf)
	hit := func() bool {
		body, header := post(t, a.url, titleOf)
		if body != want {
			t.Fatalf("got %s, want %s", body, want)
		}
		return strings.Contains(header.Get("Cache-Status"), "hit")
	}
	a.eventually("the response is not cached", hit)
	runs := a.runs.Load()
	_, header := post(t, a.url, titleOf)
	if a.runs.Load() != runs || !strings.Contains(header.Get("Cache-Control"), "public") || header.Get("Age") == "" || header.Get("Etag") == "" {
		t.Errorf("got %d executions and headers %v; want none, and a public response with Age and ETag", a.runs.Load()-runs, header)
	}
	get := a.url + "?query=" + strings.ReplaceAll(titleOf, `"`, "%22")
	a.eventually("the response to GET is not cached", func() bool {
		_, header = send(t, http.MethodGet, get, "")
		return strings.Contains(header.Get("Cache-Status"), "hit")
	})
	if body, header := send(t, http.MethodGet, get, "", "If-None-Match: "+header.Get("Etag")); body != "" || header.Get("Status") != "304 Not Modified" {
		t.Errorf("got status %s, body %s; want 304 without a body", header.Get("Status"), body)
	}
	if body, header := post(t, a.url, titleOf, "Cache-Control: no-cache"); body != want || a.runs.Load() == runs {
		t.Errorf("no-cache: got %s, headers %v", body, header)
	}
	a.exec("UPDATE issues SET title = 'By psql' WHERE id = $1", bug)
	a.eventually("a write by psql does not evict", func() bool {
		body, _ := post(t, a.url, titleOf)
		return strings.Contains(body, "By psql")
	})
	// A response with an error, or with a field without an age, is not cached.
	for _, q := range []string{`{issue{title}}`, `{__typename}`} {
		if _, header := post(t, a.url, q); !strings.Contains(header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: got headers %v, want no-store", q, header)
		}
	}
}

// After a mutation no older response is served, no matter what commits its transaction and in which
// order the extensions are used. Values of a transaction that was rolled back are not cached.
func TestGatewayMutationsEvictWhenCommitted(t *testing.T) {
	for name, use := range map[string]func(*adopter, *transactions) []graphql.HandlerExtension{
		"without a transaction": func(a *adopter, _ *transactions) []graphql.HandlerExtension {
			return []graphql.HandlerExtension{a.gateway}
		},
		"a transaction outside": func(a *adopter, tx *transactions) []graphql.HandlerExtension {
			return []graphql.HandlerExtension{tx, a.gateway}
		},
		"a transaction in within": func(a *adopter, tx *transactions) []graphql.HandlerExtension {
			return []graphql.HandlerExtension{a.gateway, tx}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tx := &transactions{}
			a := adopt(t, "", func(a *adopter) []graphql.HandlerExtension { tx.db = a.db; return use(a, tx) })
			for i := range 20 {
				title := fmt.Sprintf("title %d", i)
				post(t, a.url, titleOf)
				post(t, a.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:%q){title comments{body}}}`, bug, title))
				if body, _ := post(t, a.url, titleOf); !strings.Contains(body, title) {
					t.Fatalf("after the mutation to %q: got %s", title, body)
				}
			}
			if name == "without a transaction" {
				return
			}
			tx.fail.Store(true)
			want, _ := post(t, a.url, titleOf)
			post(t, a.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:"rolled back"){title commentCount author{handle}}}`, bug))
			for range 3 {
				if body, _ := post(t, a.url, titleOf); body != want {
					t.Fatalf("after a rollback: got %s", body)
				}
			}
		})
	}
}

// No viewer gets the response of another. A request with an identity header gets no response that
// was cached for a request without one.
func TestGatewayKeepsViewersApart(t *testing.T) {
	a := adopt(t, "", nil)
	queries := []string{`{me{handle secret}}`, fmt.Sprintf(`{issue(id:%q){title watched}}`, bug), `{account(handle:"ann"){secret}}`}
	for range 4 {
		for _, q := range queries {
			for _, headers := range [][]string{nil, {"Authorization: " + ann}, {"Authorization: " + bob}, {"Cookie: session=1"}} {
				want, _ := post(t, a.plain, q, headers...)
				if body, header := post(t, a.url, q, headers...); body != want {
					t.Errorf("%s with headers %v: got %s, want %s", q, headers, body, want)
				} else if strings.Contains(header.Get("Cache-Control"), "private") && !strings.Contains(strings.Join(header.Values("Vary"), ","), "Authorization") {
					t.Errorf("got Vary %q for a private response, want Authorization in it", header.Values("Vary"))
				}
			}
		}
	}
}

// Requests that are not GraphQL over HTTP reach the server unchanged.
func TestGatewayPassesOn(t *testing.T) {
	a := adopt(t, "", nil)
	c, r, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(a.url, "http"), &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatalf("websocket: %v", err)
	}
	defer c.CloseNow()
	if r.StatusCode != http.StatusSwitchingProtocols || c.Subprotocol() != "graphql-transport-ws" {
		t.Errorf("websocket: got status %s", r.Status)
	}
	text, err := json.Marshal(map[string]string{"query": titleOf})
	if err != nil {
		t.Fatal(err)
	}
	body, header := send(t, http.MethodPost, a.url, string(text), "Accept: text/event-stream", "Content-Type: application/json")
	if !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") || !strings.Contains(body, "event: complete") {
		t.Errorf("server-sent events: got %s %s", header.Get("Content-Type"), body)
	}
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	for name, value := range map[string]string{"operations": string(text), "map": "{}"} {
		if err := m.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	want, wantHeader := send(t, http.MethodPost, a.plain, form.String(), "Content-Type: "+m.FormDataContentType())
	if got, header := send(t, http.MethodPost, a.url, form.String(), "Content-Type: "+m.FormDataContentType()); got != want || header.Get("Status") != wantHeader.Get("Status") {
		t.Errorf("upload: got %s, want %s", got, want)
	}
	hash := `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"0000000000000000000000000000000000000000000000000000000000000000"}}}`
	for _, c := range []struct{ method, target, body, kind string }{
		{http.MethodPost, "", hash, "application/json"},
		{http.MethodPost, "", `{`, "application/json"},
		{http.MethodPost, "", "query=x", "application/x-www-form-urlencoded"},
		{http.MethodGet, "", "", ""},
		{http.MethodGet, "?query=%7Bnone%7D", "", ""},
		{http.MethodPut, "", "x", "text/plain"},
		{http.MethodOptions, "", "", ""},
	} {
		want, wantHeader := send(t, c.method, a.plain+c.target, c.body, "Content-Type: "+c.kind)
		got, header := send(t, c.method, a.url+c.target, c.body, "Content-Type: "+c.kind)
		if got != want || header.Get("Status") != wantHeader.Get("Status") || header.Get("Content-Type") != wantHeader.Get("Content-Type") {
			t.Errorf("%s %s: got %s %s, want %s %s", c.method, c.target, header.Get("Status"), got, wantHeader.Get("Status"), want)
		}
	}
}

// Tags, the directives of mutations, and Evict evict entries, with a database and without one.
func TestGatewayEvictsByName(t *testing.T) {
	a := adopt(t, "", nil)
	bare, err := gqlcache.Open(t.Context(), tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: a.db}}), gqlcache.Options{Log: slog.New(slog.NewTextHandler(a.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a.closing(bare.Close)
	url := listen(t, bare.Handler(newServer(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: a.db}}), bare)))
	for name, site := range map[string]struct {
		gateway *gqlcache.Gateway
		url     string
	}{"with a database": {a.gateway, a.url}, "without": {bare, url}} {
		t.Run(name, func(t *testing.T) {
			hit := func() bool {
				_, header := post(t, site.url, `{grid(size:3)}`)
				return strings.Contains(header.Get("Cache-Status"), "hit")
			}
			a.eventually("the response is not cached", hit)
			if err := site.gateway.Evict(t.Context(), cache.Eviction{Tags: []cache.Tag{cache.Named("grid")}}); err != nil {
				t.Fatal(err)
			}
			if hit() {
				t.Error("Evict did not evict")
			}
			a.eventually("the response is not cached again", hit)
			if body, _ := post(t, site.url, `mutation{redraw}`); !strings.Contains(body, "true") {
				t.Fatal(body)
			}
			if hit() {
				t.Error("the mutation did not evict")
			}
		})
	}
}

// Open reports bad options and databases immediately, and leaves nothing behind.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	open := func(settings string) *sql.DB {
		db, err := sql.Open("pgx", url+settings)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	db := open("")
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: db}})
	if _, err := gqlcache.Open(t.Context(), nil, gqlcache.Options{}); err == nil || !strings.Contains(err.Error(), "needs a schema") {
		t.Errorf("no schema: got error %v", err)
	}
	for what, schema := range map[string]graphql.ExecutableSchema{
		"a nil pointer": (*graphql.ExecutableSchemaMock)(nil), "one without types": &graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return nil }},
	} {
		if _, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{}); err == nil || !strings.Contains(err.Error(), "needs a schema") {
			t.Errorf("%s: got error %v", what, err)
		}
	}
	closed := open("")
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	lite, err := sql.Open("sqlite", "file:"+t.TempDir()+"/a.db?_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lite.Close() })
	tables := func() {
		if _, err := db.ExecContext(t.Context(), tracker.Tables); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		before   func()
		o        gqlcache.Options
		messages []string
	}{
		{"options", nil, gqlcache.Options{MemoryBytes: -1, Migrate: 7, RedisPrefix: "x", IdentityHeaders: []string{"a b"}},
			[]string{"MemoryBytes", "Migrate", "RedisPrefix", "IdentityHeaders"}},
		{"Redis", nil, gqlcache.Options{Redis: []string{"http://x"}}, []string{"Redis"}},
		{"a database that does not respond", nil, gqlcache.Options{Database: closed}, []string{"the database does not respond: sql: database is closed"}},
		{"tables that are not there", nil, gqlcache.Options{Database: db}, []string{"Issue", "issues", "accounts"}},
		{"a read-only database", tables, gqlcache.Options{Database: open(separator + "default_transaction_read_only=on")}, []string{"read-only"}},
		{"a read-only file", nil, gqlcache.Options{Database: lite}, []string{"read-only"}},
		{"an outbox that is not there", nil, gqlcache.Options{Database: db, Migrate: gqlcache.Verify}, []string{"cache_outbox", "missing"}},
	} {
		if c.before != nil {
			c.before()
		}
		c.o.Log = slog.New(slog.DiscardHandler)
		g, err := gqlcache.Open(t.Context(), schema, c.o)
		if err == nil {
			t.Errorf("%s: Open succeeded, want an error", c.name)
			_ = g.Close()
			continue
		}
		for _, text := range c.messages {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got error %v\nwant %s in it", c.name, err, text)
			}
		}
		var left int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_class WHERE relname LIKE 'cache_%'").Scan(&left); err != nil || left != 0 {
			t.Errorf("%s: left %d relations, error %v", c.name, left, err)
		}
	}
	g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db})
	if err != nil {
		t.Fatal(err)
	}
	again, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Migrate: gqlcache.Verify})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Close(), g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
}

// The file that gqlgen.yml can list has the same text as the constant.
func TestDirectivesAreOneText(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("directives.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != gqlcache.Directives {
		t.Error("directives.graphqls differs from gqlcache.Directives")
	}
}
