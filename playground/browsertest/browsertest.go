// Package browsertest opens the playground in a headless Chromium for tests, uses it as a person
// would, and records everything that a page without faults must not do.
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

// Options say how a page is shown; the zero value is a light page of 1280 x 800 pixels.
type Options struct {
	Dark          bool // the value of prefers-color-scheme
	Width, Height int  // of the window, in pixels
	// Timeout limits the whole use of the page; 0 means five minutes.
	Timeout time.Duration
}

// A Page is one page in its own browser. Its methods fail the test if the page does not do what
// they wait for. Only one goroutine may use it.
type Page struct {
	// Rules are the IDs of the rules that Axe and AxeOf check; empty means all.
	Rules []string

	t      testing.TB
	ctx    context.Context
	origin string

	mu       sync.Mutex // guards the fields below
	problems []string
	workers  []<-chan struct{} // one for each worker, closed once it is watched
}

// Open starts a browser with an empty profile and opens the address in it. The browser is the one
// in CHROME_BIN, or else an installed Chromium or Chrome; without one the test fails. It is closed
// when the test ends.
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
		o.Timeout = 5 * time.Minute // next to other browsers, on a busy machine
	}
	p := &Page{t: t, origin: parsed.Scheme + "://" + parsed.Host}

	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags(t, o)...)
	t.Cleanup(cancel) // waits until the browser has exited, so that its profile can be removed
	p.ctx, _ = chromedp.NewContext(ctx, chromedp.WithListener(p.watch("page")))
	t.Cleanup(func() {
		// Close the browser as its window would, so that it finishes with its profile.
		if err := chromedp.Cancel(p.ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
	})

	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	p.Scheme(o.Dark)
	p.call("watch workers", func() error {
		// Workers start paused, so that their first request is recorded too.
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

// reportViolations logs violations of the Content-Security-Policy to the console, where they are
// recorded.
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
		// No name is resolved, so the page works without internet.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	if os.Geteuid() == 0 {
		list = append(list, chromedp.NoSandbox) // Chromium's sandbox does not work for root
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

// Problems returns the faults of the page and its workers so far: errors and warnings on the
// console, exceptions, violations of the Content-Security-Policy, failed requests and requests to
// other origins.
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

// maxProblem limits a problem in bytes: the address of a font may have a hundred thousand.
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

// call fails the test if a step fails, and lists the page's problems so far.
func (p *Page) call(step string, do func() error) {
	p.t.Helper()
	if err := do(); err != nil {
		p.t.Fatalf("%s: %v; problems of the page: %q", step, err, p.Problems())
	}
}
