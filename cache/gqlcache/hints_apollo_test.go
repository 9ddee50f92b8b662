package gqlcache_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
)

var verdicts = flag.String("verdicts", "testdata/apollo.jsonl.gz", "file with the cache policies that scripts/apollo-policy recorded from Apollo Server; gzip if its name ends in .gz")

// verdict is Apollo Server's policy for one response, with the inputs that determine it.
type verdict struct {
	Schema        string
	Query         string
	Variables     map[string]any
	OperationName string
	Data          map[string]any
	Hints         map[string][]struct { // by the path of the field whose resolver gives it
		How    string
		MaxAge *int
		Scope  *string
	}
	Behind []string // types of objects behind interfaces and unions
	Apollo string
}

// schemas are the schemas that verdicts name, with their files.
var schemas = map[string]string{
	"contract.graphqls": "../../graph/testdata/contract.graphqls",
	"wide.graphqls":     "../../scripts/apollo-policy/wide.graphqls",
}

// Random operations, on random data, with resolvers that give random hints. The policy of each
// response is that of Apollo Server. In the documented exceptions it is the stricter one.
func TestVerdictsOfApolloServer(t *testing.T) {
	t.Parallel()
	loaded := map[string]*ast.Schema{}
	for name, file := range schemas {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if loaded[name], err = gqlparser.LoadSchema(&ast.Source{Name: file, Input: string(text)}); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(*verdicts)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var text io.Reader = file
	if strings.HasSuffix(*verdicts, ".gz") {
		if text, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		var v verdict
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		o := run(t, v.world(loaded[v.Schema]), graphql.RawParams{Query: v.Query, OperationName: v.OperationName, Variables: v.Variables})
		want := v.want(t, loaded[v.Schema])
		if got := o.overall.Header(); got != want {
			t.Errorf("line %d: got %s, want %s (Apollo Server: %s)\n%s\nhints %v, behind %v, errors %v", n, got, want, v.Apollo, v.Query, v.Hints, v.Behind, o.errors)
		}
		seen[v.Schema]++
		if want != noStore {
			seen["kept"]++
		}
		if want != v.Apollo {
			seen["stricter"]++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", seen)
	for _, of := range []string{"contract.graphqls", "wide.graphqls", "kept", "stricter"} {
		if seen[of] < 10 {
			t.Errorf("got %d verdicts of %s, want at least 10", seen[of], of)
		}
	}
}

func (v *verdict) world(s *ast.Schema) *world {
	return &world{schema: s, data: v.Data, each: func(ctx context.Context) {
		var at []string
		for _, step := range graphql.GetFieldContext(ctx).Path() {
			at = append(at, fmt.Sprint(step))
		}
		for _, hint := range v.Hints[strings.Join(at, ".")] {
			var h gqlcache.Hint
			if hint.MaxAge != nil {
				h.MaxAge = new(time.Duration(*hint.MaxAge) * time.Second)
			}
			if hint.Scope != nil {
				h.Scope = new(scopeOf(*hint.Scope))
			}
			if hint.How == "set" {
				gqlcache.SetHint(ctx, h)
			} else {
				gqlcache.Restrict(ctx, h)
			}
		}
	}}
}

// want returns Apollo Server's verdict, made stricter as documented: mutations are not cached, and
// behind an interface or a union the hint of the object's own type applies too.
func (v *verdict) want(t *testing.T, s *ast.Schema) string {
	t.Helper()
	if v.Apollo == noStore || strings.HasPrefix(v.Query, "mutation") && v.OperationName != "B" {
		return noStore
	}
	seconds, scope, ok := strings.Cut(strings.TrimPrefix(v.Apollo, "max-age="), ", ")
	age, err := strconv.Atoi(seconds)
	if !ok || err != nil {
		t.Fatalf("verdict %q is malformed", v.Apollo)
	}
	for _, name := range v.Behind {
		d := s.Types[name].Directives.ForName("cacheControl")
		if d == nil {
			continue
		}
		if a := d.Arguments.ForName("maxAge"); a != nil {
			own, err := strconv.Atoi(a.Value.Raw)
			if err != nil {
				t.Fatal(err)
			}
			age = min(age, own)
		}
		if a := d.Arguments.ForName("scope"); a != nil && scopeOf(a.Value.Raw) == cache.Private {
			scope = "private"
		}
	}
	return fmt.Sprintf("max-age=%d, %s", age, scope)
}

func scopeOf(name string) cache.Scope {
	if name == "PRIVATE" {
		return cache.Private
	}
	return cache.Public
}
