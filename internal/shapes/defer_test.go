package shapes_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"

	"fieldcache/cache/gqlcache"
)

// running counts the fields that a batch would wait for.
type running struct{ atomic.Int64 }

// Expect implements [gqlcache.Counter].
func (r *running) Expect(_ context.Context, n int) { r.Add(int64(n)) }

// counts executes a query on starwars, and returns how many fields a batch would wait for when each
// field with a resolver began, in this order, and at the end.
func counts(t *testing.T, query string) (began []fieldStart, end int64) {
	t.Helper()
	shape := shapes["starwars"]
	schema, _ := shape.build(shape.database(t, "sqlite", lite(t)))
	srv := handler.New(schema)
	srv.AddTransport(transport.MultipartMixed{})
	now := new(running)
	srv.Use(&gqlcache.FieldCount{Of: func(context.Context) gqlcache.Counter { return now }})
	var mu sync.Mutex
	srv.AroundFields(func(ctx context.Context, next graphql.Resolver) (any, error) {
		if fc := graphql.GetFieldContext(ctx); fc.IsResolver {
			mu.Lock()
			began = append(began, fieldStart{fc.Path().String(), now.Load()})
			mu.Unlock()
		}
		return next(ctx)
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(queryBody(query)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "multipart/mixed")
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	if body := w.Body.String(); !strings.Contains(body, `"incremental"`) || strings.Contains(body, `"errors"`) {
		t.Fatalf("got %s, want deferred parts", body)
	}
	return began, now.Load()
}

// fieldStart is a field that began, and how many fields a batch would wait for then.
type fieldStart struct {
	path    string
	running int64
}

// gqlgen resolves deferred fields after the other fields of their object. A batch of those does not
// wait for them, and deferred fields are loaded together.
func TestDeferredFieldsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	const later = `...@defer{starships{id} friendsConnection{totalCount}}`
	for name, c := range map[string]struct {
		query string
		first []fieldStart // those that are not deferred
	}{
		"beside a field":     {`{human(id:"1000"){friends{id} ` + later + `}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
		"alone":              {`{human(id:"1000"){` + later + `}}`, []fieldStart{{"human", 1}}},
		"below what is not":  {`{hero(episode:EMPIRE){id ...on Human{friends{id} ` + later + `}}}`, []fieldStart{{"hero", 1}, {"hero.friends", 1}}},
		"a root field":       {`{...@defer{human(id:"1000"){friends{id} ` + later + `}}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
		"and in an alias":    {`{human(id:"1000"){friends{id} starships{name} ...@defer{a:starships{id} b:friendsConnection{totalCount}}}}`, nil}, // two fields begin at once
		"by a fragment":      {`{human(id:"1000"){friends{id} ...l@defer}} fragment l on Human{starships{id} friendsConnection{totalCount}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
		"with plain fields":  {`{human(id:"1000"){friends{id} ...@defer{name starships{id} friendsConnection{totalCount}}}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
		"one below another":  {`{human(id:"1000"){friends{id} ...@defer{starships{id ...@defer{length}} friendsConnection{totalCount ...@defer{edges{cursor}}}}}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
		"in each of a list":  {`{human(id:"1000"){friends{id ...on Human{friends{id} ...@defer{starships{id}}}}}}`, nil},
		"what is not chosen": {`{human(id:"1000"){friends{id} ...@defer(if:true){starships{id} friendsConnection{totalCount}} ...@defer(if:false){name}}}`, []fieldStart{{"human", 1}, {"human.friends", 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, end := counts(t, c.query)
			for i, want := range c.first {
				if i >= len(got) || got[i] != want {
					t.Fatalf("got %v, want %v first", got, c.first)
				}
			}
			if c.first != nil {
				// The first deferred field finds both counted.
				if next := got[len(c.first)]; next.running != 2 {
					t.Errorf("got %v, want the deferred fields to count together", got)
				}
			}
			if end != 0 {
				t.Errorf("at the end %d fields count: %v", end, got)
			}
		})
	}
}
