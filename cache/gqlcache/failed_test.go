package gqlcache_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// service is another service that has issues, with resolvers that ask it. fail is what a mutation
// does after the write.
type service struct {
	*tracker.Resolver
	titles map[string]string
	fail   func(*tracker.Issue) (*tracker.Issue, error)
}

type serviceQuery struct {
	tracker.QueryResolver
	*service
}

type serviceMutation struct {
	tracker.MutationResolver
	*service
}

func (s *service) Query() tracker.QueryResolver       { return serviceQuery{service: s} }
func (s *service) Mutation() tracker.MutationResolver { return serviceMutation{service: s} }

func (q serviceQuery) Issue(_ context.Context, id string) (*tracker.Issue, error) {
	return &tracker.Issue{ID: id, Title: q.titles[id], State: tracker.IssueStateOpen}, nil
}

func (m serviceMutation) SetTitle(_ context.Context, id, title string) (*tracker.Issue, error) {
	m.titles[id] = title
	return m.fail(&tracker.Issue{ID: id, Title: title, State: tracker.IssueStateOpen})
}

// A mutation may fail after it has written. If its directive names an object by its result, which is
// missing then, all objects of the type are evicted.
func TestMutationsThatFailEvictWhatTheirResultNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../internal/tracker/schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	sdl := regexp.MustCompile(`(?m)@cacheRows\([^)]*\)(?: on .*)?`).ReplaceAllString(string(text), "")
	sdl = strings.ReplaceAll(sdl, "directive  repeatable on FIELD_DEFINITION | OBJECT", "")
	sdl = strings.ReplaceAll(sdl, "title: String!): Issue!", `title: String!): Issue! @cacheEvict(type: "Issue", id: "{$result.id}")`)
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphqls", Input: sdl})
	if err != nil {
		t.Fatal(err)
	}
	for name, fail := range map[string]func(*tracker.Issue) (*tracker.Issue, error){
		"no error":                  func(i *tracker.Issue) (*tracker.Issue, error) { return i, nil },
		"an error":                  func(*tracker.Issue) (*tracker.Issue, error) { return nil, errors.New("the index is not updated") },
		"an error beside its value": func(i *tracker.Issue) (*tracker.Issue, error) { return i, errors.New("the index is not updated") },
		"a panic":                   func(*tracker.Issue) (*tracker.Issue, error) { panic("after the write") },
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{titles: map[string]string{"1": "old", "2": "old"}, fail: fail}
			es := tracker.NewExecutableSchema(tracker.Config{Schema: schema, Resolvers: s})
			fc, err := gqlcache.Open(t.Context(), es, gqlcache.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = fc.Close() }()
			srv := newServer(es, fc)
			srv.SetRecoverFunc(func(context.Context, any) error { return errors.New("panicked") }) // without a stack in the log
			h := fc.Handler(srv)
			const query = `{issue(id:"1"){title}}`
			exampleAsk(h, query)
			s.titles["1"] = "unnoticed"
			if got := exampleAsk(h, query); !strings.Contains(got, "old") {
				t.Fatalf("got %s, want a cached response", got)
			}
			exampleAsk(h, `mutation{setTitle(id:"1",title:"new"){id}}`)
			if got := exampleAsk(h, query); !strings.Contains(got, "new") {
				t.Errorf("got %s, want the new title", got)
			}
		})
	}
}
