package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"fieldcache/internal/testservers"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// opened is a part of a page that is visible only after an action.
type opened struct {
	name string
	open func()
	seen string   // JavaScript that reports whether it is shown
	of   []string // selectors that axe checks; if empty, all but the editors
	but  []string // start of faults in Monaco that a style sheet cannot fix
	shut func()
}

// What opens in or over the playground is as accessible as the initial page.
func TestPanelOpened(t *testing.T) {
	t.Parallel()
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s")
			page := openPanelAs(t, p, browsertest.Options{Dark: dark, Timeout: 5 * time.Minute})
			if dark {
				page.Rules = []string{"color-contrast"} // the other rules do not depend on colors
			}
			page.WaitReady()
			page.Click(`.graphiql-sidebar button[aria-label="Show Cache"]`)
			click := func(selector string) func() { return func() { page.Click(selector) } }
			escape := func() { page.Type(kb.Escape) }
			sidebar := func(label string) func() { return click(fmt.Sprintf(`.graphiql-sidebar button[aria-label=%q]`, label)) }
			inEditor := func(text string) {
				page.operation("Pointed", text)
				page.Click(`.graphiql-query-editor .view-lines`)
			}
			shown := func(selector string) string {
				return fmt.Sprintf(`document.querySelector(%q)?.checkVisibility() === true`, selector)
			}
			for _, o := range []opened{
				{name: "a tab's parts", open: func() { page.tab("MixedAges"); page.run(); page.run() }, seen: shown(".cache-tree")},
				{name: "many parts", open: func() {
					page.operation("Many", `query Many { products(first: 50) { nodes { name price { amount } stock } } }`)
					page.run()
					page.Click(`.cache-row[aria-label^="each of"] .cache-chevron`)
				}, seen: `document.querySelectorAll('.cache-row').length > 50`},
				{name: "the headers", open: click(".cache-headers summary"), seen: shown(".cache-headers[open] dd")},
				{name: "evicted by hand", open: click(".cache-evict"), seen: shown(".cache-said")},
				{name: "the evictions of a mutation", open: func() { page.tab("Evict"); page.run() }, seen: shown(".cache-evicted")},
				{name: "errors", open: func() {
					page.operation("Fault", `query Fault { user(id: 0) { name } country(code: "GB") { name } }`)
					page.run()
				}, seen: shown(".cache-errors")},
				{name: "the policy under the pointer", open: func() {
					inEditor("query Pointed {\n  product(id: 7) {\n    stock\n    missing\n  }\n}")
					page.Wait("the schema", shown(".graphiql-query-editor .squiggly-error"))
					page.Hover(`[...document.querySelectorAll('.graphiql-query-editor .view-line span span')].find((e) => e.textContent.trim() === 'stock')`)
				}, seen: `[...document.querySelectorAll('.monaco-hover')].some((e) => e.checkVisibility() && e.innerText.includes('Cache:'))`, of: []string{".monaco-hover"}, shut: escape},
				{name: "completions", open: func() {
					inEditor("query Pointed { product(id: 7) { } }")
					page.Eval(`(() => { const e = __MONACO.editor.getEditors().find((e) => e.getModel()?.uri.path.includes('operation')); e.setPosition({ lineNumber: 1, column: 34 }); e.focus(); e.trigger('test', 'editor.action.triggerSuggest', {}); return ''; })()`)
				}, seen: `document.querySelectorAll('.suggest-widget.visible .monaco-list-row').length > 2`, of: []string{".suggest-widget"}, but: []string{
					"aria-valid-attr-value: .monaco-list:", "label-content-name-mismatch: #suggest-aria-id",
				}, shut: escape},
				{name: "the operations to choose from", open: func() {
					inEditor("query Pointed { product(id: 7) { name } } query Other { product(id: 8) { name } }")
					page.Wait("a menu of both operations", `document.querySelector('.graphiql-execute-button')?.getAttribute('aria-haspopup') === 'menu'`)
					page.Click(`.graphiql-execute-button`)
				}, seen: shown(`[role="menu"]`), of: []string{`[role="menu"]`}, shut: func() {
					escape()
					page.Wait("the menu to be gone", `document.querySelector('[role="menu"]') === null && getComputedStyle(document.body).pointerEvents !== 'none'`)
				}},
				{name: "a tool's name", open: func() { page.Hover(`document.querySelector('.graphiql-toolbar button')`) }, seen: shown(".graphiql-tooltip"), of: []string{".graphiql-tooltip"}},
				{name: "variables", open: func() { page.Click(`.graphiql-editor-tools button[aria-label="Show editor tools"]`) }, seen: shown(".graphiql-editor-tool")},
				{name: "the documentation", open: sidebar("Show Documentation Explorer"), seen: shown(".graphiql-doc-explorer-root-type")},
				{name: "a type", open: click(`.graphiql-doc-explorer-content a.graphiql-doc-explorer-type-name`), seen: shown(".graphiql-doc-explorer-field-name")},
				{name: "a search in it", open: func() {
					page.Click(`.graphiql-doc-explorer-search input`)
					page.Type("ra")
				}, seen: shown(`.graphiql-doc-explorer-search [role="option"]`), of: []string{".graphiql-doc-explorer"}, shut: escape},
				{name: "a field", open: func() {
					page.Eval(`([...document.querySelectorAll('.graphiql-doc-explorer-field-name')].find((a) => a.textContent === 'search').click(), '')`)
				}, seen: `document.querySelector('.graphiql-doc-explorer').innerText.includes('Cache: 30 s')`},
				{name: "the history", open: sidebar("Show History"), seen: shown(".graphiql-history-item")},
				{name: "a label in it", open: click(`.graphiql-history-item button[aria-label="Edit label"]`), seen: shown(".graphiql-history-item input")},
				{name: "short keys", open: sidebar("Open short keys dialog"), seen: shown(".graphiql-dialog"), shut: escape},
				{name: "the settings", open: sidebar("Open settings dialog"), seen: shown(".graphiql-dialog"), shut: escape},
			} {
				o.open()
				page.Wait(o.name, o.seen)
				var found []string
				if len(o.of) > 0 {
					found = page.AxeOf(axe(t), o.of...)
				} else {
					found = page.Axe(axe(t), ".monaco-editor", ".graphiql-tab")
				}
				for _, one := range found {
					if slices.ContainsFunc(o.but, func(start string) bool { return strings.HasPrefix(one, start) }) {
						continue
					}
					t.Errorf("%s: %s", o.name, one)
				}
				if dir := os.Getenv("SCREENSHOTS"); dir != "" {
					page.Screenshot(filepath.Join(dir, fmt.Sprintf("opened %s %s.png", name, o.name)))
				}
				if o.shut != nil {
					o.shut()
				}
			}
		})
	}
}

// Every state of the operator's page is as accessible as the initial one.
func TestOperatorsPageOpened(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	for name, options := range map[string]browsertest.Options{"light": {Width: 1280, Height: 1250}, "dark": {Dark: true, Width: 380, Height: 800}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startAs(t, newGateway) // without Redis
			page := browsertest.Open(t, p.admin, options)
			look := func(key string) func() {
				return func() {
					page.Eval(`(document.querySelector('#key').value = '', document.querySelector('#key').focus(), '')`)
					page.Type(key + kb.Enter)
				}
			}
			contains := func(selector, text string) string {
				return fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q) === true`, selector, text)
			}
			states := []opened{
				{name: "at first", open: func() {}, seen: `document.querySelector('#live').textContent === 'live' && document.querySelectorAll('#charts canvas').length === 6 && ` +
					contains("#coordinates", "Nothing has been asked for yet.") + " && " + contains("#redis-state", "There is none")},
				{name: "a key that is not there", open: look("nothing:1"), seen: contains("#entry", "Nothing is cached under nothing:1.")},
				{name: "rows of the table", open: func() { p.query(t, `{ user(id: 3) { name } products(first: 9) { nodes { name stock } } }`) }, seen: contains("#coordinates", "Product.stock")},
				{name: "a key", open: look("product:3"), seen: contains("#entry pre", "name")},
				{name: "a private key", open: look("user:3"), seen: contains("#entry", "may be of one viewer only")},
				{name: "evicted", open: func() { page.Click("#evict") }, seen: contains("#entry", "Evicted user:3.") + " && " + contains("#evictions", "hand")},
				{name: "not evicted", open: func() { page.Click("#evict") }, seen: contains("#entry", "Nothing was cached under user:3")},
				{name: "a long eviction", open: func() {
					keys := strings.Repeat(`"product:1", `, 19) + `"product:2"`
					for i := range 19 {
						keys = strings.Replace(keys, `"product:1"`, fmt.Sprintf(`"product:%d"`, 100+i), 1)
					}
					send(t, http.MethodPost, p.admin+"evict", `{"keys": [`+keys+`]}`, "Content-Type: application/json")
				}, seen: `document.querySelector('#evictions [data-more]') !== null`},
				{name: "all of its keys", open: func() { page.Click("#evictions [data-more]") }, seen: `document.querySelector('#evictions [data-more]') === null && ` + contains("#evictions", "product:118")},
				{name: "a filter without matches", open: func() { page.Click("#filter"); page.Type("nothing") }, seen: contains("#evictions", "None of the last evictions matches.")},
			}
			for _, order := range []string{"ascending", "descending"} {
				states = append(states, opened{
					name: order + " by coordinate", open: func() { page.Eval(`(document.querySelector('#coordinates th:first-child button').click(), '')`) },
					seen: fmt.Sprintf(`document.querySelector('#coordinates th:first-child').getAttribute('aria-sort') === %q`, order),
				})
			}
			states = append(states,
				opened{name: "paused", open: func() { page.Click("#pause") }, seen: `document.querySelector('#pause').getAttribute('aria-pressed') === 'true'`},
				opened{name: "alone", open: func() {
					for _, problem := range page.Problems() { // later problems are expected: the server stops
						t.Error(problem)
					}
					p.signals <- os.Interrupt
				}, seen: contains("#live", "does not answer")},
			)
			for _, o := range states {
				o.open()
				page.Wait(o.name, o.seen)
				for _, one := range page.Axe(axe(t)) {
					t.Errorf("%s: %s", o.name, one)
				}
			}
		})
	}
}

// In a narrow window, a table shows that it scrolls sideways, says so, and scrolls by keyboard.
func TestOperatorsPageSideways(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	p := startAs(t, newGateway)
	page := browsertest.Open(t, p.admin, browsertest.Options{Width: 380, Height: 800})
	p.query(t, `{ products(first: 9) { nodes { name stock } } }`)
	page.Wait("rows", `document.querySelector('#coordinates tbody code') !== null && document.querySelector('#tiers tbody tr') !== null`)
	page.Eval(`(() => {
		window.region = document.querySelector('#coordinates').parentElement;
		window.hint = () => document.getElementById(region.getAttribute('aria-describedby') ?? '');
		window.wide = [...document.querySelectorAll('body *')].filter((e) => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX));
		return '';
	})()`)
	if got := page.Eval(`wide.filter((e) => e.tabIndex !== 0 || e.getAttribute('role') !== 'group' || !document.getElementById(e.getAttribute('aria-labelledby'))?.innerText).map((e) => e.outerHTML.slice(0, 80)).join('\n')`); got != "" {
		t.Errorf("these scroll sideways but have no label or take no focus:\n%s", got)
	}
	if n := page.Eval(`String(wide.length)`); n == "0" || n == "1" {
		t.Errorf("%s regions scroll sideways, want the fields and the tiers at least", n)
	}
	if got := page.Eval(`wide.filter((e) => e.dataset.more !== 'right' || getComputedStyle(e).boxShadow === 'none' || !document.getElementById(e.getAttribute('aria-describedby') ?? '')?.checkVisibility()).map((e) => e.outerHTML.slice(0, 80)).join('\n')`); got != "" {
		t.Errorf("nothing shows that these scroll sideways:\n%s", got)
	}
	if got := page.Eval(`hint().innerText`); got != "Scroll sideways for more columns →" {
		t.Errorf("the hint is %q", got)
	}
	page.Eval(`(region.focus(), '')`)
	page.Type(kb.ArrowRight)
	page.Wait("the region to scroll", `region.scrollLeft > 0 && region.dataset.more === 'left right'`)
	page.Eval(`(region.scrollLeft = 1e6, '')`)
	page.Wait("the end of the region", `region.dataset.more === 'left' && hint().innerText.endsWith('←')`)
	page.Resize(1500, 900)
	page.Wait("the region to fit", `region.dataset.more === '' && !region.hasAttribute('aria-describedby') && [...document.querySelectorAll('.sideways')].every((e) => !e.checkVisibility())`)
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}
