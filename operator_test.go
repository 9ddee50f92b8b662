package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fieldcache/internal/testservers"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// Under load, the operator's page shows fields, evictions with their causes, and the entry of a
// key.
func TestOperatorsPage(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	database := shop(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s") // long timeout: Redis counts as healthy on a busy machine
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })

	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			p.query(t, fmt.Sprintf(`{ user(id: %d) { name country { name } reviews(first: 3) { totalCount nodes { rating product { name stock } } } } products(first: 5) { nodes { name stock averageRating } } }`, 1+n%40))
		}
	})
	defer load.Wait()
	defer close(stop)

	page := browsertest.Open(t, p.admin, browsertest.Options{Width: 1280, Height: 1250})
	page.Wait("the page to be live", `document.querySelector('#live').textContent === 'live'`)
	page.Wait("figures", `document.querySelectorAll('#figures b').length === 6 && /[0-9]/.test(document.querySelector('#figures b').textContent)`)
	page.Wait("charts", `document.querySelectorAll('#charts canvas').length === 6`)
	page.Wait("health", `document.querySelectorAll('#health .good').length >= 4`)

	page.Wait("the source of each value", `[...document.querySelectorAll('#coordinates tbody tr')].some((e) => e.innerText.startsWith('Product.stock') && /\brows\b/.test(e.innerText)) && [...document.querySelectorAll('#coordinates tbody tr')].some((e) => e.innerText.startsWith('ReviewConnection.totalCount')) && document.querySelector('#coordinates .ttl-only') === null`)
	page.Wait("the tiers", `/^Responses in memory\s+[1-9].*\nValues in memory\s+[1-9].*\nRedis\s+[1-9]/.test(document.querySelector('#tiers tbody').innerText)`)
	page.Wait("the latency of each outcome", `/^executed\s.*\d m?s\nhit\s.*\d m?s/.test(document.querySelector('#outcomes tbody').innerText)`)
	page.Wait("the content of Redis", `document.querySelector('#redis-state').textContent === 'OK' && document.querySelector('#redis-sampled').textContent.includes('keys drawn at random') && /^(user|product|\{product\}:stock)\s+[0-9.k]+\s+[0-9.]+ [KM]?i?B$/m.test(document.querySelector('#kinds tbody').innerText)`)

	p.query(t, `mutation { updateUser(id: 7, input: {bio: "new"}) { id } }`)
	page.Wait("the mutation's eviction", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.mutation') && e.textContent.includes('user:7'))`)
	if _, err := conn.Exec(t.Context(), "UPDATE products SET stock = stock + 1 WHERE id = 9"); err != nil {
		t.Fatal(err)
	}
	page.Wait("the eviction by psql", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.outbox') && e.textContent.includes('{product:9}:stock'))`)

	page.Click("#key")
	page.Type("product:3\r")
	page.Wait("the entry", `document.querySelector('#entry pre') !== null`)
	if got := page.Eval(`document.querySelector('#entry').innerText`); !strings.Contains(got, `"name"`) || !strings.Contains(got, "{Product}") || strings.Contains(got, "none") {
		t.Errorf("the entry of product:3 is %s", got)
	}
	_, private := send(t, http.MethodGet, p.admin+"cache/entry?key=user:3", "")
	if strings.Contains(private, "example") || !strings.Contains(private, `"hidden":true`) {
		t.Errorf("a user's row, which holds an e-mail address, is shown: %s", private)
	}
	page.Click("#evict")
	page.Wait("the entry to be evicted", `document.querySelector('#entry').textContent.includes('Evicted product:3.')`)
	page.Wait("the eviction by hand", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.hand') && e.textContent.includes('product:3'))`)

	page.Click("#filter")
	page.Type("hand")
	page.Wait("the filter", `document.querySelectorAll('#evictions li:not([hidden]) .hand').length > 0 && document.querySelectorAll('#evictions li:not([hidden]) .mutation').length === 0`)
	page.Click(`#coordinates th:first-child button`)
	page.Wait("the order", `document.querySelector('#coordinates th:first-child').getAttribute('aria-sort') === 'ascending'`)
	page.Eval(`(document.querySelector('#filter').value = '', document.querySelector('#filter').dispatchEvent(new Event('input')), '')`)
	page.Click("#key")
	page.Type("\r") // read the entry again, so that axe checks it too
	page.Wait("the entry", `document.querySelector('#entry pre') !== null`)
	for _, look := range []struct {
		name          string
		dark          bool
		width, height int
	}{{"light", false, 1280, 1250}, {"dark", true, 1280, 1250}, {"narrow", false, 380, 800}, {"narrow and dark", true, 380, 800}} {
		page.Scheme(look.dark)
		page.Resize(look.width, look.height)
		page.Wait("the size of the charts", fmt.Sprintf(`innerWidth === %d && [...document.querySelectorAll('#charts canvas')].every((c) => c.clientWidth < innerWidth)`, look.width))
		for _, found := range page.Axe(axe(t)) {
			t.Errorf("%s: %s", look.name, found)
		}
		if wide := page.Eval(`[...document.querySelectorAll('body *')].filter((e) => e.closest('.scroll') === null && e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80)).join('\n')`); wide != "" {
			t.Errorf("%s: wider than the window:\n%s", look.name, wide)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			page.Screenshot(filepath.Join(dir, "operator "+look.name+".png"))
		}
	}
	if problems := page.Problems(); len(problems) > 0 {
		t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
	}
}

// operatorLoad starts three clients that query, mutate and evict by hand as fast as the gateway
// allows. They run until stop is called.
func operatorLoad(t *testing.T, p *program) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var clients sync.WaitGroup
	client := func(do func(n int)) {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
					do(n)
				}
			}
		})
	}
	client(func(n int) {
		p.query(t, fmt.Sprintf(`{ user(id: %d) { name country { name } reviews(first: 3) { nodes { rating product { name stock } } } } products(first: 5) { nodes { name stock averageRating } } }`, 1+n%40))
	})
	client(func(n int) {
		p.query(t, fmt.Sprintf(`mutation { updateUser(id: %d, input: {bio: "%d"}) { id } }`, 1+n%40, n))
	})
	client(func(n int) {
		keys := []string{fmt.Sprintf("product:%d", 1+n%200)}
		if n%20 == 0 {
			for i := range 1000 {
				keys = append(keys, fmt.Sprintf("{product:%d}:stock", 1000+i))
			}
		}
		body, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Error(err)
			return
		}
		if res, text := send(t, http.MethodPost, p.admin+"evict", string(body), "Content-Type: application/json"); res.StatusCode != http.StatusOK && !(res.StatusCode == http.StatusServiceUnavailable && strings.Contains(text, "record an eviction")) {
			t.Errorf("evict: %d %s", res.StatusCode, text) // a busy database may not record an eviction within the lease
		}
	})
	return func() {
		close(done)
		clients.Wait()
	}
}

// Under load the operator's page stays live, has no errors, and does not grow. SOAK sets how long
// the test watches it.
func TestOperatorsPageUnderLoad(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	look := 8 * time.Second
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if look, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
	}
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s")
	defer operatorLoad(t, p)()

	page := browsertest.Open(t, p.admin, browsertest.Options{Width: 1280, Height: 1250, Timeout: look + 3*time.Minute})
	page.Wait("charts", `document.querySelectorAll('#charts canvas').length === 6 && /[1-9]/.test(document.querySelector('#figures b')?.textContent)`)
	page.Wait("a full list of evictions", `document.querySelectorAll('#evictions li:not(.empty)').length === 200`)
	before := page.Memory()
	page.Eval(`(window.lookedFrom = performance.now(), '')`)
	page.Wait("the time to pass", fmt.Sprintf(`performance.now() - window.lookedFrom > %d`, look.Milliseconds()))
	after := page.Memory()
	t.Logf("in %s the page's memory went from %+v to %+v; %s", look, before, after, page.Eval(`document.querySelector('#skipped').textContent`))
	// Each second adds a sample of about 3 kB, until there are five minutes of them. Compiled code
	// comes and goes.
	if most := int64(1<<20) + int64(min(look, 5*time.Minute).Seconds())*4<<10; after.Bytes-before.Bytes > most {
		t.Errorf("the page grew by %d bytes, want at most %d", after.Bytes-before.Bytes, most)
	}
	// The 200 listed evictions may have many names or few.
	if after.Nodes > before.Nodes+4000 {
		t.Errorf("the page grew from %d to %d nodes", before.Nodes, after.Nodes)
	}
	if after.Listeners > before.Listeners+200 {
		t.Errorf("the page grew from %d to %d listeners", before.Listeners, after.Listeners)
	}
	if live := page.Eval(`document.querySelector('#live').textContent`); live != "live" {
		t.Errorf("the page is %q, want live", live)
	}
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// The gateway evicts more than ten thousand keys a second if the machine allows: by hand a hundred
// at a time, by psql a thousand at a time. The page shows the evictions it receives, says how many
// were skipped, and does not grow. Each eviction by hand is counted, and is sent or counted as
// skipped. A poll of the outbox that finds it again counts once more.
func TestOperatorsPageAtTenThousandEvictions(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	const (
		first, all = 300, 600 // orders; the first fill the list
		each       = 100      // keys per order
		listed     = 200
		workers    = 8
	)
	database := shop(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+testservers.Redis(t), "REDIS_TIMEOUT=5s", "LOG_LEVEL=info")
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	t.Cleanup(client.CloseIdleConnections)
	evict := func(n int) {
		var at atomic.Int64
		var clients sync.WaitGroup
		for range workers {
			clients.Go(func() {
				for i := at.Add(1); i <= int64(n); i = at.Add(1) {
					keys := make([]string, each)
					for k := range keys {
						keys[k] = fmt.Sprintf("user:%d", i*each+int64(k))
					}
					body, err := json.Marshal(map[string]any{"keys": keys})
					if err != nil {
						t.Error(err)
						return
					}
					response, err := client.Post(p.admin+"evict", "application/json", bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, response.Body)
					if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
						t.Errorf("evict: %s, %v", response.Status, err)
						return
					}
				}
			})
		}
		clients.Wait()
	}

	page := browsertest.Open(t, p.admin, browsertest.Options{Width: 1280, Height: 1250, Timeout: 3 * time.Minute})
	page.Wait("charts", `document.querySelectorAll('#charts canvas').length === 6 && /[0-9]/.test(document.querySelector('#figures b')?.textContent)`)
	// A second observer counts the events.
	page.Eval(`(() => {
		const events = new EventSource('cache/events');
		window.counted = { sent: 0, most: 0, skipped: 0, seconds: 0, byHand: 0, fastest: 0 };
		let second = 0, before;
		events.addEventListener('eviction', () => { counted.sent++; counted.most = Math.max(counted.most, ++second); });
		events.addEventListener('counters', (e) => {
			const now = JSON.parse(e.data);
			const all = Object.entries(now.metrics).filter(([name]) => name.startsWith('fieldcache_evictions_total'));
			const total = all.reduce((sum, [, n]) => sum + n, 0);
			const at = Date.parse(now.when) / 1000;
			if (before) counted.fastest = Math.max(counted.fastest, Math.round((total - before.total) / (at - before.at)));
			before = { total, at };
			counted.byHand = now.metrics['fieldcache_evictions_total{cause="hand"}'];
			counted.skipped += now.skipped;
			counted.seconds++;
			second = 0;
		});
		return '';
	})()`)
	page.Wait("the first counters", `counted.seconds > 0`)
	evict(first)
	page.Wait("the first evictions", fmt.Sprintf(`counted.sent + counted.skipped >= %d && document.querySelectorAll('#evictions li:not(.empty)').length === %d`, first, listed))
	page.Eval(`(document.querySelector('#evictions li button').focus(), '')`)
	before := page.Memory()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	evict(all / 2)
	for range 5 {
		if _, err := conn.Exec(t.Context(), "UPDATE products SET stock = stock + 1"); err != nil {
			t.Fatal(err)
		}
	}
	evict(all / 2)
	page.Wait("all evictions", fmt.Sprintf(`counted.sent + counted.skipped >= %d && counted.byHand === %d`, first+all, (first+all)*each))
	after := page.Memory()
	t.Logf("the page's memory went from %+v to %+v; %s %s", before, after, page.Eval(`JSON.stringify(counted)`), page.Eval(`document.querySelector('#skipped').textContent`))
	if page.Eval(`String(counted.most <= 200)`) != "true" {
		t.Errorf("%s evictions were sent between two events of counters, want at most 200", page.Eval(`String(counted.most)`))
	}
	if n := page.Eval(`String(document.querySelectorAll('#evictions li:not(.empty)').length)`); n != fmt.Sprint(listed) {
		t.Errorf("%s evictions are listed, want %d", n, listed)
	}
	page.Wait("the number of names that are not listed", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.hand') && /and 92 more$/.test(e.textContent))`)
	page.Wait("the page to be live", `document.querySelector('#live').textContent === 'live'`)
	if page.Eval(`String(document.activeElement?.closest('#evictions') !== null)`) != "true" {
		t.Errorf("the focused eviction left the list, and the focus went to %s, want the list", page.Eval(`document.activeElement.outerHTML.slice(0, 80)`))
	}
	// Each second adds a sample of about 3 kB to the charts, and a listed eviction has a hundred
	// names. Compiled code comes and goes.
	if after.Bytes > before.Bytes+3<<20 || after.Nodes > before.Nodes+4000 || after.Listeners > before.Listeners+200 {
		t.Errorf("the page grew from %+v to %+v", before, after)
	}
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// With the keyboard alone, Tab reaches every control in order, the focus is visible, and Enter
// operates it.
func TestOperatorsPageByKeyboard(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	p := startAs(t, newGateway)
	page := browsertest.Open(t, p.admin, browsertest.Options{Width: 1280, Height: 1250})
	page.Wait("charts", `document.querySelectorAll('#charts canvas').length === 6`)
	page.Wait("the page to be live", `document.querySelector('#live').textContent === 'live'`) // otherwise it may miss the eviction
	p.query(t, `{ products(first: 5) { nodes { name stock } } }`)
	p.query(t, `mutation { updateUser(id: 7, input: {bio: "new"}) { id } }`)
	page.Wait("the fields, the eviction and the tiers", `[...document.querySelectorAll('#coordinates th code')].some((e) => e.textContent === 'Product')
		&& document.querySelector('#evictions button') !== null && document.querySelector('#tiers tbody tr') !== null`)

	// press presses Tab until the focused element matches wanted.
	press := func(what, wanted string) {
		t.Helper()
		for range 100 {
			page.Type("\t")
			if page.Eval(`String(Boolean(((e) => `+wanted+`)(document.activeElement)))`) == "true" {
				return
			}
		}
		t.Fatalf("Tab does not reach %s", what)
	}
	page.Eval(`(() => {
		window.all = [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')].filter((e) => e.checkVisibility());
		window.seen = [];
		return '';
	})()`)
	press("the first one", `e === all[0]`)
	for range 100 {
		// Record each focused element in order, and whether its focus ring is visible.
		if page.Eval(`(() => {
			const e = document.activeElement;
			if (e === document.body || seen[0]?.e === e) return 'round';
			seen.push({ e, ring: getComputedStyle(e).outlineStyle !== 'none' && getComputedStyle(e).outlineWidth !== '0px' });
			return '';
		})()`) == "round" {
			break
		}
		page.Type("\t")
	}
	const name = `(e) => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + ' ' + (e.getAttribute('aria-labelledby') ?? e.textContent.slice(0, 20))`
	if want, got := page.Eval(`all.map(`+name+`).join('\n')`), page.Eval(`seen.map(({ e }) => (`+name+`)(e)).join('\n')`); got != want || strings.Count(got, "\n") < 20 {
		t.Errorf("Tab leads to\n%s\nwant\n%s", got, want)
	}
	if blind := page.Eval(`seen.filter((s) => !s.ring).map(({ e }) => (` + name + `)(e)).join('\n')`); blind != "" {
		t.Errorf("the focus is not visible on\n%s", blind)
	}

	press("the column Truth", `e.closest('#coordinates th') && e.textContent === 'Truth'`)
	sorted := func() string {
		return page.Eval(`document.activeElement.closest('th')?.getAttribute('aria-sort') ?? ''`)
	}
	for _, want := range []string{"ascending", "descending"} {
		page.Type("\r")
		if got := sorted(); got != want {
			t.Errorf("after Enter the column is %q, want %s", got, want)
		}
	}
	press("the eviction's key", `e.dataset.key === 'user:7'`)
	page.Type("\r")
	page.Wait("the key to be looked up", `document.querySelector('#key').value === 'user:7' && document.querySelector('#entry').textContent.includes('user:7')`)
	press("the search", `e.id === 'key'`)
	page.Eval(`(document.activeElement.select(), '')`)
	page.Type("product:3\r")
	page.Wait("the entry", `document.querySelector('#entry pre')?.textContent.includes('"name"')`)
	press("the button Evict", `e.id === 'evict'`)
	page.Type("\r")
	page.Wait("the entry to be evicted", `document.querySelector('#entry').textContent.includes('Evicted product:3.') && document.activeElement.id === 'evict'`)
	press("the button Pause", `e.id === 'pause'`)
	page.Type("\r")
	page.Wait("the page to pause", `document.activeElement.getAttribute('aria-pressed') === 'true'`)
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}
