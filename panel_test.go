package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fieldcache/graph"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
	"fieldcache/internal/testservers"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// panel is the playground of a real server, with its Cache panel.
type panel struct {
	*browsertest.Page
	t *testing.T
}

func openPanel(t *testing.T, p *program) *panel {
	t.Helper()
	return openPanelAs(t, p, browsertest.Options{})
}

func openPanelAs(t *testing.T, p *program, options browsertest.Options) *panel {
	t.Helper()
	if !playground.Built() {
		t.Fatal("the playground is not built: run `make playground`")
	}
	if options.Timeout == 0 {
		options.Timeout = 3 * time.Minute
	}
	page := &panel{browsertest.Open(t, strings.TrimSuffix(p.graphql, "graphql"), options), t}
	page.Wait("the panel", `document.querySelector('.cache-welcome') !== null`)
	page.Wait("the editors", `document.querySelector('.graphiql-response .view-lines') !== null`)
	t.Cleanup(func() {
		for _, problem := range page.Problems() {
			if refused := "status of 403 (Forbidden) " + strings.TrimSuffix(p.graphql, "graphql") + "graphql/cache"; strings.Contains(problem, refused) {
				continue // a browser logs it even if the page handles it
			}
			t.Error(problem)
		}
	})
	return page
}

// axe returns the source of axe-core.
func axe(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("playground/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run npm ci in playground/", err)
	}
	return string(text)
}

// edit sets the text of an editor: operation, variables or request-headers.
func (p *panel) edit(editor, text string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`(__MONACO.editor.getModels().find((m) => m.uri.path.includes(%q)).setValue(%q), '')`, editor, text))
	p.Wait("the editor to show the text", fmt.Sprintf(`__MONACO.editor.getModels().some((m) => m.getValue() === %q)`, text))
}

// operation writes an operation into the editor and waits until GraphiQL knows its name.
func (p *panel) operation(name, text string) {
	p.t.Helper()
	p.edit("operation", text)
	p.Wait("the tab named "+name, fmt.Sprintf(`document.querySelector('.graphiql-tab-active').innerText.includes(%q)`, name))
}

// tab opens an example and waits until its operation is loaded.
func (p *panel) tab(title string) {
	p.t.Helper()
	p.Tab(title)
	p.Wait("the operation "+title, fmt.Sprintf(`/(query|mutation) %s\b/.test(__MONACO.editor.getModels().find((m) => m.uri.path.includes('operation')).getValue())`, title))
}

// run runs the operation and returns the text of the panel.
func (p *panel) run() string {
	p.t.Helper()
	p.Eval(`(window.ranBefore = Number(document.querySelector('.cache-panel').dataset.run ?? 0), '')`)
	p.Click(`.cache-header button`)
	p.Wait("the response", `Number(document.querySelector('.cache-panel').dataset.run ?? 0) > window.ranBefore && document.querySelector('.cache-run:not(.pending)') !== null`)
	p.Wait("the parts of the response", `document.querySelector('.cache-tree') !== null || document.querySelector('.cache-panel').dataset.parts === '0'`)
	return p.text()
}

// text returns the visible text of the panel.
func (p *panel) text() string {
	p.t.Helper()
	return p.Eval(`document.querySelector('.cache-panel').innerText`)
}

// shows checks that text contains the wanted words.
func (p *panel) shows(text string, want ...string) {
	p.t.Helper()
	for _, words := range want {
		if !strings.Contains(text, words) {
			p.t.Errorf("the panel does not show %q:\n%s", words, text)
		}
	}
}

// TestPanelStory goes through the example tabs as a newcomer would.
func TestPanelStory(t *testing.T) {
	t.Parallel()
	database, redisURL := shop(t), testservers.Redis(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL, "REDIS_TIMEOUT=5s")
	page, redis := openPanel(t, p), redisClient(t, redisURL)

	loads := p.metric(t, "fieldcache_loads_total")
	page.shows(page.run(), "All 12 parts read from the database", "user:42", "country:TZ", "database miss", "read along", "rows users(id = 42)", "Cache-Control: max-age=30, public", "Product.stock decides it: 30 s")
	// The panel counts from the report what the gateway counts.
	page.shows(page.text(), fmt.Sprintf("%.0f statements sent", p.metric(t, "fieldcache_loads_total")-loads))
	page.shows(page.run(), "All 12 parts from the cache", "Compared with the last run", "stored since the last run", "memory hit", "no statement sent, 6 saved")
	page.tab("Hit")
	page.shows(page.run(), "from the cache", "customer")
	page.tab("Evict")
	page.shows(page.run(), "Evicted 1 key", "setStock wrote", "{product:7}:stock", "stock of product:7")

	page.tab("Psql")
	page.run()
	page.shows(page.run(), "All 4 parts from the cache", "The data is the same.")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "UPDATE products SET stock = stock + 1 WHERE id = 7"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); redis.Exists(t.Context(), "{product:7}:stock").Val() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a write by psql did not evict {product:7}:stock")
		}
	}
	page.shows(page.run(), "3 of 4 parts from the cache", "evicted with", "s left", "The data changed.", "1 statement sent, 2 saved")

	// Evict by hand: one key, then everything of a type.
	page.Click(`.cache-evict[aria-label="Evict product:7"]`)
	page.Wait("the eviction", `document.querySelector('.cache-said')?.innerText.startsWith('Evicted product:7')`)
	page.shows(page.run(), "product:7 evicted with")
	page.Click(`.cache-chip[aria-label="Evict everything of Product"]`)
	page.Wait("the eviction", `document.querySelector('.cache-said')?.innerText.startsWith('Evicted everything of Product')`)
	page.shows(page.run(), "All 4 parts read from the database")

	// A field with an error beside one without, then many parts of the same kind.
	page.operation("Fault", `query Fault { user(id: 0) { name } country(code: "GB") { name } }`)
	page.shows(page.run(), "An id is a whole number", "country:GB")
	page.operation("Many", `query Many { products(first: 50) { nodes { name price { amount } stock averageRating } } }`)
	page.shows(page.run(), "Parts 201", "×50", "each of the 50")
	for _, dark := range []bool{false, true} {
		page.Scheme(dark)
		page.Wait("the colours", fmt.Sprintf(`(getComputedStyle(document.querySelector('.cache-title')).color.match(/\d+/)[0] > 128) === %t`, dark))
		for _, found := range page.Axe(axe(t), ".monaco-editor", ".graphiql-tab") {
			t.Errorf("dark is %t: %s", dark, found)
		}
	}
	page.Click(`.cache-switch input[type="checkbox"]`) // switches the report off
	page.shows(page.run(), "The report is off", "Response headers")
	page.Click(".cache-headers summary")
	page.Wait("the headers", `/max-age=\d+, public[^]*Any cache on the way may store it/.test(document.querySelector('.cache-headers').innerText)`)
}

// Two viewers request private data in one page: neither sees the other's data, and their runs are
// not compared.
func TestPanelViewers(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s", "JWT_SECRET="+secret)
	page := openPanel(t, p)
	page.tab("SignedIn")
	seen := map[string]string{}
	for _, id := range []int64{42, 7} {
		user := fmt.Sprint(id)
		token, err := serve.SignToken(config.Config{JWTSecret: secret, TokenUser: id, TokenTTL: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		page.edit("request-headers", fmt.Sprintf(`{"Authorization": "Bearer %s"}`, token))
		seen[user] = page.run()
		page.shows(seen[user], "user:"+user, "private", "Cache-Control: max-age=60, private")
		if strings.Contains(seen[user], "Compared with") {
			t.Errorf("user %s is compared with somebody else:\n%s", user, seen[user])
		}
	}
	if strings.Contains(seen["7"], "user:42") || strings.Contains(seen["42"], "user:7") {
		t.Errorf("one viewer sees the other's:\n%s\n%s", seen["42"], seen["7"])
	}
	page.shows(seen["7"], "{user:7}:orders:list", "database miss")
	// The viewer is not an admin: the server refuses the eviction, and the panel says so.
	page.Click(`.cache-evict[aria-label="Evict user:7"]`)
	page.Wait("the refusal", `document.querySelector('.cache-said')?.innerText.includes('only an admin may evict')`)
}

// The policy of a field is part of its description, so it shows on hover and in the documentation.
func TestPanelPolicies(t *testing.T) {
	t.Parallel()
	page := openPanel(t, startAs(t, newGateway))
	page.Click(`button[aria-label="Show Documentation Explorer"]`)
	page.Click(`.graphiql-doc-explorer-content a.graphiql-doc-explorer-type-name`)
	page.Wait("the root fields", `[...document.querySelectorAll('.graphiql-doc-explorer-field-name')].some((a) => a.textContent === 'search')`)
	page.Eval(`([...document.querySelectorAll('.graphiql-doc-explorer-field-name')].find((a) => a.textContent === 'search').click(), '')`)
	page.Wait("the policy", `document.querySelector('.graphiql-doc-explorer').innerText.includes('Cache: 30 s, public')`)

	page.operation("Pointed", "query Pointed {\n  product(id: 7) {\n    stock\n    missing\n  }\n}")
	page.Click(`.graphiql-query-editor .view-lines`)
	page.Wait("the schema to be known", `document.querySelector('.graphiql-query-editor .squiggly-error') !== null`)
	page.Hover(`[...document.querySelectorAll('.graphiql-query-editor .view-line span span')].find((e) => e.textContent.trim() === 'stock')`)
	page.Wait("the policy", `[...document.querySelectorAll('.monaco-hover')].some((e) => e.innerText.replaceAll('\u00a0', ' ').includes('Cache: 30 s, public, true by rows products'))`)
}

// Counts depend on the rows of their lists. A write evicts them, so the report does not say that
// only their age does.
func TestReportTellsOfWhatCountsAreMade(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	_, text := send(t, http.MethodPost, p.graphql, `{"query": "{ user(id: 42) { reviews(first: 2) { totalCount } } products(first: 1) { totalCount } }"}`, "Content-Type: application/json", graph.DebugHeader+": 1")
	if strings.Contains(text, `"truth":"ttl"`) || !strings.Contains(text, `"coordinate":"ReviewConnection.totalCount"`) {
		t.Errorf("got the report %s, want a count without the truth ttl", text)
	}
	_, offered := send(t, http.MethodGet, p.graphql+"/cache", "")
	for _, coordinate := range []string{"ReviewConnection.totalCount", "ProductConnection.totalCount"} {
		if got := regexp.MustCompile(`"` + coordinate + `":\{[^}]*\}[^}]*"truth":"(\w+)"`).FindStringSubmatch(offered); len(got) < 2 || got[1] != "rows" {
			t.Errorf("%s: got the truth %v, want rows", coordinate, got)
		}
	}
}

// The report states the Cache-Control that the response has without the report, and which
// coordinates decided it.
func TestReportTellsThePolicy(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	for query, want := range map[string]struct{ maxAgeFrom, scopeFrom string }{
		`{ country(code: "GB") { name } }`:                                       {"Query.country", ""},
		`{ product(id: 7) { name stock } }`:                                      {"Product.stock", ""},
		`{ product(id: 7) { ...p } } fragment p on Product { price { amount } }`: {"Product.price", ""},
		`{ user(id: 42) { name email } }`:                                        {"Query.user", "User.email"},
		`{ user(id: 0) { name } }`:                                               {"", ""},
	} {
		body, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Fatal(err)
		}
		_, text := send(t, http.MethodPost, p.graphql, string(body), "Content-Type: application/json", graph.DebugHeader+": 1")
		var answer struct {
			Extensions struct {
				CachePolicy struct{ CacheControl, MaxAgeFrom, ScopeFrom string }
			}
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		res, _ := send(t, http.MethodPost, p.graphql, string(body), "Content-Type: application/json")
		got := answer.Extensions.CachePolicy
		if got.CacheControl != res.Header.Get("Cache-Control") || got.MaxAgeFrom != want.maxAgeFrom || got.ScopeFrom != want.scopeFrom {
			t.Errorf("%s: got %+v, want %+v and the Cache-Control %s", query, got, want, res.Header.Get("Cache-Control"))
		}
	}
}
