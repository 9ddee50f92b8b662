package gqlcache_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// sayingMotto resolves one field, which may fail.
type sayingMotto struct {
	*tracker.Resolver
	motto func(context.Context) (*string, error)
}

func (m sayingMotto) Query() tracker.QueryResolver { return rootQuery{motto: m.motto} }

// A request may wait for a resolver that was called for another request. What the resolver says of
// one response holds for the other one, too: hints, errors beside the value, and the path and the
// location of an error.
func TestRequestsThatWaitForAResolver(t *testing.T) {
	t.Parallel()
	const complete = `{"data":{"ALIAS":"x"}}`
	failure := func(message string) string {
		return `{"errors":[{"message":"` + message + `","path":["ALIAS"],"locations":[{"line":1,"column":2}]}],"data":{"ALIAS":null}}`
	}
	for name, test := range map[string]struct {
		say    func(context.Context) error
		body   string
		header string
	}{
		"nothing": {func(context.Context) error { return nil }, complete, "max-age=60, public"},
		"restricted": {func(ctx context.Context) error {
			gqlcache.Restrict(ctx, gqlcache.Hint{MaxAge: new(time.Second)})
			return nil
		}, complete, "max-age=1, public"},
		"private": {func(ctx context.Context) error {
			gqlcache.SetHint(ctx, gqlcache.Hint{Scope: new(cache.Private)})
			return nil
		}, complete, "max-age=60, private"},
		"an error beside the value": {func(ctx context.Context) error { graphql.AddErrorf(ctx, "half a motto"); return nil },
			`{"errors":[{"message":"half a motto","path":["ALIAS"]}],"data":{"ALIAS":"x"}}`, "no-store"},
		"an error":                    {func(context.Context) error { return errors.New("no motto") }, failure("no motto"), "no-store"},
		"an error of GraphQL":         {func(context.Context) error { return &gqlerror.Error{Message: "no motto"} }, failure("no motto"), "no-store"},
		"an error that wraps another": {func(context.Context) error { return fmt.Errorf("why: %w", &gqlerror.Error{Message: "no motto"}) }, failure("no motto"), "no-store"},
		"an error of a list":          {func(context.Context) error { return gqlerror.List{{Message: "no motto"}} }, failure("no motto"), "no-store"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var wait chan struct{}
				fc, srv := exampleServer(sayingMotto{motto: func(ctx context.Context) (*string, error) {
					<-wait
					return new("x"), test.say(ctx)
				}})
				defer func() { _ = fc.Close() }()
				h := fc.Handler(srv)
				type response struct{ body, header string }
				ask := func(alias string) chan response {
					got := make(chan response, 1)
					go func() {
						w := httptest.NewRecorder()
						h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/graphql?query=%7B"+alias+":motto%7D", nil))
						got <- response{w.Body.String(), w.Header().Get("Cache-Control")}
					}()
					synctest.Wait()
					return got
				}
				for range 2 { // what a resolver looks at may be known only after its first call
					wait = make(chan struct{})
					all := map[string]chan response{}
					for _, alias := range []string{"a", "b", "c"} {
						all[alias] = ask(alias)
					}
					close(wait)
					for alias, r := range all {
						want := response{strings.ReplaceAll(test.body, "ALIAS", alias), test.header}
						if got := <-r; got != want {
							t.Errorf("%s: got %v, want %v", alias, got, want)
						}
					}
				}
			})
		})
	}
}
