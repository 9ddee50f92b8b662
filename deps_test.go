package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the module path in go.mod.
const module = "fieldcache"

// arrows lists the packages of this module that each package may import. A package without a row
// fails the test.
var arrows = map[string][]string{
	module:                       {everything},
	"fieldcache/graph":           {"fieldcache/graph/generated", "fieldcache/graph/model", "fieldcache/graph/scalar", "fieldcache/dataloader", "fieldcache/db", "fieldcache/cache", "fieldcache/cache/apierror"},
	"fieldcache/graph/generated": {"fieldcache/graph/model", "fieldcache/graph/scalar", "fieldcache/db"},
	"fieldcache/graph/model":     {"fieldcache/graph/scalar", "fieldcache/db"},
	"fieldcache/graph/scalar":    {},
	"fieldcache/dataloader":      {"fieldcache/db", "fieldcache/cache", "fieldcache/cache/outbox"},
	"fieldcache/bench":           {},
	"fieldcache/cache":           {"fieldcache/cache/internal/protocol"},
	"fieldcache/cache/answers":   {"fieldcache/cache"},
	"fieldcache/cache/apierror":  {},
	"fieldcache/cache/gqlcache": {"fieldcache/cache", "fieldcache/cache/answers", "fieldcache/cache/memstore", "fieldcache/cache/redisstore", "fieldcache/cache/outbox", "fieldcache/cache/policy",
		"fieldcache/cache/transport", "fieldcache/cache/internal/operation", "fieldcache/cache/gqlcache/internal/gotype"},
	"fieldcache/cache/transport": {"fieldcache/cache", "fieldcache/cache/answers", "fieldcache/cache/apierror", "fieldcache/cache/policy",
		"fieldcache/cache/internal/operation", "fieldcache/cache/transport/internal/document"},
	"fieldcache/cache/transport/internal/document": {"fieldcache/cache/apierror", "fieldcache/cache/internal/operation"},
	"fieldcache/cache/internal/operation":          {},
	"fieldcache/cache/internal/protocol":           {},
	"fieldcache/cache/internal/schematest":         {},
	"fieldcache/cache/gqlcache/internal/gotype":    {"fieldcache/cache"},
	"fieldcache/cache/policy":                      {"fieldcache/cache"},
	"fieldcache/cache/memstore":                    {"fieldcache/cache"},
	"fieldcache/cache/outbox":                      {"fieldcache/cache"},
	"fieldcache/cache/redisstore":                  {"fieldcache/cache", "fieldcache/cache/internal/protocol"},
	"fieldcache/cache/sqlwatch":                    {"fieldcache/cache"},
	"fieldcache/cache/pgxwatch":                    {"fieldcache/cache"},
	"fieldcache/cache/storetest":                   {"fieldcache/cache"},
	"fieldcache/db":                                {"fieldcache/db/migrations", "fieldcache/cache", "fieldcache/cache/outbox", "fieldcache/cache/pgxwatch", "fieldcache/cache/sqlwatch"},
	"fieldcache/db/migrations":                     {"fieldcache/cache/outbox"},
	"fieldcache/db/fixtures":                       {"fieldcache/db"},
	"fieldcache/playground":                        {},
	"fieldcache/playground/browsertest":            {},
	"fieldcache/internal/chaos":                    {},
	"fieldcache/internal/config":                   {},
	"fieldcache/internal/cli":                      {"fieldcache/internal/config", "fieldcache/internal/serve", "fieldcache/cache/apierror", "fieldcache/db", "fieldcache/db/fixtures", "fieldcache/internal/top", "fieldcache/cache/gqlcache", "fieldcache/cache/outbox"},
	"fieldcache/internal/serve": {"fieldcache/internal/config", "fieldcache/internal/fastpath", "fieldcache/internal/operator", "fieldcache/graph", "fieldcache/playground",
		"fieldcache/cache", "fieldcache/cache/answers", "fieldcache/cache/apierror", "fieldcache/cache/gqlcache", "fieldcache/cache/policy", "fieldcache/cache/transport", "fieldcache/cache/memstore", "fieldcache/cache/outbox"},
	"fieldcache/internal/operator":    {"fieldcache/cache", "fieldcache/cache/gqlcache", "fieldcache/cache/memstore", "fieldcache/cache/redisstore"},
	"fieldcache/internal/top":         {},
	"fieldcache/internal/fastpath":    {},
	"fieldcache/internal/testservers": {},
	"fieldcache/internal/tracker":     {},
	// Projects that do not import the cache.
	"fieldcache/internal/shapes":            {},
	"fieldcache/internal/shapes/starwars":   {},
	"fieldcache/internal/shapes/dataloader": {},
	"fieldcache/internal/shapes/products":   {},
	"fieldcache/internal/shapes/batches":    {},
	"fieldcache/internal/shapes/guarded":    {},
	"fieldcache/internal/shapes/models":     {},
	"fieldcache/scripts/gotest":             {},
	"fieldcache/scripts/modpath":            {},
	"fieldcache/scripts/mutants":            {},
}

// everything stands for all packages of this module.
const everything = "*"

// bans lists packages that others must not depend on, even indirectly.
var bans = []struct {
	packages []string // a trailing /... includes the packages below
	except   []string // likewise
	imports  []string // likewise
}{
	{packages: []string{"fieldcache/cache/..."},
		except:  []string{"fieldcache/cache/gqlcache/...", "fieldcache/cache/transport/...", "fieldcache/cache/internal/operation"},
		imports: []string{"github.com/99designs/gqlgen/..."}},
	{packages: []string{"fieldcache/cache", "fieldcache/cache/answers", "fieldcache/cache/memstore", "fieldcache/cache/outbox",
		"fieldcache/cache/redisstore", "fieldcache/cache/storetest"}, imports: []string{"github.com/vektah/gqlparser/v2/..."}},
	{packages: []string{"fieldcache/cache"},
		imports: []string{"github.com/redis/go-redis/v9/...", "github.com/maypok86/otter/v2/..."}},
	// Users of the engine have their own database layer.
	{packages: []string{"fieldcache/cache/..."}, except: []string{"fieldcache/cache/pgxwatch"}, imports: []string{"github.com/uptrace/bun/...", "github.com/jackc/pgx/v5/..."}},
	// Tests import it; the shipped server must not.
	{packages: []string{"fieldcache/..."}, except: []string{"fieldcache/internal/testservers"},
		imports: []string{"fieldcache/internal/testservers"}},
}

// listed holds the fields of go list's output that the test needs. Imports of test files are not
// included.
type listed struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // transitive
}

func TestArrows(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found only %v", packages)
	}
	for _, v := range violations(packages) {
		t.Error(v)
	}
}

// The Docker image is built without some folders. None of them may hold a package of the program.
func TestImageHasThePackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}`, ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ignored := strings.Fields(read(t, ".dockerignore"))
	for _, path := range strings.Fields(string(out)) {
		for _, folder := range ignored {
			if matches("fieldcache/"+folder+"/...", path) {
				t.Errorf(".dockerignore leaves out %s, which holds %s", folder, path)
			}
		}
	}
	if !slices.Contains(ignored, "scripts") {
		t.Errorf("found only %q in .dockerignore, want scripts among them", ignored)
	}
}

// adopted lists the modules that a project builds when it imports gqlcache, besides those of gqlgen
// and this one. docs/decisions.md gives the reason for each, since every such project has to build
// it.
var adopted = []string{
	"github.com/andybalholm/brotli",
	"github.com/go-json-experiment/json",
	"github.com/klauspost/compress",
	"github.com/maypok86/otter/v2",
	"github.com/prometheus/client_golang",
	"github.com/redis/go-redis/v9",
	"github.com/sony/gobreaker/v2",
	"golang.org/x/sync",
	"golang.org/x/time",
	// Dependencies of the modules above.
	"github.com/beorn7/perks",
	"github.com/cespare/xxhash/v2",
	"github.com/munnerz/goautoneg",
	"github.com/prometheus/client_model",
	"github.com/prometheus/common",
	"github.com/prometheus/procfs",
	"go.uber.org/atomic",
	"golang.org/x/sys",
	"google.golang.org/protobuf",
}

func TestAdoptersBuildLittle(t *testing.T) {
	modules := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", pkg).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pkg, err)
		}
		list := strings.Fields(string(out))
		slices.Sort(list)
		return slices.Compact(list)
	}
	allowed := append([]string{module}, adopted...)
	for _, pkg := range []string{"graphql/handler", "graphql/handler/extension", "graphql/handler/transport"} {
		allowed = append(allowed, modules("github.com/99designs/gqlgen/"+pkg)...)
	}
	built := modules("fieldcache/cache/gqlcache")
	for _, m := range built {
		if !slices.Contains(allowed, m) {
			t.Errorf("a project that imports gqlcache builds %s, which is not on the list", m)
		}
	}
	for _, m := range adopted {
		if !slices.Contains(built, m) {
			t.Errorf("gqlcache no longer needs %s: remove it from the list", m)
		}
	}
}

func TestArrowsCatchesViolations(t *testing.T) {
	tests := map[string]struct {
		p    listed
		want string // "" for none
	}{
		"an arrow that is drawn": {
			p: listed{ImportPath: "fieldcache/dataloader", Imports: []string{"context", "fieldcache/db"}},
		},
		"the program imports everything": {
			p: listed{ImportPath: module, Imports: []string{"fieldcache/graph", "fieldcache/cache/memstore"}},
		},
		"an arrow that is not drawn": {
			p:    listed{ImportPath: "fieldcache/cache", Imports: []string{"fieldcache/db"}},
			want: "fieldcache/cache imports fieldcache/db: no such arrow",
		},
		"a drawn arrow does not reach below": {
			p:    listed{ImportPath: "fieldcache/graph", Imports: []string{"fieldcache/cache/redisstore"}},
			want: "fieldcache/graph imports fieldcache/cache/redisstore: no such arrow",
		},
		"packages below the program do not import it": {
			p:    listed{ImportPath: "fieldcache/internal/serve", Imports: []string{module}},
			want: "fieldcache/internal/serve imports " + module + ": no such arrow",
		},
		"a package without a row": {
			p:    listed{ImportPath: "fieldcache/util"},
			want: "fieldcache/util has no row in the table",
		},
		"the engine knows no GraphQL server": {
			p:    listed{ImportPath: "fieldcache/cache/memstore", Deps: []string{"github.com/99designs/gqlgen/graphql"}},
			want: "fieldcache/cache/memstore depends on github.com/99designs/gqlgen/graphql",
		},
		"but for those that serve it": {
			p: listed{ImportPath: "fieldcache/cache/transport", Deps: []string{"github.com/99designs/gqlgen/graphql"}},
		},
		"the engine knows no Redis": {
			p:    listed{ImportPath: "fieldcache/cache", Deps: []string{"github.com/redis/go-redis/v9"}},
			want: "fieldcache/cache depends on github.com/redis/go-redis/v9",
		},
		"the engine knows no database layer": {
			p:    listed{ImportPath: "fieldcache/cache/outbox", Deps: []string{"database/sql", "github.com/uptrace/bun"}},
			want: "fieldcache/cache/outbox depends on github.com/uptrace/bun",
		},
		"but its tier does": {
			p: listed{ImportPath: "fieldcache/cache/redisstore", Deps: []string{"github.com/redis/go-redis/v9"}},
		},
		"shipped packages do not import the test servers": {
			p:    listed{ImportPath: module, Deps: []string{"fieldcache/internal/testservers"}},
			want: module + " depends on fieldcache/internal/testservers",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(violations([]listed{test.p}), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// violations returns the imports that arrows and bans do not allow.
func violations(packages []listed) []string {
	var found []string
	for _, p := range packages {
		allowed, ok := arrows[p.ImportPath]
		if !ok {
			found = append(found, p.ImportPath+" has no row in the table")
			continue
		}
		for _, i := range p.Imports {
			if matches("fieldcache/...", i) && !slices.Contains(allowed, i) && !slices.Contains(allowed, everything) {
				found = append(found, fmt.Sprintf("%s imports %s: no such arrow", p.ImportPath, i))
			}
		}
		for _, b := range bans {
			if anyMatches(b.except, p.ImportPath) || !anyMatches(b.packages, p.ImportPath) {
				continue
			}
			for _, d := range p.Deps {
				if anyMatches(b.imports, d) {
					found = append(found, fmt.Sprintf("%s depends on %s", p.ImportPath, d))
				}
			}
		}
	}
	return found
}

func anyMatches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// matches reports whether path matches pattern, which may end in /... as on the go command line.
func matches(pattern, path string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == parent || strings.HasPrefix(path, parent+"/")
	}
	return path == pattern
}
