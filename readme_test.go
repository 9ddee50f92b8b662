package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler"
	gqltransport "github.com/99designs/gqlgen/graphql/handler/transport"

	"fieldcache/cache"
	"fieldcache/cache/apierror"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/policy"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/transport"
	"fieldcache/graph/generated"
	"fieldcache/internal/cli"
	"fieldcache/internal/config"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// The Go code of docs/adopting.md and the README is repeated here verbatim, so that it is compiled
// and tested.

// withCache is an existing server with the cache added.
func withCache(ctx context.Context, schema graphql.ExecutableSchema, db *sql.DB) (h http.Handler, end func() error, err error) {
	fc, err := gqlcache.Open(ctx, schema, gqlcache.Options{Database: db, Viewer: viewerOf})
	if err != nil {
		return nil, nil, err
	}
	srv := handler.New(schema)            // your server, with its transports,
	srv.AddTransport(gqltransport.POST{}) // extensions and loaders unchanged
	srv.Use(fc)                           // the field cache and evictions
	return fc.Handler(srv), fc.Close, nil // whole responses, ETag, Cache-Control
}

// viewerOf returns the viewer that the project's own authentication found.
func viewerOf(ctx context.Context) string { return tracker.ViewerOf(ctx) }

// byLanguage keeps what depends on the language of a request apart.
func byLanguage(db *sql.DB) gqlcache.Options {
	return gqlcache.Options{
		Database: db,
		Variant:  languageOf,                  // func(*http.Request) string: "en", "de"
		Vary:     []string{"Accept-Language"}, // what it reads, for HTTP caches
	}
}

// languageOf returns the language that a request asks for.
func languageOf(r *http.Request) string {
	if strings.HasPrefix(r.Header.Get("Accept-Language"), "de") {
		return "de"
	}
	return "en"
}

type User struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// users is the cache.Source of users: it loads those that no tier has.
type users struct {
	maxAge time.Duration
	read   func(ctx context.Context, ids []int64) (map[int64]*User, error)
}

// request returns the request for one user.
func (u *users) request(id int64) cache.Request {
	key := cache.Entity("user", strconv.FormatInt(id, 10)) // user:42
	item := cache.Item{Key: key, Tags: []cache.Tag{cache.Type("User")}, MaxAge: u.maxAge}
	return cache.Request{Item: item, Source: u, Arg: id}
}

// Load reads all missing users of a batch in one statement.
func (u *users) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	ids := make([]int64, len(requests))
	for i, r := range requests {
		ids[i] = r.Arg.(int64)
	}
	rows, err := u.read(ctx, ids)
	values := make([]any, len(ids))
	for i, id := range ids {
		if row, ok := rows[id]; ok {
			values[i] = row // nil values are cached as absent
		}
	}
	return values, cache.Snapshot{}, err
}

// Also returns nil: the statement reads only users.
func (u *users) Also(cache.Request) []cache.Request { return nil }

// Decode decodes a value from Redis.
func (u *users) Decode(_ cache.Request, data []byte) (any, error) {
	user := new(User)
	err := json.Unmarshal(data, user)
	return user, err
}

// open creates the cache. The schema sets the max age of users.
func (u *users) open(schema graphql.ExecutableSchema, redisURL string, timeout time.Duration) (*cache.Cache, error) {
	policies, err := policy.ReadPolicies(schema.Schema()) // contradictory hints are an error
	if err != nil {
		return nil, err
	}
	policy, err := policies.Of("User")
	if err != nil {
		return nil, err
	}
	u.maxAge = policy.MaxAge
	memory, err := memstore.New(memstore.Options{MaxBytes: 64 << 20})
	if err != nil {
		return nil, err
	}
	shared, err := redisstore.New(redisstore.Options{URLs: []string{redisURL}, Timeout: timeout})
	if err != nil {
		return nil, err
	}
	return cache.New(cache.Options{Memory: memory, Shared: shared, Timeout: timeout}) // to be closed with Close
}

// newGraphQL serves GraphQL with a batch for each response.
func newGraphQL(schema graphql.ExecutableSchema, c *cache.Cache) (http.Handler, error) {
	exec := executor.New(schema)
	exec.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		return next(context.WithValue(ctx, batchKey{}, c.NewBatch()))
	})
	exec.Use(&gqlcache.FieldCount{Of: func(ctx context.Context) gqlcache.Counter { return batch(ctx) }})
	return transport.NewHandler(exec, transport.Options{})
}

type batchKey struct{}

func batch(ctx context.Context) *cache.Batch { return ctx.Value(batchKey{}).(*cache.Batch) }

// get is called by resolvers.
func (u *users) get(ctx context.Context, id int64) (*User, error) {
	results, err := batch(ctx).Load(ctx, []cache.Request{u.request(id)})
	if err != nil {
		return nil, err
	}
	user, _ := results[0].Value.(*User) // nil: no such user
	return user, results[0].Err
}

// changed is called by mutations, after the commit and before the response.
func (u *users) changed(ctx context.Context, c *cache.Cache, id int64) error {
	_, err := c.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{u.request(id).Key}}})
	batch(ctx).Forget()
	return err // log it: the eviction is retried until Redis executes it
}

// A server with the lines from the README serves its second response from the cache.
func TestReadmeServer(t *testing.T) {
	t.Parallel()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	h, end, err := withCache(t.Context(), schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	for _, want := range []string{"fwd=miss", "hit"} {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"query": "{ grid(size: 2) }"}`))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if status := w.Header().Get("Cache-Status"); !strings.Contains(status, want) || w.Body.String() != `{"data":{"grid":[[],[0]]}}` {
			t.Errorf("got %s: %s, want %s", status, w.Body, want)
		}
	}
}

// A server with the options of docs/adopting.md has a response for each language.
func TestReadmeLanguages(t *testing.T) {
	t.Parallel()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	fc, err := gqlcache.Open(t.Context(), schema, byLanguage(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := fc.Close(); err != nil {
			t.Error(err)
		}
	}()
	srv := handler.New(schema)
	srv.AddTransport(gqltransport.POST{})
	srv.Use(fc)
	h := fc.Handler(srv)
	for _, request := range []struct{ language, status string }{
		{"de", "fwd=miss"}, {"en", "fwd=miss"}, {"de-AT, en;q=0.5", "hit"}, {"fr", "hit"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"query": "{ grid(size: 2) }"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept-Language", request.language)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if status := w.Header().Get("Cache-Status"); !strings.Contains(status, request.status) {
			t.Errorf("%s: got %s, want %s", request.language, status, request.status)
		}
	}
}

// The sample does what docs/adopting.md says.
func TestReadmeSample(t *testing.T) {
	t.Parallel()
	ctx, redisURL := t.Context(), testservers.Redis(t)
	rows, reads := map[int64]*User{42: {42, "Ada"}}, 0
	schema := generated.NewExecutableSchema(generated.Config{})
	source := func() *users {
		return &users{read: func(_ context.Context, ids []int64) (map[int64]*User, error) {
			reads++
			found := maps.Clone(rows)
			maps.DeleteFunc(found, func(id int64, _ *User) bool { return !slices.Contains(ids, id) })
			return found, nil
		}}
	}
	open := func() (*users, *cache.Cache) {
		u := source()
		c, err := u.open(schema, redisURL, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return u, c
	}
	first, near := open()
	second, far := open()
	want := func(u *users, c *cache.Cache, id int64, name string, n int) {
		t.Helper()
		user, err := u.get(context.WithValue(ctx, batchKey{}, c.NewBatch()), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(user); got != name || reads != n {
			t.Errorf("user %d is %s after %d reads, want %s after %d", id, got, reads, name, n)
		}
	}
	want(first, near, 42, "&{42 Ada}", 1)
	want(first, near, 42, "&{42 Ada}", 1) // from memory
	want(second, far, 42, "&{42 Ada}", 1) // from Redis
	want(first, near, 43, "<nil>", 2)     // absent
	want(second, far, 43, "<nil>", 2)     // remembered as absent
	rows[42] = &User{42, "Grace"}
	if err := first.changed(context.WithValue(ctx, batchKey{}, near.NewBatch()), near, 42); err != nil {
		t.Fatal(err)
	}
	want(first, near, 42, "&{42 Grace}", 3)
	if first.maxAge != time.Minute {
		t.Errorf("the max age of users is %v, want a minute as in the schema", first.maxAge)
	}

	h, err := newGraphQL(schema, near)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"query": "{ __typename }"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Body.String(); got != `{"data":{"__typename":"Query"}}` {
		t.Errorf("the handler returned %s", got)
	}
}

// What the README and the docs show and name exists.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")

	t.Run("variables", func(t *testing.T) {
		if !strings.Contains(read(t, "docs/operations.md"), config.Table()) {
			t.Error("docs/operations.md does not have the table that `go run . variables` prints")
		}
	})
	t.Run("length", func(t *testing.T) {
		if n := len(strings.Fields(readme)); n >= 1800 {
			t.Errorf("README.md has %d words, want fewer than 1800: move details to docs/ and link to them", n)
		}
	})
	t.Run("errors", func(t *testing.T) {
		if !strings.Contains(read(t, "docs/errors.md"), apierror.Table()) {
			t.Error("docs/errors.md does not have the table that `go run . errors` prints")
		}
	})
	t.Run("code", func(t *testing.T) {
		source := read(t, "readme_test.go")
		samples := blocks(read(t, "docs/adopting.md"), "go")
		if len(samples) == 0 {
			t.Error("docs/adopting.md has no Go code")
		}
		for _, block := range append(samples, blocks(readme, "go")...) {
			for part := range strings.SplitSeq(strings.TrimSpace(block), "\n\n") {
				if !strings.Contains(source, part) {
					t.Errorf("this Go code is not in readme_test.go, which tests it:\n%s", part)
				}
			}
		}
	})
	t.Run("links", func(t *testing.T) {
		for _, name := range documents(t) {
			for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(read(t, name), -1) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
					t.Errorf("%s links to %s: %v", name, m[1], err)
				}
			}
		}
	})
	t.Run("layout", func(t *testing.T) {
		packages := 0
		for _, block := range blocks(readme, "") {
			folder := ""
			for line := range strings.Lines(block) {
				name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				if !strings.HasPrefix(line, " ") {
					folder = ""
				}
				if !strings.HasSuffix(name, "/") {
					continue
				}
				packages++
				if info, err := os.Stat(filepath.Join(folder, name)); err != nil || !info.IsDir() {
					t.Errorf("the layout names %s%s: %v", folder, name, err)
				}
				if folder == "" {
					folder = name
				}
			}
		}
		if packages < 10 {
			t.Errorf("the layout names only %d folders", packages)
		}
	})
	t.Run("targets", func(t *testing.T) {
		targets := regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1)
		for _, name := range documents(t) {
			for _, m := range regexp.MustCompile("(?:`|\n    (?:[A-Z_]+=[^ ]+ )*)make ([a-z-]+)").FindAllStringSubmatch(read(t, name), -1) {
				if !slices.ContainsFunc(targets, func(target []string) bool { return target[1] == m[1] }) {
					t.Errorf("%s names make %s, which the Makefile does not have", name, m[1])
				}
			}
		}
	})
	t.Run("commands", func(t *testing.T) {
		for _, name := range documents(t) {
			for _, m := range regexp.MustCompile("(?:`|\n    |gateway )(?:fieldcache|go run \\.) ([a-z]+)").FindAllStringSubmatch(read(t, name), -1) {
				if code := cli.Run(t.Context(), []string{"help", m[1]}, cli.System{Stdout: io.Discard, Stderr: io.Discard}); code != 0 {
					t.Errorf("%s names the command %s, which does not exist", name, m[1])
				}
			}
		}
	})
	t.Run("routes", func(t *testing.T) {
		handlers := read(t, "internal/serve/public.go") + read(t, "internal/serve/admin.go") + read(t, "internal/operator/operator.go")
		for _, name := range documents(t) {
			for _, m := range regexp.MustCompile("`(?:GET|POST) (/[a-z/]*)").FindAllStringSubmatch(read(t, name), -1) {
				if !strings.Contains(handlers, m[1]+`"`) {
					t.Errorf("%s names the route %s, which no handler has", name, m[1])
				}
			}
		}
	})
}

// docs/decisions.md gives a reason for every required module and every package of the playground
// and the clients.
func TestDecisionsNameDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var module struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range module.Require {
		if !r.Indirect {
			names = append(names, r.Path)
		}
	}
	for _, tool := range module.Tool {
		names = append(names, tool.Path)
	}
	for _, folder := range []string{"playground", "clients"} {
		var front struct{ Dependencies, DevDependencies map[string]string }
		if err := json.Unmarshal([]byte(read(t, folder+"/package.json")), &front); err != nil {
			t.Fatal(err)
		}
		names = slices.AppendSeq(names, maps.Keys(front.Dependencies))
		names = slices.AppendSeq(names, maps.Keys(front.DevDependencies))
	}
	if len(names) < 20 {
		t.Fatalf("found only %q", names)
	}
	decisions := read(t, "docs/decisions.md")
	for _, name := range names {
		if !strings.Contains(decisions, "`"+name+"`") {
			t.Errorf("docs/decisions.md does not say why the project depends on %s", name)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents returns the documentation files whose links and names are checked.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("docs: %v, %v", docs, err)
	}
	return append(docs, "README.md", "CHANGELOG.md")
}

// blocks returns a document's fenced blocks of one language; "" selects those without one.
func blocks(text, language string) (found []string) {
	parts := strings.Split("\n"+text, "\n```")
	for i := 1; i < len(parts); i += 2 {
		if first, body, ok := strings.Cut(parts[i], "\n"); ok && first == language {
			found = append(found, body)
		}
	}
	return found
}
