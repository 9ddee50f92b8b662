// Package browsertest opens the playground in a headless Chromium for tests, works in it as a person
// would, and notes everything that a page which keeps to itself must not do.
package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Options say how a page is looked at; the zero value is a light page of 1280 x 800 pixels.
type Options struct {
	Dark          bool // what prefers-color-scheme says
	Width, Height int  // of the window, in pixels
	// Timeout bounds all that is done with the page together; five minutes when zero.
	Timeout time.Duration
}

// A Page is one page in a browser of its own. Its methods end the test when the page does not do what
// they wait for. It is used by one goroutine.
type Page struct {
	// Rules are those that Axe and AxeOf check, by their IDs; all if it is empty.
	Rules []string

	t      testing.TB
	ctx    context.Context
	origin string

	mu       sync.Mutex // guards what follows
	problems []string
	workers  []<-chan struct{} // one for each worker, closed once it is watched
}

// Open starts a browser on an empty profile and opens the address in it. The browser is the one that
// CHROME_BIN names, or else the Chromium or Chrome that is installed; without one the test ends. It is
// closed when the test ends.
func Open(t testing.TB, address string, o Options) *Page {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatalf("open a page: %v", err)
	}
	if o.Width == 0 || o.Height == 0 {
		o.Width, o.Height = 1280, 800
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute // beside other browsers, on however busy a machine
	}
	p := &Page{t: t, origin: parsed.Scheme + "://" + parsed.Host}

	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags(t, o)...)
	t.Cleanup(cancel) // Waits for the browser's end, so that its profile can be removed.
	p.ctx, _ = chromedp.NewContext(ctx, chromedp.WithListener(p.watch("page")))
	t.Cleanup(func() {
		// Closes the browser as its window would, so that it is done with its profile.
		if err := chromedp.Cancel(p.ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
	})

	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	p.Scheme(o.Dark)
	p.call("watch workers", func() error {
		// They wait until they are watched, so that their first request is seen as well.
		_, err := chromedp.Call(p.ctx, target.SetAutoAttach, target.SetAutoAttachParams{
			AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true),
		})
		return err
	})
	p.call("report violations", func() error {
		_, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: reportViolations,
		})
		return err
	})
	p.Resize(o.Width, o.Height)
	p.call("open "+address, func() error { return chromedp.Do(p.ctx, chromedp.Navigate(address)) })
	return p
}

// reportViolations brings what the Content-Security-Policy forbade to the console, where it is noted.
const reportViolations = `addEventListener('securitypolicyviolation', (e) =>
	console.error('Content-Security-Policy: ' + e.effectiveDirective + ' forbids ' + (e.blockedURI || 'inline')));`

func flags(t testing.TB, o Options) []chromedp.ExecAllocatorOption {
	t.Helper()
	list := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(o.Width, o.Height),
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		// No name is looked up: what works here works without internet.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	if os.Geteuid() == 0 {
		list = append(list, chromedp.NoSandbox) // Chromium's sandbox does not work for root.
	}
	return list
}

func browser(t testing.TB) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	if set := os.Getenv("CHROME_BIN"); set != "" {
		names = []string{set}
	}
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Fatalf("no browser: looked for %q; install the package chromium (apt-get install chromium), "+
		"or set CHROME_BIN to a Chromium or Chrome", names)
	return ""
}

// Problems are what the page and its workers did wrong so far: errors and warnings on the console,
// exceptions, what the Content-Security-Policy forbade, requests to other origins and failed ones.
func (p *Page) Problems() []string {
	p.mu.Lock()
	workers := slices.Clone(p.workers)
	p.mu.Unlock()
	for _, attached := range workers {
		<-attached
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.problems)
}

// maxProblem bounds a problem in bytes: the address of a font may have a hundred thousand.
const maxProblem = 500

func (p *Page) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	problem := fmt.Sprintf(format, args...)
	if len(problem) > maxProblem {
		problem = problem[:maxProblem] + "…"
	}
	p.problems = append(p.problems, problem)
}

// call ends the test when a step fails, telling what the page had complained of until then.
func (p *Page) call(step string, do func() error) {
	p.t.Helper()
	if err := do(); err != nil {
		p.t.Fatalf("%s: %v; problems of the page: %q", step, err, p.Problems())
	}
}
