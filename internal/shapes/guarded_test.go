package shapes_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/guarded"
)

// guards is the guarded project with the cache and without it.
type guards struct {
	t       *testing.T
	gateway *gqlcache.Gateway
	plain   http.Handler
	cached  map[string]http.Handler
}

// guard opens the guarded project. A role is known in front of the cache.
func guard(t *testing.T, db *sql.DB, o gqlcache.Options) *guards {
	t.Helper()
	signedIn := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(guarded.WithRole(r.Context(), r.Header.Get("Authorization"))))
		})
	}
	o.Viewer, o.Log = guarded.Role, slog.New(slog.DiscardHandler)
	schema := guarded.NewExecutableSchema(guarded.NewConfig(db))
	gateway, err := gqlcache.Open(t.Context(), schema, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	srv := newServer(schema, gateway)
	return &guards{
		t: t, gateway: gateway, plain: signedIn(newServer(guarded.NewExecutableSchema(guarded.NewConfig(db)))),
		cached: map[string]http.Handler{"the field cache": signedIn(srv), "a whole response": signedIn(gateway.Handler(srv))},
	}
}

// as sends a query by someone who has a role.
func as(t *testing.T, h http.Handler, role, query string) (body, status string) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "/query", strings.NewReader(string(text)))
	r.Header.Set("Content-Type", "application/json")
	if role != "" {
		r.Header.Set("Authorization", role)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String(), w.Header().Get("Cache-Status") + ", " + w.Header().Get("Cache-Control")
}

// same compares the responses to someone who has a role with those without the cache.
func (g *guards) same(role, query string) {
	g.t.Helper()
	want, _ := as(g.t, g.plain, role, query)
	for at, h := range g.cached {
		for range 2 {
			if got, status := as(g.t, h, role, query); got != want {
				g.t.Errorf("%s, by %q (%s): %s\n got %s\nwant %s", at, role, status, query, got, want)
			}
		}
	}
}

// A directive with code runs for each request: it may decide who gets a value, or change it.
func TestDirectivesWithCodeAlwaysRun(t *testing.T) {
	s := shape{tables: guarded.Tables}
	for name, query := range map[string]string{
		"on a field of a model":             `{account(id:"a1"){name salary}}`,
		"on the type of a field":            `{vault{content}}`,
		"on the type of a list":             `{vaults{content}}`,
		"in the operation":                  `{account(id:"a1"){name @shout}}`,
		"in the operation, on a root field": `{greeting @shout}`,
		"in a fragment of the operation":    `{account(id:"a1"){...f}} fragment f on Account{name @shout}`,
		"of the operation":                  `query @staff{accounts{name}}`,
		"on the type of an input":           `{greeting(to:{name:"Ann"})}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := s.database(t, "sqlite", lite(t))
			for _, o := range []gqlcache.Options{{Database: db}, {}} {
				g := guard(t, db, o)
				for _, role := range []string{"admin", "guest", "", "admin", "guest"} {
					g.same(role, query)
				}
			}
		})
	}
}

// Viewers have values of their own not only of fields that are private, but also where a part of the value is, or where
// the parent is a part of a private value and the same for all viewers.
func TestPrivatePartsAreTheViewersOwn(t *testing.T) {
	s := shape{tables: guarded.Tables}
	for name, query := range map[string]string{
		"a field of a model":                `{members{id note}}`,
		"the same, which is not asked":      `{members{id name}}`,
		"an implementation of an interface": `{badge{text}}`,
		"below a private field":             `{desk{title}}`,
		"further below a private field":     `{desk{drawer{letters}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := s.database(t, "sqlite", lite(t))
			g := guard(t, db, gqlcache.Options{Database: db})
			for _, role := range []string{"admin", "guest", "", "admin", "guest"} {
				g.same(role, query)
			}
			g.same("admin", `{members{note} badge{text} desk{title drawer{letters}}}`)
			g.same("guest", `{members{note} badge{text} desk{title drawer{letters}}}`)
		})
	}
}

// An explanation says that such fields are private, and shows the viewer in their keys.
func TestPrivatePartsAreExplained(t *testing.T) {
	t.Parallel()
	plan, err := gqlcache.PlanFields(guarded.NewExecutableSchema(guarded.NewConfig(nil)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := plan.Explain(`{members{id} badge{text} desk{title} accounts{id}}`, gqlcache.ExplainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Query.members": "private", "Query.badge": "private", "Query.desk": "private", "Desk.title": "private", "Query.accounts": "public"}
	for _, f := range e.Fields {
		scope, ok := want[f.Coordinate]
		if ok && (f.Scope != scope || strings.Contains(f.Key, "@<viewer>") != (scope == "private")) {
			t.Errorf("%s: got scope %s and key %s, want scope %s", f.Coordinate, f.Scope, f.Key, scope)
		}
		delete(want, f.Coordinate)
	}
	if len(want) > 0 {
		t.Errorf("nothing is said of %v", want)
	}
}

// What has nothing to do with a directive is served from memory.
func TestOtherFieldsOfGuardedTypesAreCached(t *testing.T) {
	db := shape{tables: guarded.Tables}.database(t, "sqlite", lite(t))
	g := guard(t, db, gqlcache.Options{Database: db})
	eventually(t, func() string {
		if _, status := as(t, g.cached["a whole response"], "", `{accounts{name} account(id:"a2"){id name}}`); !strings.Contains(status, "hit") {
			return "it is not served from memory: " + status
		}
		return ""
	})
}

// A method of a model may read what nobody declared.
func TestMethodsOfModelsAreNotStored(t *testing.T) {
	db := shape{tables: guarded.Tables}.database(t, "sqlite", lite(t))
	g := guard(t, db, gqlcache.Options{Database: db})
	const query = `{accounts{name visits}}`
	g.same("", query)
	if _, err := db.ExecContext(t.Context(), "INSERT INTO visits VALUES ('2', 'a1'), ('3', 'a2')"); err != nil {
		t.Fatal(err)
	}
	g.same("", query)
}
