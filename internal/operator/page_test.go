package operator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/operator"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// The page shows what the events report: the truth of coordinates, the state of the tiers and
// Redis, and the latency of requests.
func TestPage(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	// As the server derives it from its schema.
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: gqlcache.Directives + `
		type Query { motto: Motto @cacheControl(maxAge: 60), feed: Feed @cacheControl(maxAge: 60), grid: Grid @cacheControl(maxAge: 60) }
		type Motto { text: String }
		type Feed @cacheRows(table: "posts") { id: ID! text: String }
		type Grid @cacheTag(format: "grid") { text: String }`})
	plan, err := gqlcache.PlanFields(&graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }})
	if err != nil {
		t.Fatal(err)
	}
	var c *sick
	s := open(t, func(o *operator.Options) {
		metrics := prometheus.NewRegistry()
		gauge := func(name string, v float64) {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
			g.Set(v)
			metrics.MustRegister(g)
		}
		gauge("fieldcache_memory_entries", 4321)
		gauge("fieldcache_memory_bytes", 5<<20)
		gauge("fieldcache_memory_overflows_total", 17)
		most := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fieldcache_memory_max_bytes", ConstLabels: prometheus.Labels{"of": "values"}})
		most.Set(8 << 20)
		metrics.MustRegister(most)
		took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fieldcache_operation_duration_seconds", Buckets: []float64{0.1, 1}}, []string{"operation", "outcome"})
		metrics.MustRegister(took)
		hits := took.WithLabelValues("other", "hit") // looked up here: while metrics are gathered, that may wait for itself
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "fieldcache_requests_seen_total"}, func() float64 {
			hits.Observe(0.05) // one for each event
			return 0
		}))
		c = &sick{Cache: o.Cache}
		o.Cache, o.Metrics, o.Page, o.Redis = c, metrics, playground.Operator(), &sampled{}
		o.Truth = plan.Truth
	})
	for _, name := range []string{"Grid", "Motto", "Feed"} {
		s.cache.Meter(name).Missed.Add(1)
	}
	page := browsertest.Open(t, s.URL+"/", browsertest.Options{Width: 1280, Height: 1250})
	order := `[...document.querySelectorAll('#coordinates tbody th')].map((e) => e.textContent).join(' ')`
	page.Wait("the coordinates", order+` === 'Motto Grid Feed'`)
	page.Eval(`([...document.querySelectorAll('#coordinates thead button')].find((b) => b.textContent === 'Truth').id = 'truth', '')`)
	page.Click("#truth")
	page.Wait("those of time alone first, then by name", order+` === 'Motto Feed Grid'`)
	page.Click("#truth")
	page.Wait("those of time alone last", order+` === 'Grid Feed Motto'`)
	if got := page.Eval(`[...document.querySelectorAll('#coordinates .ttl-only')].map((e) => e.closest('tr').querySelector('th').textContent + ': ' + e.textContent).join()`); got != "Motto: ttl only" {
		t.Errorf("marked as TTL-only: got %q", got)
	}
	if got := page.Eval(`document.querySelector('#truths').innerText.replace(/\s+/g, ' ')`); !strings.Contains(got, "ttl only by no write") {
		t.Errorf("got the legend %q", got)
	}
	if got := page.Eval(`document.querySelector('#tiers').innerText.replace(/\s+/g, ' ')`); !strings.Contains(got, "Values in memory 4.3k 5.0 MiB 8.0 MiB 17") {
		t.Errorf("got the tiers %q", got)
	}
	page.Wait("the sample of Redis", `/Sampled .* ago: 3 keys drawn at random of 12\./.test(document.querySelector('#redis-sampled').textContent)`)
	page.Wait("its kinds", `document.querySelector('#kinds tbody').innerText.replace(/\s+/g, ' ').trim() === 'user 12 100 B'`)
	page.Wait("that it is in use", `document.querySelector('#redis-state').textContent === 'OK'`)
	why := errors.Join(cache.ErrRefused, errors.New("READONLY <b>replica</b>"))
	c.reason.Store(&why)
	page.Wait("why it is not in use, as text", `document.querySelector('#redis-state.bad')?.textContent === 'Not in use: refused\nREADONLY <b>replica</b>'`)
	page.Wait("the latency of hits", `/^hit\s+[0-9.]+\s+100 %\s+50 ms\s+50 ms\s+95 ms\s+99 ms/.test(document.querySelector('#outcomes tbody').innerText)`)
	for _, problem := range page.Problems() {
		t.Error(problem)
	}
}

// Texts from clients and other systems are shown as text everywhere on the page: keys, tags,
// coordinates, values, kinds, errors.
func TestPageShowsForeignTextsAsText(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	const evil = `<img src=x onerror="window.owned=1"><script>window.owned=1</script>`
	var c *sick
	s := open(t, func(o *operator.Options) {
		metrics := prometheus.NewRegistry()
		took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fieldcache_operation_duration_seconds", Buckets: []float64{0.1, 1}}, []string{"operation", "outcome"})
		metrics.MustRegister(took)
		seen := took.WithLabelValues(evil, evil) // see TestPage
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "fieldcache_requests_seen_total"}, func() float64 {
			seen.Observe(0.05) // one for each event
			return 0
		}))
		c = &sick{Cache: o.Cache}
		o.Cache, o.Metrics, o.Page = c, metrics, playground.Operator()
		o.Redis, o.SampleRedis = &sampled{kind: evil}, time.Millisecond
		o.Truth = func(string) gqlcache.Truth { return evil }
		o.Policy = nil
	})
	s.cache.Meter(evil).Missed.Add(1)
	key := cache.Key("user:" + evil)
	page := browsertest.Open(t, s.URL+"/", browsertest.Options{Width: 1280, Height: 1250})
	page.Wait("to be live", `document.querySelector('#live').textContent === 'live'`)
	s.load(t, key, map[string]any{"name": evil})
	texts := func(where string) string {
		return fmt.Sprintf(`document.querySelector(%q).textContent.includes(%q)`, where, evil)
	}
	hit := make(chan struct{})
	go func() {
		defer close(hit)
		for range 2000 { // one in 16 is counted
			s.load(t, key, nil)
		}
	}()
	<-hit
	page.Wait("the coordinate", texts("#coordinates tbody"))
	page.Wait("the outcome", texts("#outcomes tbody"))
	page.Wait("the kind of keys", texts("#kinds tbody"))
	page.Wait("what is hit", texts("#top"))
	page.Wait("what expires next", texts("#soonest"))
	if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{key}, Tags: []cache.Tag{evil}}); err != nil {
		t.Fatal(err)
	}
	page.Wait("the eviction", texts("#evictions"))
	page.Click("#evictions button")
	page.Wait("that nothing is there", texts("#entry"))
	s.load(t, key, map[string]any{"name": evil})
	page.Click("#look button")
	page.Wait("the entry", `document.querySelector('#entry pre')?.textContent.includes('onerror')`)
	page.Click("#evict")
	page.Wait("the answer to the eviction", `document.querySelector('#entry').textContent !== '' && document.querySelector('#entry pre') === null`)
	why := errors.New(evil)
	c.reason.Store(&why)
	page.Wait("why Redis is not in use", texts("#redis-state"))
	if got := page.Eval(`JSON.stringify([document.images.length, document.scripts.length, window.owned ?? null])`); got != "[1,1,null]" {
		t.Errorf("got the images, scripts and effects %s, want the icon and the page's own script", got)
	}
	for _, problem := range page.Problems() {
		if !strings.Contains(problem, "/evict") { // the test's server has no POST /evict
			t.Error(problem)
		}
	}
}
