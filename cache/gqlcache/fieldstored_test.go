package gqlcache_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
	"fieldcache/internal/tracker"
)

// assignment is one list of Query.assigned. An empty string stands for an argument that is null.
type assignment struct{ project, author, state string }

func (a assignment) key() cache.Key {
	return cache.Tag("{assigned}").List("project", a.project, "author", a.author, "state", a.state)
}

// holds reports whether the list contains an issue.
func (a assignment) holds(issue outbox.Values) bool {
	return issue != nil && a.project == issue["project_key"] &&
		(a.author == "" || a.author == issue["author_id"]) && (a.state == "" || a.state == issue["state"])
}

// A write to an issue evicts exactly the lists that the issue enters or leaves, whichever of their
// arguments are null.
func TestKindsOfArgumentsThatMayBeNull(t *testing.T) {
	kinds := cache.NewKinds(func(string) (cache.Policy, error) { return cache.Policy{MaxAge: time.Minute}, nil })
	cache.NewKind(kinds, cache.KindOptions[assignment, []string]{
		Of: "Query.assigned", Types: []string{"Issue"},
		Name: func(a assignment) (cache.Key, cache.Tag) { return a.key(), "" },
		Match: func(c cache.Columns) (a assignment, ok bool) {
			a.project, ok = c.Text("project_key")
			a.author, a.state = c["author_id"], c["state"]
			return a, ok && a.author != cache.Null
		},
		Load: func(context.Context, []assignment) (map[assignment][]string, cache.Snapshot, error) {
			return nil, cache.Snapshot{}, nil
		},
	})
	stored, err := kinds.All()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := gqlcache.PlanFields(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}), stored...)
	if err != nil {
		t.Fatal(err)
	}
	var own []outbox.Rows
	for _, r := range plan.Rows() {
		if r.Stored != nil {
			own = append(own, r)
		}
	}
	issues := outbox.TableInfo{PrimaryKey: []string{"id"}, Columns: map[string]outbox.Kind{
		"id": outbox.UUID, "project_key": outbox.Text, "author_id": outbox.UUID, "state": outbox.Text,
	}}
	rows, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { return issues, table == "issues" }, own...)
	if err != nil {
		t.Fatal(err)
	}

	var lists []assignment
	var states []outbox.Values // of one issue
	for _, project := range []string{"core", "docs"} {
		for _, author := range []string{"", ann, bob} {
			for _, state := range []string{"", "OPEN", "CLOSED"} {
				lists = append(lists, assignment{project, author, state})
				issue := outbox.Values{"id": bug, "project_key": project, "state": state}
				if author != "" {
					issue["author_id"] = author
				}
				if state != "" {
					states = append(states, issue)
				}
			}
		}
	}
	states = append(states, nil) // the issue does not exist
	for _, was := range states {
		for _, is := range states {
			row := outbox.Row{Was: was, Is: is}
			if was == nil && is == nil {
				continue
			}
			for _, c := range []string{"project_key", "author_id", "state"} {
				if was != nil && is != nil && was[c] != is[c] {
					row.Changed = append(row.Changed, c)
				}
			}
			ev := rows.Evictions(outbox.Change{Table: "issues", Rows: []outbox.Row{row}})
			if len(ev.Tags) > 0 {
				t.Errorf("from %v to %v: got evictions of %v, want none by tag", was, is, ev.Tags)
			}
			for _, list := range lists {
				if got, want := slices.Contains(ev.Keys, list.key()), list.holds(was) != list.holds(is); got != want {
					t.Errorf("from %v to %v: evicted %+v: got %v, want %v", was, is, list, got, want)
				}
			}
		}
	}
}

// Each argument that may be null doubles the number of keys that a write evicts, so a field may
// have only a few.
func TestKindsOfTooManyArgumentsThatMayBeNull(t *testing.T) {
	for _, test := range []struct {
		columns string
		want    string
	}{
		{"a b c d", ""},
		{"a b c d e", `Query.find: 5 arguments that may be null select rows of "things"`},
	} {
		var match, args []string
		for _, c := range strings.Fields(test.columns) {
			match, args = append(match, c+" = {$args."+c+"}"), append(args, c+": Int")
		}
		schema := gqlparser.MustLoadSchema(&ast.Source{Input: policy.Directives + fmt.Sprintf(
			`type Query { find(%s): Int @cacheControl(maxAge: 60) @cacheRows(table: "things", match: %q, columns: []) }`, strings.Join(args, ", "), strings.Join(match, ", "))})
		kinds := cache.NewKinds(func(string) (cache.Policy, error) { return cache.Policy{MaxAge: time.Minute}, nil })
		cache.NewCount(kinds, cache.CountOptions[string]{
			Of: "Query.find", Types: []string{"Thing"}, List: func(string) cache.Tag { return "{things}" },
			Match: func(cache.Columns) (string, bool) { return "", false },
			Load: func(context.Context, []string) (map[string]int, cache.Snapshot, error) {
				return nil, cache.Snapshot{}, nil
			},
		})
		stored, err := kinds.All()
		if err != nil {
			t.Fatal(err)
		}
		es := handmade{ExecutableSchema: &graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }}, Resolvers: stubs{}}
		_, err = gqlcache.PlanFields(es, stored...)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got error %v, want %q", test.columns, err, test.want)
		}
	}
}
