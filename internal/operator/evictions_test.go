package operator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/internal/operator"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// The page stays usable at ten thousand evictions a second. It receives 200 at most between two
// events of counters, and the number of the others. On a slow machine evictions come more slowly;
// each is still sent or counted.
func TestPageAtTenThousandEvictionsASecond(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	const (
		pace      = 100 * time.Millisecond
		each, all = 1200, 60_000 // evictions per tick and in total: five seconds of more than ten thousand
		sent      = 200          // at most, between two events of counters
	)
	s := open(t, func(o *operator.Options) {
		o.Page, o.Interval, o.MaxEvents = playground.Operator(), 0, 0 // as in the server
	})
	page := browsertest.Open(t, s.URL+"/", browsertest.Options{Width: 1280, Height: 1250})
	// A second observer counts the events.
	page.Eval(`(() => {
		const events = new EventSource('cache/events');
		window.counted = { sent: 0, most: 0, skipped: 0, seconds: 0 };
		let second = 0;
		events.addEventListener('eviction', () => { counted.sent++; counted.most = Math.max(counted.most, ++second); });
		events.addEventListener('counters', (e) => { counted.skipped += JSON.parse(e.data).skipped; counted.seconds++; second = 0; });
		return '';
	})()`)
	page.Wait("both to be live", `counted.seconds > 0 && document.querySelector('#live').textContent === 'live' && document.querySelectorAll('#charts canvas').length === 6`)

	before := page.Memory()
	began := time.Now()
	due := time.NewTicker(pace)
	defer due.Stop()
	for n := 0; n < all; n++ {
		if n%each == 0 {
			<-due.C
		}
		if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{cache.Entity("user", fmt.Sprint(n))}}); err != nil {
			t.Fatal(err)
		}
	}
	rate := all / time.Since(began).Seconds()
	page.Wait("all of them", fmt.Sprintf(`counted.sent + counted.skipped >= %d`, all))
	page.Wait("that the page says that it samples", `/^Sampled: [0-9]+k more came too fast to be listed\.$/.test(document.querySelector('#skipped').textContent)`)
	t.Logf("%.0f evictions a second; %s; %s", rate, page.Eval(`JSON.stringify(counted)`), page.Eval(`document.querySelector('#skipped').textContent`))
	if got := page.Eval(`String(counted.sent + counted.skipped)`); got != fmt.Sprint(all) {
		t.Errorf("%s evictions were sent or counted, want %d", got, all)
	}
	if page.Eval(fmt.Sprintf(`String(counted.most <= %d)`, sent)) != "true" {
		t.Errorf("%s evictions were sent between two events of counters, want at most %d", page.Eval(`String(counted.most)`), sent)
	}
	// The page responds to input, and shows what comes next.
	s.load(t, "product:7", "a lamp") // loaded only now: the evictions might touch it
	page.Click("#key")
	page.Type("product:7\r")
	page.Wait("the entry", `document.querySelector('#entry pre')?.textContent.includes('a lamp')`)
	page.Click("#filter")
	page.Type("mutation")
	page.Wait("the filter", `document.querySelector('#evictions .empty')?.textContent === 'None of the last evictions matches.'`)
	after := page.Memory()
	// Each second adds a sample of about 3 kB to the charts. Compiled code comes and goes.
	if after.Bytes > before.Bytes+3<<20 || after.Nodes > before.Nodes+4000 || after.Listeners > before.Listeners+200 {
		t.Errorf("the page grew from %+v to %+v", before, after)
	}
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// BenchmarkEvictions evicts key by key, with no, one and ten observers.
func BenchmarkEvictions(b *testing.B) {
	for _, lookers := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("lookers=%d", lookers), func(b *testing.B) {
			s := open(b, func(o *operator.Options) { o.Interval, o.MaxEvents = 0, 0 })
			counts := make(chan uint64, lookers)
			ctx, leave := context.WithCancel(b.Context())
			defer leave()
			for range lookers {
				ready := make(chan struct{})
				go func() { counts <- s.count(ctx, b, ready) }()
				<-ready
			}
			b.ReportAllocs()
			began := time.Now()
			for i := 0; b.Loop(); i++ {
				if _, err := s.cache.EvictByHand(ctx, cache.Eviction{Keys: []cache.Key{cache.Entity("user", fmt.Sprint(i%10_000))}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "evictions/s")
			leave()
			sent := uint64(0)
			for range lookers {
				sent += <-counts
			}
			if lookers > 0 {
				b.ReportMetric(float64(sent)/float64(lookers), "sent/looker")
			}
		})
	}
}

// count returns how many evictions one observer receives until ctx ends. It closes ready after the
// first event.
func (s site) count(ctx context.Context, t testing.TB, ready chan<- struct{}) (sent uint64) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/cache/events", nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	first := true
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if first {
				first = false
				close(ready)
			}
			if strings.Contains(data, `"cause"`) && json.Valid([]byte(data)) {
				sent++
			}
		}
	}
	return sent
}
