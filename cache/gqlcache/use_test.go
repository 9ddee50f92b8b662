package gqlcache_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// used returns the value that Use of a server panics with, or "" if it does not panic.
func used(server *handler.Server, g *gqlcache.Gateway) (fault string) {
	defer func() {
		if v := recover(); v != nil {
			fault = fmt.Sprint(v)
		}
	}()
	server.Use(g)
	return ""
}

// openLogged opens a Gateway without a database that logs as text.
func openLogged(t *testing.T, schema graphql.ExecutableSchema, log io.Writer) *gqlcache.Gateway {
	t.Helper()
	g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// Use refuses a Gateway that could not work with the server.
func TestUseRefuses(t *testing.T) {
	t.Parallel()
	project := func() graphql.ExecutableSchema {
		return tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	}
	open := func(t *testing.T, schema graphql.ExecutableSchema) *gqlcache.Gateway {
		t.Helper()
		return openLogged(t, schema, io.Discard)
	}
	checkError := func(t *testing.T, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("got panic %q, want %q", got, want)
		}
	}
	t.Run("two Gateways in one server", func(t *testing.T) {
		schema := project()
		server, second := newServer(schema, open(t, schema)), open(t, schema)
		checkError(t, used(server, second), "another Gateway is used with this schema")
	})
	t.Run("two Gateways in two servers of a schema", func(t *testing.T) {
		schema := project()
		newServer(schema, open(t, schema))
		checkError(t, used(newServer(schema), open(t, schema)), "another Gateway is used with this schema")
	})
	t.Run("one Gateway in two servers", func(t *testing.T) {
		schema := project()
		g := open(t, schema)
		newServer(schema, g)
		checkError(t, used(newServer(schema), g), "")
	})
	t.Run("the second after the first was closed", func(t *testing.T) {
		schema := project()
		first := open(t, schema)
		newServer(schema, first)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		checkError(t, used(newServer(schema), open(t, schema)), "")
	})
	t.Run("two projects in one process", func(t *testing.T) {
		one, other := project(), project()
		newServer(one, open(t, one))
		checkError(t, used(newServer(other), open(t, other)), "")
	})
	t.Run("after it served", func(t *testing.T) {
		schema := project()
		g, server := open(t, schema), newServer(schema)
		post(t, listen(t, g.Handler(server)), `{motto}`)
		checkError(t, used(server, g), "the server has served already")
	})
}

// Servers of one schema with different resolvers would serve each other's values, so the log warns
// of them.
func TestOtherResolvers(t *testing.T) {
	t.Parallel()
	config := tracker.Config{Resolvers: &tracker.Resolver{}}
	other := tracker.Config{Resolvers: &tracker.Resolver{}}
	schema, log := tracker.NewExecutableSchema(config), &syncBuffer{}
	g := openLogged(t, schema, log)
	for _, c := range []struct {
		schema graphql.ExecutableSchema
		warns  int
	}{{schema, 0}, {tracker.NewExecutableSchema(config), 0}, {tracker.NewExecutableSchema(other), 1}} {
		if fault := used(newServer(c.schema), g); fault != "" {
			t.Error(fault)
		}
		if n := strings.Count(log.String(), "with other resolvers"); n != c.warns {
			t.Errorf("got %d warnings, want %d: %s", n, c.warns, log)
		}
	}
}

// A server that uses a Gateway twice behaves as one that uses it once. If a server also uses a
// closed Gateway, the log warns once.
func TestUsedTwice(t *testing.T) {
	t.Parallel()
	a := adopt(t, "", func(a *adopter) []graphql.HandlerExtension { return []graphql.HandlerExtension{a.gateway, a.gateway} })
	for i := range 3 {
		title := fmt.Sprintf("title %d", i)
		post(t, a.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:%q){title}}`, bug, title))
		a.eventually("nothing is served from memory", func() bool {
			body, header := post(t, a.url, titleOf)
			if !strings.Contains(body, title) {
				t.Fatalf("after the mutation to %q: got %s", title, body)
			}
			return strings.Contains(header.Get("Cache-Status"), "hit")
		})
	}
	if strings.Contains(a.log.String(), "ERROR") {
		t.Error(a.log)
	}
	schema, log := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}), &syncBuffer{}
	first := openLogged(t, schema, log)
	server := newServer(schema, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	server.Use(openLogged(t, schema, log))
	url := listen(t, server)
	post(t, url, `{motto}`)
	post(t, url, `{motto}`)
	if n := strings.Count(log.String(), "beside one that was closed"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log)
	}
}

// Servers that share a Gateway have middleware of their own: none serves a response of another, also under the same path.
func TestServersShareNoResponses(t *testing.T) {
	t.Parallel()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	g := openLogged(t, schema, io.Discard)
	inside, outside := newServer(schema, g), newServer(schema, g)
	outside.AroundFields(func(ctx context.Context, next graphql.Resolver) (any, error) {
		if graphql.GetFieldContext(ctx).Field.Name == "motto" {
			return new("withheld"), nil
		}
		return next(ctx)
	})
	urls := []string{listen(t, g.Handler(inside)), listen(t, g.Handler(outside))}
	for n := range 3 {
		for i, url := range urls {
			body, header := post(t, url, `{motto}`)
			if strings.Contains(body, "withheld") != (i == 1) || strings.Contains(header.Get("Cache-Status"), "hit") != (n > 0) {
				t.Errorf("server %d, request %d: got %s (%s)", i, n, body, header.Get("Cache-Status"))
			}
		}
	}
	// A project may wrap its server for each request.
	server := newServer(schema, g)
	url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Handler(server).ServeHTTP(w, r) }))
	post(t, url, `{motto}`)
	if _, header := post(t, url, `{motto}`); !strings.Contains(header.Get("Cache-Status"), "hit") {
		t.Errorf("of a server that is wrapped again: got %s", header.Get("Cache-Status"))
	}
}

// A project may make a server for each request. The Gateway remembers only some of them, says once that no response can
// come from memory, and the servers that serve meanwhile are not disturbed.
func TestServersForEachRequest(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	resolvers := &tracker.Resolver{}
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: resolvers})
	g := openLogged(t, schema, log)
	var freed atomic.Int64
	url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server := newServer(tracker.NewExecutableSchema(tracker.Config{Resolvers: resolvers}), g)
		runtime.AddCleanup(server, func(int) { freed.Add(1) }, 0)
		g.Handler(server).ServeHTTP(w, r)
	}))
	var clients sync.WaitGroup
	const requests = 200
	for range 4 {
		clients.Go(func() {
			for range requests / 4 {
				if body, _ := post(t, url, `{motto}`); !strings.Contains(body, `"data"`) {
					t.Errorf("got %s", body)
				}
			}
		})
	}
	clients.Wait()
	if n := strings.Count(log.String(), "again and again"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log)
	}
	for deadline := time.Now().Add(time.Minute); freed.Load() < requests/4; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d servers were freed", freed.Load(), requests)
		}
	}
}

// An extension may allow introspection to some: what it answered one of them is not served to others.
func TestIntrospectionIsNotStored(t *testing.T) {
	t.Parallel()
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	g := openLogged(t, schema, io.Discard)
	server := newServer(schema, g)
	var allowed atomic.Bool
	server.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		graphql.GetOperationContext(ctx).DisableIntrospection = !allowed.Load()
		return next(ctx)
	})
	url := listen(t, g.Handler(server))
	for _, query := range []string{
		`{motto __schema{queryType{name}}}`, `{motto ...on Query{__type(name:"Query"){name}}}`,
		`query q{motto ...f} fragment f on Query{...g} fragment g on Query{as:__schema{queryType{name}}}`,
	} {
		for _, may := range []bool{true, false, true} {
			allowed.Store(may)
			body, header := post(t, url, query)
			if strings.Contains(body, `"name":"Query"`) != may || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, allowed: %v: got %s (%s, %s)", query, may, body, header.Get("Cache-Status"), header.Get("Cache-Control"))
			}
		}
	}
	allowed.Store(true)
	post(t, url, `{motto __typename}`)
	if _, header := post(t, url, `{motto __typename}`); !strings.Contains(header.Get("Cache-Status"), "hit") {
		t.Errorf("with __typename alone: got %s", header.Get("Cache-Status"))
	}
}

// If the server behind the handler of a Gateway does not Use the Gateway, the log warns once.
func TestHandlerWithoutUse(t *testing.T) {
	t.Parallel()
	schema, log := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}), &syncBuffer{}
	g := openLogged(t, schema, log)
	url := listen(t, g.Handler(newServer(schema)))
	post(t, url, `{motto}`)
	post(t, url, `{motto}`)
	if n := strings.Count(log.String(), "does not Use the Gateway"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log)
	}
}

// Without a database or a viewer, one log line lists all fields that are not cached for this
// reason.
func TestOneWarningForAllFields(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	openLogged(t, schema, log)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for message, fields := range map[string][]string{
		"made of rows, and no database is followed": {"Query.issues", "Issue.author", "Project.openCount"},
		"no Viewer is set":                          {"Account.secret", "Query.me"},
	} {
		var found []string
		for _, line := range lines {
			if strings.Contains(line, message) {
				found = append(found, line)
			}
		}
		if len(found) != 1 {
			t.Errorf("got %d lines with %q, want 1:\n%s", len(found), message, log)
			continue
		}
		for _, f := range fields {
			if !strings.Contains(found[0], f) {
				t.Errorf("line %s does not name %s", found[0], f)
			}
		}
	}
}
