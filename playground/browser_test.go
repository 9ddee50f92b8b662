package playground

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"fieldcache/playground/browsertest"
)

// introspection is the introspection result of the schema `type Query { hello: String! }`.
const introspection = `{"data": {"__schema": {
	"queryType": {"name": "Query"}, "mutationType": null, "subscriptionType": null, "directives": [],
	"types": [
		{"kind": "OBJECT", "name": "Query", "interfaces": [], "fields": [
			{"name": "hello", "args": [], "isDeprecated": false,
				"type": {"kind": "NON_NULL", "name": null, "ofType": {"kind": "SCALAR", "name": "String", "ofType": null}}}
		]},
		{"kind": "SCALAR", "name": "String"},
		{"kind": "SCALAR", "name": "Boolean"}
	]
}}}`

// report is extensions.cache of a gateway that had half of a response in memory.
const report = `{"cache": [
	{"path": ["hello"], "coordinate": "Query.hello", "key": "greeting:1", "tier": "memory", "status": "hit",
		"age": 7, "ttl": 3000, "scope": "public", "tags": ["{Greeting}"], "truth": "rows"},
	{"path": ["hello"], "coordinate": "Query.hello", "key": "greeting:2", "tier": "database", "status": "miss",
		"age": 0, "ttl": 300, "scope": "private", "tags": ["{Greeting}"], "unstored": "evicted meanwhile"}
]}`

// traffic counts what a gateway sends.
type traffic struct {
	bytes    atomic.Int64  // of all bodies
	checking chan struct{} // closed once the worker that checks operations was sent, which the page requests last
}

// gateway serves the playground and a GraphQL endpoint with one field.
func gateway(t *testing.T) (address string, sent *traffic) {
	t.Helper()
	sent = &traffic{checking: make(chan struct{})}
	checking := sync.OnceFunc(func() { close(sent.checking) })
	mux := http.NewServeMux()
	mux.Handle("/", Handler())
	mux.HandleFunc("GET /graphql/cache", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.WriteString(w, `{"debug": false, "policies": {}}`); err != nil {
			t.Errorf("serve /graphql/cache: %v", err)
		}
	})
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Query, OperationName string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/graphql-response+json")
		w.Header().Set("Cache-Status", "fieldcache; hit; ttl=41")
		answer := `{"data": {"hello": "greetings"}}`
		switch {
		case request.OperationName == "IntrospectionQuery":
			answer = introspection
		case r.Header.Get("Cache-Debug") == "1":
			answer = `{"data": {"hello": "greetings"}, "extensions": ` + report + `}`
		}
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Errorf("serve /graphql: %v", err)
		}
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(counting{w, &sent.bytes}, r)
		if strings.HasPrefix(r.URL.Path, "/assets/graphql.worker-") {
			checking()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/", sent
}

// counting counts the bytes of a body as they are sent.
type counting struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func TestInBrowser(t *testing.T) {
	t.Parallel()
	needBuild(t)
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := gateway(t)
			page := browsertest.Open(t, address, browsertest.Options{Dark: dark})
			page.WaitReady()
			page.Wait("the editor to be "+name, fmt.Sprintf(
				`document.querySelector('.monaco-editor').classList.contains('vs-dark') === %t`, dark))

			answer := page.Execute("greetings")
			if want := `"hello": "greetings"`; !strings.Contains(answer, want) {
				t.Errorf("response = %q, want %s in it", answer, want)
			}
			page.Wait("the response headers", `document.querySelector('.answer').innerText.includes('fieldcache; hit; ttl=41')`)

			// A worker checks the operation as it is typed. It runs under the
			// Content-Security-Policy too.
			page.Click(`.graphiql-tab-add`)
			page.Click(`.graphiql-query-editor .view-lines`)
			page.Type("{ hello missing }")
			page.Wait("the error to be underlined", `document.querySelector('.graphiql-query-editor .squiggly-error') !== null`)

			// The formatter and the history are loaded on first use.
			page.Click(`.graphiql-toolbar button[aria-label^="Prettify"]`)
			page.Wait("the formatted operation", `document.querySelectorAll('.graphiql-query-editor .view-line').length >= 4`)
			page.Click(`button[aria-label="Show History"]`)
			page.Wait("the history", `document.querySelector('.graphiql-history-item') !== null`)

			if stored := page.Eval(`JSON.stringify(localStorage)`); !strings.Contains(stored, "graphiql:queries") {
				t.Errorf("local storage %s has no history", stored)
			} else if strings.Contains(stored, `Cache-Debug`) {
				t.Errorf("local storage %s holds headers, and so tokens", stored)
			}
			if problems := page.Problems(); len(problems) > 0 {
				t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
			}
		})
	}
}

// TestExampleTabs opens and runs each of the examples.
func TestExampleTabs(t *testing.T) {
	t.Parallel()
	needBuild(t)
	address, _ := gateway(t)
	page := browsertest.Open(t, address, browsertest.Options{})
	page.WaitReady()
	for _, title := range []string{"Hit", "MixedAges", "Evict", "Psql", "SignedIn", "Miss"} {
		page.Tab(title)
		page.Wait("the operation "+title, fmt.Sprintf(
			`document.querySelector('.graphiql-query-editor .view-lines').innerText.replaceAll('\u00a0', ' ').match(/(query|mutation) %s\b/) !== null`, title))
		page.Execute("greetings")
	}
	if problems := page.Problems(); len(problems) > 0 {
		t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
	}
}

// TestFirstLoad limits what a first visit transfers, compressed, until the operation is visible,
// colored and can be run, with the panel beside it. The check of operations, the documentation and
// the rows of the panel are loaded when they are used.
func TestFirstLoad(t *testing.T) {
	t.Parallel()
	needBuild(t)
	address, sent := gateway(t)
	page := browsertest.Open(t, address, browsertest.Options{})
	page.Wait("the panel", `document.querySelector('.cache-panel') !== null`)
	page.WaitColours()
	const most = 1_250_000
	if got := sent.bytes.Load(); got > most {
		t.Errorf("the first visit transferred %d bytes, want at most %d", got, most)
	} else {
		t.Logf("the first visit transferred %d bytes", got)
	}
	loaded := `performance.getEntriesByType('resource').map((e) => e.name).filter((name) => /assets\/(panel|parts|doc-explorer|graphql\.worker|editor\.worker)-.*\.js$/.test(name)).map((name) => /assets\/([a-z.-]+)-/.exec(name)[1]).join(' ')`
	if got := page.Eval(loaded); got != "panel" {
		t.Errorf("the first visit loaded the chunks %q, want the panel alone", got)
	}
	page.Click(`.graphiql-query-editor .view-lines`)
	<-sent.checking
	page.Click(`button[aria-label="Show Documentation Explorer"]`)
	page.Wait("the schema", `document.querySelector('.graphiql-doc-explorer-content .graphiql-doc-explorer-root-type') !== null`)
	t.Logf("with the check of operations and the documentation: %d bytes", sent.bytes.Load())
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// TestPanelsModel runs the unit tests of the pages, which need no browser. Each test must run,
// whatever the version of Node.
func TestPanelsModel(t *testing.T) {
	t.Parallel()
	needBuild(t)
	output, err := exec.Command("npm", "test").CombinedOutput()
	if err != nil {
		t.Fatalf("npm test: %v\n%s", err, output)
	}
	var tests []string
	err = fs.WalkDir(os.DirFS("src"), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".test.ts") {
			return err
		}
		text, err := os.ReadFile("src/" + name)
		found := regexp.MustCompile(`(?m)^(?:await )?test(?:\.\w+)?\('([^']+)'`).FindAllSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s has no tests", name)
		}
		for _, one := range found {
			tests = append(tests, string(one[1]))
		}
		return err
	})
	if err != nil || len(tests) == 0 {
		t.Fatalf("find the tests: %v; found %q", err, tests)
	}
	for _, name := range tests {
		if !regexp.MustCompile(`(?m)^ok \d+ - ` + regexp.QuoteMeta(name) + `$`).Match(output) {
			t.Errorf("%q did not run", name)
		}
	}
	for _, not := range []string{"skipped", "todo", "cancelled"} {
		if !regexp.MustCompile(`(?m)^# ` + not + ` 0$`).Match(output) {
			t.Errorf("some tests are %s:\n%s", not, output)
		}
	}
}

func needBuild(t *testing.T) {
	t.Helper()
	if !Built() {
		t.Fatal("the playground is not built: run npm ci && npm run build in playground/, then test again")
	}
}

// axe returns the source of axe-core and the parts of the page that it skips: Monaco's colors, and
// GraphiQL's tabs, which contain their close button.
func axe(t *testing.T) (source string, exclude []string) {
	t.Helper()
	text, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run npm ci in playground/, then test again", err)
	}
	return string(text), []string{".monaco-editor", ".graphiql-tab"}
}

func TestPanel(t *testing.T) {
	t.Parallel()
	needBuild(t)
	tests := map[string]browsertest.Options{
		"light":  {},
		"dark":   {Dark: true},
		"narrow": {Width: 380, Height: 800},
	}
	for name, options := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, exclude := axe(t)
			address, _ := gateway(t)
			page := browsertest.Open(t, address, options)
			page.Wait("the editors", `document.querySelector('.graphiql-response .view-lines') !== null`)
			if options.Width > 0 {
				page.Click(".answer-open")
			}
			page.Wait("the panel", `document.querySelector('.cache-welcome') !== null`)
			page.Click(".cache-header button")
			page.Wait("the sentence", `document.querySelector('.cache-sentence')?.innerText === '1 of 2 parts from the cache'`)
			for _, want := range []string{"greeting:1", "memory hit", "7 s old", "rows", "database miss", "private", "evicted meanwhile", "Query.hello decides it"} {
				page.Wait(want, fmt.Sprintf(`document.querySelector('.cache-panel').innerText.includes(%q)`, want))
			}
			if answer := page.Eval(`document.querySelector('.graphiql-response .view-lines').innerText`); strings.Contains(answer, "extensions") {
				t.Errorf("the panel's report is in the response: %s", answer)
			}

			// The bars shrink over time, and their text counts the seconds.
			page.Wait("a second less", `/^4 min \d+ s left$/.test(document.querySelector('.cache-lasting .cache-left').innerText)`)

			page.Click(".cache-headers summary")
			page.Wait("the headers", `document.querySelector('.cache-headers').innerText.includes('The whole response was in memory')`)
			page.Click(".cache-header button")
			page.Wait("the comparison", `document.querySelector('[aria-label="Compared with the last run"]') !== null`)
			for _, found := range page.Axe(source, exclude...) {
				t.Error(found)
			}
			page.Eval(`(document.querySelector('.cache-row .cache-key').scrollIntoView({ block: 'center' }), '')`)
			page.Hover(`document.querySelector('.cache-row .cache-key')`)
			page.Wait("the row under the pointer", `document.querySelector('.cache-row[data-hovered]') !== null`)
			for _, found := range page.Axe(source, exclude...) {
				t.Error(found)
			}
			if moved := page.Eval(`(document.querySelector('.cache-headers').scrollIntoView(), String(document.querySelector('.graphiql-container').scrollTop + scrollY))`); moved != "0" {
				t.Errorf("scrolling in the panel moved the whole page by %s pixels", moved)
			}
			if wide := page.Eval(`String(document.documentElement.scrollWidth > innerWidth)`); wide != "false" {
				t.Error("the page is wider than its window")
			}
			if sideways := page.Eval(`[...document.querySelectorAll('.cache-panel, .cache-panel *')].filter((e) => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX)).map((e) => e.outerHTML.slice(0, 80)).join('\n')`); sideways != "" {
				t.Errorf("the panel scrolls sideways at\n%s", sideways)
			}
			for _, problem := range page.Problems() {
				t.Error(problem)
			}
		})
	}
}

// TestPanelByKeyboard moves through the rows of the panel with the arrow keys, and closes and opens
// one.
func TestPanelByKeyboard(t *testing.T) {
	t.Parallel()
	needBuild(t)
	address, _ := gateway(t)
	page := browsertest.Open(t, address, browsertest.Options{})
	page.WaitReady()
	page.Click(`.graphiql-sidebar button[aria-label="Show Cache"]`)
	page.Click(".cache-header button")
	page.Wait("rows", `document.querySelectorAll('.cache-row').length === 3`)
	page.Eval(`document.querySelector('.cache-row').focus() ?? ''`)
	page.Type(kb.ArrowDown)
	page.Wait("the next row to have the focus", `document.activeElement.getAttribute('aria-label')?.startsWith('#1, greeting:1, hit from memory')`)
	page.Type(kb.ArrowUp)
	page.Type(kb.ArrowLeft)
	page.Wait("the field to be closed", `document.querySelectorAll('.cache-row').length === 1`)
	page.Type(kb.ArrowRight)
	page.Wait("the field to be open", `document.querySelectorAll('.cache-row').length === 3`)
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}
