package browsertest

import (
	"path"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// complaints are the console calls that count as problems.
var complaints = []runtime.ConsoleAPICalledType{
	runtime.ConsoleAPICalledTypeError,
	runtime.ConsoleAPICalledTypeWarning,
	runtime.ConsoleAPICalledTypeAssert,
}

// watch returns a listener that records the faults of a page or a worker. The browser calls it in
// the order of events and before it responds to a later command, so Problems misses no earlier
// event.
func (p *Page) watch(where string) func(event any) {
	return func(event any) {
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			if slices.Contains(complaints, e.Type) {
				p.note("%s: console.%s: %s", where, e.Type, text(e.Args...))
			}
		case *runtime.EventExceptionThrown:
			p.note("%s: exception: %s %s", where, e.ExceptionDetails.Text, text(e.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
				p.note("%s: %s %s: %s %s", where, e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			if p.foreign(e.Request.URL) {
				p.note("%s: request to %s", where, e.Request.URL)
			}
		case *network.EventWebSocketCreated:
			p.note("%s: web socket to %s", where, e.URL)
		case *target.EventAttachedToTarget:
			// A listener must not call the browser itself.
			attached := make(chan struct{})
			p.mu.Lock()
			p.workers = append(p.workers, attached)
			p.mu.Unlock()
			go func() {
				defer close(attached)
				p.attach(e.TargetInfo)
			}()
		}
	}
}

// foreign reports whether an address is outside the page's origin; data: URLs are not.
func (p *Page) foreign(address string) bool {
	return !strings.HasPrefix(address, p.origin+"/") && !strings.HasPrefix(address, "data:")
}

// text formats values of the page as the console does.
func text(values ...*runtime.RemoteObject) string {
	var words []string
	for _, v := range values {
		switch {
		case v == nil:
		case v.Description != "":
			words = append(words, v.Description)
		default:
			words = append(words, strings.Trim(string(v.Value), `"`))
		}
	}
	return strings.Join(words, " ")
}

// attach watches a worker of the page, which reports its faults in its own session. The browser
// repeats there what the worker has logged before.
func (p *Page) attach(worker *target.Info) {
	where := worker.Type + " " + path.Base(worker.URL)
	// It ends with the page.
	ctx, _ := chromedp.NewContext(p.ctx, chromedp.WithTargetID(worker.TargetID), chromedp.WithListener(p.watch(where)))
	_, err := chromedp.Call(ctx, runtime.RunIfWaitingForDebugger, cdp.Empty{})
	if err == nil {
		return
	}
	// Monaco may end workers at any time. One that ended before it was resumed has done nothing.
	if strings.Contains(err.Error(), "target detached") {
		return
	}
	_, gone := chromedp.CallBrowser(p.ctx, target.GetTargetInfo, target.GetTargetInfoParams{TargetID: worker.TargetID})
	if gone == nil {
		p.note("%s: cannot be watched: %v", where, err)
	}
}
