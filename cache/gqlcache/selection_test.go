package gqlcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// preloader reads only the selected columns of an issue and of its author, as ent's CollectFields
// does.
type preloader struct {
	*tracker.Resolver
	reads atomic.Int64
	look  func(context.Context) []string
}

type preloaderQuery struct {
	tracker.QueryResolver
	p *preloader
}

type preloaderIssue struct {
	tracker.IssueResolver
	p *preloader
}

func (p *preloader) Query() tracker.QueryResolver { return preloaderQuery{p.Resolver.Query(), p} }
func (p *preloader) Issue() tracker.IssueResolver { return preloaderIssue{p.Resolver.Issue(), p} }

func (q preloaderQuery) Issue(ctx context.Context, id string) (*tracker.Issue, error) {
	return q.p.read(ctx, id), nil
}

func (i preloaderIssue) Author(ctx context.Context, issue *tracker.Issue) (*tracker.Account, error) {
	selected := i.p.look(ctx)
	account := &tracker.Account{ID: "a" + issue.ID}
	if slices.Contains(selected, "handle") {
		account.Handle = "ada"
	}
	return account, nil
}

func (p *preloader) read(ctx context.Context, id string) *tracker.Issue {
	p.reads.Add(1)
	issue, selected := &tracker.Issue{ID: id, State: tracker.IssueStateOpen}, p.look(ctx)
	if slices.Contains(selected, "title") {
		issue.Title = "It leaks"
	}
	if slices.Contains(selected, "number") {
		issue.Number = 7
	}
	return issue
}

// A resolver that reads only the selected fields returns another value for another selection, so
// selections must not share an entry. gqlgen documents this as field collection.
func TestResolversThatReadWhatIsSelected(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(context.Context) []string{
		"collected": func(ctx context.Context) (names []string) {
			for _, f := range graphql.CollectFieldsCtx(ctx, nil) {
				names = append(names, f.Name)
			}
			return names
		},
		"all": graphql.CollectAllFields,
		"by the field's context, under another": func(ctx context.Context) (names []string) {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, preloaderQuery{}, 1))
			defer cancel()
			oc := graphql.GetOperationContext(ctx)
			for _, f := range graphql.CollectFields(oc, graphql.GetFieldContext(ctx).Field.Selections, nil) {
				names = append(names, f.Name)
			}
			return names
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, end := exampleDatabase()
			t.Cleanup(end)
			p := &preloader{Resolver: &tracker.Resolver{DB: db}, look: look}
			build := func(cached bool) *handler.Server {
				schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: p})
				srv := handler.New(schema)
				srv.AddTransport(transport.POST{})
				if cached {
					g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = g.Close() })
					srv.Use(g)
				}
				return srv
			}
			plain, cached := build(false), build(true)
			queries := []string{
				`{issue(id:"1"){title}}`, `{issue(id:"1"){number}}`, `{issue(id:"1"){...F}} fragment F on Issue{number title}`,
				`{issue(id:"1"){id ... on Issue{title @skip(if:true) number}}}`,
				`{a:issue(id:"2"){title} b:issue(id:"2"){number}}`, `{issue(id:"2"){author{id}}}`, `{issue(id:"2"){author{handle}}}`,
				`{issue(id:"1"){title}issue(id:"1"){number}}`,
			}
			for range 2 {
				for _, q := range queries {
					if got, want := exampleAsk(cached, q), exampleAsk(plain, q); got != want {
						t.Errorf("%s: got %s, want %s", q, got, want)
					}
				}
			}
			var wg sync.WaitGroup
			for i := range 60 {
				wg.Go(func() {
					q := fmt.Sprintf(`{issue(id:"%d"){%s}}`, 10+i/6, []string{"title", "number", "number title"}[i%3])
					if got, want := exampleAsk(cached, q), exampleAsk(plain, q); got != want {
						t.Errorf("%s: got %s, want %s", q, got, want)
					}
				})
			}
			wg.Wait()
			for _, q := range queries {
				exampleAsk(cached, q)
			}
			before := p.reads.Load()
			for _, q := range queries {
				exampleAsk(cached, q)
			}
			if n := p.reads.Load() - before; n != 0 {
				t.Errorf("got %d reads, want 0", n)
			}
			if q := `{issue(id:"1"){title number state}}`; !strings.Contains(exampleAsk(cached, q), `"It leaks"`) {
				t.Errorf("%s: got %s", q, exampleAsk(cached, q))
			}
		})
	}
}

// Variables determine the selected fields.
func TestSelectionsWithVariables(t *testing.T) {
	t.Parallel()
	db, end := exampleDatabase()
	t.Cleanup(end)
	p := &preloader{Resolver: &tracker.Resolver{DB: db}, look: graphql.CollectAllFields}
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: p})
	g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	url := listen(t, newServer(schema, g))
	for range 2 {
		for with, want := range map[string]string{"true": `"title":"It leaks"`, "false": `{"number":7}`} {
			body, _ := send(t, http.MethodPost, url, `{"query":"query($t:Boolean!){issue(id:\"1\"){title @include(if:$t) number}}","variables":{"t":`+with+`}}`, "Content-Type: application/json")
			if !strings.Contains(body, want) {
				t.Errorf("with title %s: got %s", with, body)
			}
		}
	}
}
