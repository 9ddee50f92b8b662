package browsertest

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// WaitReady waits until GraphiQL has its editors and the schema.
func (p *Page) WaitReady() {
	p.t.Helper()
	p.WaitColours()
	// The documentation shows the root types once there is a schema.
	p.Click(`button[aria-label="Show Documentation Explorer"]`)
	p.Wait("the schema", `document.querySelector('.graphiql-doc-explorer-content .graphiql-doc-explorer-root-type') !== null`)
	p.Click(`button[aria-label="Hide Documentation Explorer"]`)
}

// WaitColours waits until GraphiQL has its editors and the operation is colored.
func (p *Page) WaitColours() {
	p.t.Helper()
	p.Wait("the editors", `document.querySelector('.graphiql-response .view-lines') !== null`)
	// Monaco loads the coloring rules when it first shows an operation.
	p.Wait("colours", `new Set([...document.querySelectorAll('.graphiql-query-editor .view-line span')]
		.map((word) => getComputedStyle(word).color)).size > 2`)
}

// Tab opens the tab with the title.
func (p *Page) Tab(title string) {
	p.t.Helper()
	p.Click(fmt.Sprintf(`[role="tab"] button[title=%q]`, title))
}

// Execute runs the operation in the editor with the button, waits until the response contains want,
// and returns the visible part of the response.
func (p *Page) Execute(want string) string {
	p.t.Helper()
	p.Click(`.graphiql-execute-button`)
	answer := `(document.querySelector('.graphiql-response .view-lines')?.innerText ?? '').replaceAll('\u00a0', ' ')`
	p.Wait("the answer to show "+strconv.Quote(want), fmt.Sprintf("%s.includes(%q)", answer, want))
	return p.Eval(answer)
}

// Click clicks the element that matches the CSS selector once it is visible. It clicks again if the
// element moved away before the click arrived, as it may while a page is loading.
func (p *Page) Click(selector string) {
	p.t.Helper()
	for arrived := "false"; arrived == "false"; arrived = p.Eval(`String(window.clickArrived)`) {
		// A button with a menu opens it when the pointer is down, and the menu gets the click.
		p.Eval(`(() => {
			window.clickArrived = false;
			for (const kind of ['pointerdown', 'click']) {
				document.addEventListener(kind, ({ target }) => {
					const button = target.closest(` + strconv.Quote(selector) + `);
					window.clickArrived ||= button !== null && (kind === 'click' || button.ariaHasPopup !== null);
				}, { capture: true, once: true });
			}
			return '';
		})()`)
		p.call("click "+selector, func() error {
			return chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
		})
	}
}

// Hover moves the pointer to the center of the element that the JavaScript expression returns.
func (p *Page) Hover(expression string) {
	p.t.Helper()
	var x, y float64
	place := p.Eval(`(({ left, top, width, height }) => (left + width / 2) + ' ' + (top + height / 2))((` + expression + `).getBoundingClientRect())`)
	if _, err := fmt.Sscan(place, &x, &y); err != nil {
		p.t.Fatalf("where %s is: %q: %v", expression, place, err)
	}
	p.call("hover over "+expression, func() error { return chromedp.Do(p.ctx, chromedp.MouseEvent(chromedp.MouseMoved, x, y)) })
}

// Type types text where the focus is.
func (p *Page) Type(text string) {
	p.t.Helper()
	p.call("type "+text, func() error { return chromedp.Do(p.ctx, chromedp.KeyEvent(text)) })
}

// Wait waits until the JavaScript expression is true; what describes it.
func (p *Page) Wait(what, expression string) {
	p.t.Helper()
	p.call("wait for "+what, func() error {
		return chromedp.Do(p.ctx, chromedp.Poll[chromedp.Void](expression,
			chromedp.WithPollingInterval(50*time.Millisecond),
			chromedp.WithPollingTimeout(0), // Options.Timeout limits it
		))
	})
}

// Eval returns the string that the JavaScript expression evaluates to.
func (p *Page) Eval(expression string) string {
	p.t.Helper()
	var value string
	p.call("evaluate "+expression, func() (err error) {
		value, err = chromedp.Run(p.ctx, chromedp.Evaluate[string](expression))
		return err
	})
	return value
}

// Screenshot writes the window to a PNG file.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	p.call("screenshot", func() error {
		image, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			return err
		}
		return os.WriteFile(name, image, 0o644)
	})
}

// Axe checks the page for accessibility and returns the violations, one line for each rule and
// element. source is the source of axe-core; exclude are CSS selectors to skip.
func (p *Page) Axe(source string, exclude ...string) []string {
	p.t.Helper()
	return p.axe(source, map[string][]string{"exclude": append([]string{}, exclude...)})
}

// AxeOf checks only the elements that match the CSS selectors, which must exist, such as a menu
// over parts that Axe skips.
func (p *Page) AxeOf(source string, include ...string) []string {
	p.t.Helper()
	return p.axe(source, map[string][]string{"include": include})
}

func (p *Page) axe(source string, of map[string][]string) []string {
	p.t.Helper()
	if p.Eval(`typeof axe`) == "undefined" {
		p.Eval(source + "\n;''")
	}
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(p.Rules) > 0 {
		options["runOnly"] = p.Rules
	}
	context, err := json.Marshal(of)
	if err != nil {
		p.t.Fatalf("axe: %v", err)
	}
	how, err := json.Marshal(options)
	if err != nil {
		p.t.Fatalf("axe: %v", err)
	}
	// An element that fades in has too little contrast.
	p.Wait("transitions", `!document.getAnimations().some((a) => a instanceof CSSTransition && a.playState === 'running')`)
	p.Eval(`(() => {
		window.axeFound = undefined;
		axe.run(` + string(context) + `, ` + string(how) + `).then(
			({ violations }) => { window.axeFound = violations.flatMap((v) =>
				v.nodes.map((n) => v.id + ': ' + n.target.join(' ') + ': ' + (n.any[0] ?? n.all[0] ?? n.none[0])?.message)); },
			(error) => { window.axeFound = ['axe failed: ' + error]; });
		return '';
	})()`)
	p.Wait("axe", `window.axeFound !== undefined`)
	found := p.Eval(`window.axeFound.join('\n')`)
	if found == "" {
		return nil
	}
	return strings.Split(found, "\n")
}

// Scheme switches between dark and light, as the settings of the machine do.
func (p *Page) Scheme(dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.call("emulate "+scheme, func() error {
		_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// Resize sets the size of the window in pixels.
func (p *Page) Resize(width, height int) {
	p.t.Helper()
	p.call("set the size", func() error {
		return chromedp.Do(p.ctx, chromedp.EmulateViewport(int64(width), int64(height)))
	})
}

// Memory is the memory use of a page.
type Memory struct {
	Bytes     int64 // of JavaScript's heap
	Nodes     int64 // of the document, and detached ones that are still referenced
	Listeners int64
}

// Memory returns the memory use of the page after a garbage collection.
func (p *Page) Memory() Memory {
	p.t.Helper()
	var held Memory
	p.call("measure the memory", func() error {
		if _, err := chromedp.Call(p.ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return err
		}
		heap, err := chromedp.Call(p.ctx, runtime.GetHeapUsage, cdp.Empty{})
		if err != nil {
			return err
		}
		document, err := chromedp.Call(p.ctx, memory.GetDOMCounters, cdp.Empty{})
		if err != nil {
			return err
		}
		held = Memory{Bytes: int64(heap.UsedSize), Nodes: document.Nodes, Listeners: document.JsEventListeners}
		return nil
	})
	return held
}
