package gqlcache_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

func trackerPlan(t *testing.T) *gqlcache.FieldPlan {
	t.Helper()
	plan, err := gqlcache.PlanFields(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// line formats an explanation as one line: path, coordinate, how it is cached, key, objects, age,
// scope, truth, dependencies, note.
func line(f gqlcache.FieldExplanation) string {
	age := "inherits"
	if f.MaxAge != nil {
		age = fmt.Sprint(*f.MaxAge)
	}
	parts := []string{f.Path, f.Coordinate, f.Stored, f.Key, f.Objects, age, f.Scope, string(f.Truth), strings.Join(f.MadeOf, " + "), f.Note}
	return strings.Join(parts, " | ")
}

func TestExplain(t *testing.T) {
	t.Parallel()
	plan := trackerPlan(t)
	for name, c := range map[string]struct {
		document string
		o        gqlcache.ExplainOptions
		want     string // lines
	}{
		"fields of entities": {
			document: `query Q($id: ID!) { issue(id: $id) { title author { handle } comments(first: 3) { body } score } }`,
			want: `query Q; max-age=60, public by issue, scope by
issue | Query.issue | field | query:issue(id=$id) |  | 60 | public | rows | rows issues(id = {$args.id}): which rows there are | 
issue.title | Issue.title | parent |  |  | inherits | public |  |  | 
issue.author | Issue.author | field | {issue:<id>}:author[authorID=<authorID>] |  | 60 | public | rows | rows accounts(id = {$parent.authorID}): handle | 
issue.author.handle | Account.handle | parent |  |  | inherits | public |  |  | 
issue.comments | Issue.comments | field | {issue:<id>}:comments(first=3) |  | 60 | public | rows | rows comments(issue_id = {$parent.id}): which rows there are | 
issue.comments.body | Comment.body | parent |  |  | inherits | public |  |  | 
issue.score | Issue.score | field | {issue:<id>}:score(weights=[1,0.5])#<parent> |  | 60 | public | rows | rows issues: author_id, labels, number, points, state, title | `,
		},
		"values of variables": {
			document: `query Q($id: ID!, $first: Int) { issue(id: $id) { comments(first: $first) { id } } }`,
			o:        gqlcache.ExplainOptions{Variables: map[string]any{"id": "7", "first": 2}},
			want: `query Q; max-age=60, public by issue, scope by
issue | Query.issue | field | query:issue(id=7) |  | 60 | public | rows | rows issues(id = {$args.id}): which rows there are | 
issue.comments | Issue.comments | field | {issue:<id>}:comments(first=2) |  | 60 | public | rows | rows comments(issue_id = {$parent.id}): which rows there are | 
issue.comments.id | Comment.id | parent |  |  | inherits | public |  |  | `,
		},
		"a viewer's": {
			document: `{ me { handle secret } }`,
			want: `query; max-age=60, private by me, scope by me
me | Query.me | field | query:me@<viewer> |  | 60 | private | rows | rows accounts(id = {$viewer}): which rows there are | 
me.handle | Account.handle | parent |  |  | inherits | public |  |  | 
me.secret | Account.secret | field | {account:<id>}:secret@<viewer> |  | 60 | private | rows | rows accounts(id = {$parent.id}): secret | `,
		},
		"a union": {
			document: `{ feed { ... on Issue { title } ... on Comment { body } } }`,
			want: `query; max-age=30, public by feed, scope by
feed | Query.feed | field | query:feed(first=10) |  | 30 | public | rows | rows issues: which rows there are + rows comments: which rows there are | 
feed<Issue>.title | Issue.title | parent |  |  | inherits | public |  |  | 
feed<Comment>.body | Comment.body | parent |  |  | inherits | public |  |  | `,
		},
		"tags, only a max age, and a parent without an identity": {
			document: `{ grid(size: 2) motto issue(id: 1) { stats { readingTime } } }`,
			o:        gqlcache.ExplainOptions{},
			want: `query; no-store by issue.stats, scope by
grid | Query.grid | field | query:grid(size=2) |  | 60 | public | tags | tag grid | 
motto | Query.motto | field | query:motto |  | 60 | public | ttl |  | 
issue | Query.issue | field | query:issue(id=1) |  | 60 | public | rows | rows issues(id = {$args.id}): which rows there are | 
issue.stats | Issue.stats | parent |  |  | 0 | public |  |  | it has no age, so that no response with it is cached: say maxAge or inheritMaxAge
issue.stats.readingTime | IssueStats.readingTime | field | <path>.readingTime(perMinute=200)#<parent> |  | 60 | public | rows | rows comments(issue_id = {$parent.issueID}): body | `,
		},
		"observed": {
			document: `{ motto }`, o: gqlcache.ExplainOptions{Observed: true},
			want: `query; max-age=60, public by motto, scope by
motto | Query.motto | field | query:motto |  | 60 | public | observed |  | `,
		},
		"sources of the project's own": {
			document: `{ issue(id: 1) { author { handle } commentCount } }`,
			o: gqlcache.ExplainOptions{Stored: func(coordinate string) (string, bool) {
				key, ok := map[string]string{"Account": "account:<id>", "Issue.commentCount": "{issue:<id>}:comments:count"}[coordinate]
				return key, ok
			}},
			want: `query; max-age=60, public by issue, scope by
issue | Query.issue | field | query:issue(id=1) |  | 60 | public | rows | rows issues(id = {$args.id}): which rows there are | 
issue.author | Issue.author | field | {issue:<id>}:author[authorID=<authorID>] | account:<id> | 60 | public | rows | rows accounts(id = {$parent.authorID}): handle | 
issue.author.handle | Account.handle | parent |  |  | inherits | public |  |  | 
issue.commentCount | Issue.commentCount | loader | {issue:<id>}:comments:count |  | 60 | public | rows | rows comments(issue_id = {$parent.id}): which rows there are | `,
		},
		"a mutation": {
			document: `mutation M { redraw }`,
			want: `mutation M; no-store by, scope by
redraw | Mutation.redraw | no |  |  | 0 | public |  |  | `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := plan.Explain(c.document, c.o)
			if err != nil {
				t.Fatal(err)
			}
			head := fmt.Sprintf("%s; %s by %s, scope by %s", e.Operation, e.CacheControl, e.MaxAgeBy, e.ScopeBy)
			lines := []string{strings.ReplaceAll(strings.TrimSpace(head), "by ,", "by,")}
			for _, f := range e.Fields {
				lines = append(lines, line(f))
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	plan := trackerPlan(t)
	for name, c := range map[string]struct {
		document string
		o        gqlcache.ExplainOptions
		want     string
	}{
		"a syntax error":             {"{", gqlcache.ExplainOptions{}, "Expected"},
		"an unknown field":           {"{ nothing }", gqlcache.ExplainOptions{}, "nothing"},
		"an unknown operation":       {"query A { motto }", gqlcache.ExplainOptions{Operation: "B"}, "no operation B"},
		"one of several":             {"query A { motto } query B { motto }", gqlcache.ExplainOptions{}, "several"},
		"a variable of another type": {"query A($id: ID!) { issue(id: $id) { id } }", gqlcache.ExplainOptions{Variables: map[string]any{}}, "id"},
	} {
		if _, err := plan.Explain(c.document, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q in it", name, err, c.want)
		}
	}
}

// ExplainCoordinates explains each coordinate as Explain does within an operation.
func TestExplainCoordinates(t *testing.T) {
	t.Parallel()
	plan := trackerPlan(t)
	o := gqlcache.ExplainOptions{Observed: true, Stored: func(coordinate string) (string, bool) { return "account:<id>", coordinate == "Account" }}
	all, err := plan.ExplainCoordinates(o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := plan.Explain(`query ($id: ID!, $first: Int) {
		issue(id: $id) { title author { handle } comments(first: $first) { body } }
		me { handle secret }
		feed(first: $first) { ... on Issue { title } }
	}`, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Fields) < 10 {
		t.Fatalf("got %d fields, want at least 10", len(e.Fields))
	}
	for _, f := range e.Fields {
		f.Path = ""
		if got := all[f.Coordinate]; !reflect.DeepEqual(got, f) {
			t.Errorf("%s: ExplainCoordinates returns\n%+v, Explain\n%+v", f.Coordinate, got, f)
		}
	}
	if got := all["Issue.comments"]; got.AgeBy != "Issue.comments" || *got.MaxAge != 60 {
		t.Errorf("got age %v of Issue.comments, set by %q; want 60, set by Issue.comments", *got.MaxAge, got.AgeBy)
	}
	if got := all["Account"]; got.Truth == "" || got.Path != "" || got.Coordinate != "Account" {
		t.Errorf("got %+v for a type", got)
	}
}
