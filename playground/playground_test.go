package playground

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// page is long enough to be worth compressing.
var page = "<!doctype html><title>fieldcache</title>" + strings.Repeat("<p>text</p>", 200)

var files = fstest.MapFS{
	".gitkeep":                  {},
	"index.html":                {Data: []byte(page)},
	"licenses.md":               {Data: []byte("# Licenses")},
	"assets/index-C60Ap3Jt.js":  {Data: []byte("export {}")},
	"assets/index-CsFMfCyV.css": {Data: []byte("body {}")},
	"assets/codicon-DCmgc.ttf":  {Data: []byte("font")},
	"assets/favicon-zT6mk.svg":  {Data: []byte("<svg/>")},
}

const immutable = "public, max-age=31536000, immutable"

func TestHandler(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path string
		status       int
		mime, cache  string
		body         string
	}{
		"page":                      {"GET", "/", 200, "text/html; charset=utf-8", "no-cache", page},
		"head":                      {"HEAD", "/", 200, "text/html; charset=utf-8", "no-cache", ""},
		"script":                    {"GET", "/assets/index-C60Ap3Jt.js", 200, "text/javascript; charset=utf-8", immutable, "export {}"},
		"style":                     {"GET", "/assets/index-CsFMfCyV.css", 200, "text/css; charset=utf-8", immutable, "body {}"},
		"font":                      {"GET", "/assets/codicon-DCmgc.ttf", 200, "font/ttf", immutable, "font"},
		"icon":                      {"GET", "/assets/favicon-zT6mk.svg", 200, "image/svg+xml", immutable, "<svg/>"},
		"licences":                  {"GET", "/licenses.md", 200, "text/markdown; charset=utf-8", "no-cache", "# Licenses"},
		"unknown":                   {"GET", "/nothing", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
		"no listing":                {"GET", "/assets/", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
		"no second page":            {"GET", "/index.html", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
		"no hidden file":            {"GET", "/.gitkeep", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
		"a path outside the folder": {"GET", "/../playground.go", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
		"operation":                 {"POST", "/", 405, "text/plain; charset=utf-8", "", "the playground is read by GET; send GraphQL operations to /graphql\n"},
		"unknown and post":          {"POST", "/nothing", 404, "text/plain; charset=utf-8", "", "nothing here: the playground is at /, GraphQL at /graphql\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := serve(newHandler(files), tt.method, tt.path, nil)
			if got.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", got.StatusCode, tt.status)
			}
			if body := read(t, got.Body); body != tt.body {
				t.Errorf("body = %q, want %q", body, tt.body)
			}
			want := map[string]string{
				"Content-Type":            tt.mime,
				"Cache-Control":           tt.cache,
				"Content-Security-Policy": policy,
				"X-Content-Type-Options":  "nosniff",
				"Referrer-Policy":         "no-referrer",
			}
			if tt.status == http.StatusMethodNotAllowed {
				want["Allow"] = "GET, HEAD"
			}
			checkHeader(t, got.Header, want)
		})
	}
}

func TestRevalidate(t *testing.T) {
	t.Parallel()
	h := newHandler(files)
	tag := serve(h, "GET", "/", nil).Header.Get("ETag")
	if tag == "" {
		t.Fatal("the page has no ETag")
	}
	got := serve(h, "GET", "/", http.Header{"If-None-Match": {tag}})
	if body := read(t, got.Body); got.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("the same page again: status %d, body %q, want 304 and an empty body", got.StatusCode, body)
	}

	changed := fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}}
	got = serve(newHandler(changed), "GET", "/", http.Header{"If-None-Match": {tag}})
	if got.StatusCode != http.StatusOK {
		t.Errorf("a changed page: status %d, want 200", got.StatusCode)
	}
}

func TestCompress(t *testing.T) {
	t.Parallel()
	got := serve(newHandler(files), "GET", "/", http.Header{"Accept-Encoding": {"gzip"}})
	checkHeader(t, got.Header, map[string]string{"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
	plain, err := gzip.NewReader(got.Body)
	if err != nil {
		t.Fatalf("read the compressed body: %v", err)
	}
	if body := read(t, plain); body != page {
		t.Errorf("body = %q, want the page", body)
	}
}

func TestPolicyIsStrict(t *testing.T) {
	t.Parallel()
	for _, directive := range strings.Split(policy, "; ") {
		name, sources, _ := strings.Cut(directive, " ")
		if strings.Contains(sources, ":") && sources != "'self' data:" {
			t.Errorf("%s allows another origin: %s", name, sources)
		}
		if strings.Contains(sources, "unsafe") && name != "style-src" {
			t.Errorf("%s allows unsafe sources: %s", name, sources)
		}
	}
}

func TestWithoutBuild(t *testing.T) {
	t.Parallel()
	empty := fstest.MapFS{".gitkeep": {}}
	if built(empty) {
		t.Error("built returned true for an empty folder")
	}
	h := newHandler(empty)
	got := serve(h, "GET", "/", nil)
	body := read(t, got.Body)
	if got.StatusCode != http.StatusOK || !strings.Contains(body, "<title>fieldcache</title>") {
		t.Fatalf("status %d and %q, want gqlgen's page", got.StatusCode, body)
	}

	csp := got.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'; script-src https://cdn.jsdelivr.net/npm/react@",
		"graphiql.min.js 'sha256-",
		"style-src 'unsafe-inline' https://cdn.jsdelivr.net/npm/graphiql@",
		"connect-src 'self';",
		"frame-ancestors 'none'",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %q", csp, want)
		}
	}
	// Each file of the page is allowed by its own address; the CDN as a whole is not.
	if strings.Contains(csp, "cdn.jsdelivr.net ") || strings.Contains(csp, "script-src 'unsafe") {
		t.Errorf("policy %q allows more than the page needs", csp)
	}
	if got := strings.Count(csp, "https://"); got != strings.Count(body, `integrity="`) {
		t.Errorf("policy %q allows %d files, want as many as the page names with a hash", csp, got)
	}

	if got := serve(h, "GET", "/assets/index.js", nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("a file of the missing build: status %d, want 404", got.StatusCode)
	}
	if got := serve(h, "POST", "/", nil); got.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("an operation to the page: status %d, want 405", got.StatusCode)
	}
}

// TestEmbedded checks what is embedded: the build, or its absence.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	if got := serve(Handler(), "GET", "/", nil); got.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", got.StatusCode)
	}
	err := fs.WalkDir(build(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != ".gitkeep" && mimeType(name) == "application/octet-stream" {
			t.Errorf("%s has no type that browsers accept", name)
		}
		return err
	})
	if err != nil {
		t.Errorf("read the build: %v", err)
	}
}

// TestExamples validates the example operations against the schema that they are written for.
func TestExamples(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("src/examples.ts")
	if err != nil {
		t.Fatal(err)
	}
	schema := loadSchema(t)
	queries := regexp.MustCompile("(?s)query: `(.*?)`").FindAllStringSubmatch(string(source), -1)
	if len(queries) < 6 {
		t.Fatalf("found %d examples, want at least 6", len(queries))
	}
	for _, q := range queries {
		if _, err := gqlparser.LoadQueryWithRules(schema, q[1], rules.NewDefaultRules()); err != nil {
			t.Errorf("%v in\n%s", err, q[1])
		}
	}
}

func loadSchema(t *testing.T) *ast.Schema {
	t.Helper()
	names, err := fs.Glob(os.DirFS("../graph/schema"), "*.graphqls")
	if err != nil || len(names) == 0 {
		t.Fatalf("no schema in graph/schema: %v", err)
	}
	var sources []*ast.Source
	for _, name := range names {
		text, err := os.ReadFile("../graph/schema/" + name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, &ast.Source{Name: name, Input: string(text)})
	}
	schema, err := gqlparser.LoadSchema(sources...)
	if err != nil {
		t.Fatalf("load the schema: %v", err)
	}
	return schema
}

// A file may take longer than the server's WriteTimeout, compressed or not.
func TestFilesOutlastTheServersTimeout(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(newHandler(files))
	s.Config.WriteTimeout = time.Nanosecond
	s.Start()
	defer s.Close()
	for _, encoding := range []string{"gzip", "identity"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		got, err := s.Client().Do(r)
		if err != nil {
			t.Errorf("%s: %v", encoding, err)
			continue
		}
		if _, err := io.Copy(io.Discard, got.Body); err != nil || got.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s, %v", encoding, got.Status, err)
		}
		_ = got.Body.Close()
	}
}

func serve(h http.Handler, method, path string, header http.Header) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return string(body)
}

func checkHeader(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s = %q, want %q", name, got.Get(name), value)
		}
	}
}
