package operator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/internal/operator"
)

// rows is a source that returns the arguments of its requests as values.
type rows struct{}

func (rows) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	for i, r := range requests {
		values[i] = r.Arg
	}
	return values, cache.Snapshot{}, nil
}
func (rows) Also(cache.Request) []cache.Request { return nil }
func (rows) Decode(_ cache.Request, data []byte) (v any, err error) {
	err = json.Unmarshal(data, &v)
	return v, err
}

type site struct {
	*httptest.Server
	cache *cache.Cache
}

func open(t testing.TB, change func(*operator.Options)) site {
	t.Helper()
	memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: memory, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(gqlcache.NewFieldRequests(c.Meters))
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "fieldcache_loads_total"})
	counter.Add(7)
	metrics.MustRegister(counter)
	o := operator.Options{
		Cache: c, Metrics: metrics, Soonest: memory.Soonest, Interval: 20 * time.Millisecond, MaxEvents: 5, Log: slog.New(slog.DiscardHandler),
		Page:    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the page") }),
		Private: func(k cache.Key) bool { return strings.Contains(string(k), "@") },
		Policy: func(coordinate string) (cache.Policy, error) {
			if coordinate != "User" {
				return cache.Policy{}, errors.New("unknown")
			}
			return cache.Policy{MaxAge: time.Minute}, nil
		},
		Truth: func(string) gqlcache.Truth { return gqlcache.TruthTTL },
	}
	if change != nil {
		change(&o)
	}
	h, err := operator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := site{httptest.NewServer(h), c}
	t.Cleanup(func() {
		s.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s site) load(t *testing.T, key cache.Key, value any) {
	t.Helper()
	_, err := s.cache.NewBatch().Load(t.Context(), []cache.Request{{
		Item: cache.Item{Key: key, Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute, Meter: s.cache.Meter("User")}, Source: rows{}, Arg: value,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// listen returns a function that reads the next event of a type.
func (s site) listen(t *testing.T) func(event string) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/cache/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("events have Content-Type %s and Cache-Control %s", got, res.Header.Get("Cache-Control"))
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return func(event string) map[string]any {
		t.Helper()
		for lines.Scan() {
			if lines.Text() != "event: "+event {
				continue
			}
			lines.Scan()
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			var v map[string]any
			if err := json.Unmarshal([]byte(data), &v); err != nil || !ok {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			return v
		}
		t.Fatalf("the events end: %v", lines.Err())
		return nil
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.load(t, "user:1", "Ann")
	s.load(t, "user:1", "Ann")
	next := s.listen(t)

	c := next("counters")
	users := c["coordinates"].([]any)[0].(map[string]any)
	for name, want := range map[string]any{"coordinate": "User", "memory": 1.0, "misses": 1.0, "redis": 0.0, "maxAge": 60.0, "scope": "public", "truth": "ttl"} {
		if users[name] != want {
			t.Errorf("%s of the coordinate is %v, want %v", name, users[name], want)
		}
	}
	metrics := c["metrics"].(map[string]any)
	if metrics["fieldcache_loads_total"] != 7.0 || len(metrics) != 1 {
		t.Errorf("got the metrics %v, want fieldcache_loads_total alone", metrics)
	}

	if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{"user:1"}, Tags: []cache.Tag{"{users}"}}); err != nil {
		t.Fatal(err)
	}
	e := next("eviction")
	if fmt.Sprintf("%v %v %v", e["cause"], e["keys"], e["tags"]) != "hand [user:1] [{users}]" {
		t.Errorf("got the eviction %v", e)
	}
	if when, err := time.Parse(time.RFC3339Nano, e["when"].(string)); err != nil || time.Since(when) > time.Minute {
		t.Errorf("got the time %v: %v", e["when"], err)
	}
}

// stalled is a connection whose client does not read: a write ends at its deadline, if it has one.
type stalled struct {
	http.ResponseWriter
	deadline time.Time
}

func (w *stalled) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *stalled) Write([]byte) (int, error) {
	if w.deadline.IsZero() {
		return 0, errors.New("this write would never end")
	}
	return 0, os.ErrDeadlineExceeded
}

// A client that does not read, such as a page that is suspended, is disconnected.
func TestStalledClientsAreDisconnected(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	w := &stalled{ResponseWriter: httptest.NewRecorder()}
	s.Config.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cache/events", nil))
	if w.deadline.IsZero() {
		t.Error("an event is written without a deadline")
	}
}

// Evictions beyond the limit are counted instead of sent, and so are the names of an eviction.
func TestEventsAreSampled(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *operator.Options) { o.Interval = 300 * time.Millisecond })
	next := s.listen(t)
	next("counters")
	const all = 400
	for range all {
		ev := cache.Eviction{}
		for i := range 60 {
			ev.Keys = append(ev.Keys, cache.Entity("user", fmt.Sprint(i)))
		}
		if _, err := s.cache.EvictByHand(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if e := next("eviction"); len(e["keys"].([]any)) != 50 || e["more"] != 10.0 {
		t.Errorf("an eviction of 60 keys has %d names and %v more, want 50 and 10", len(e["keys"].([]any)), e["more"])
	}
	skipped := 0.0
	for skipped == 0 { // the test's deadline ends the loop if none is skipped
		skipped += next("counters")["skipped"].(float64)
	}
	if skipped > all {
		t.Errorf("of %d evictions %v were skipped, more than there were", all, skipped)
	}
}

func TestEntry(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.load(t, "user:1", map[string]any{"name": "Ann"})
	s.load(t, "{user:1}:email@1", "ann@example.com")
	for name, c := range map[string]struct {
		query  string
		status int
		want   []string
		not    string
	}{
		"an entry":              {"?key=user:1", 200, []string{`"tier":"memory"`, `"value":{"name":"Ann"}`, `"ttl":5`, `"bytes":14`}, "hidden"},
		"a private one":         {"?key=%7Buser:1%7D:email@1", 200, []string{`"hidden":true`, `"tier":"memory"`}, "example.com"},
		"an absent key":         {"?key=user:2", 200, []string{`"entries":[]`}, "tier"},
		"no key":                {"", 400, []string{"the key is missing or too long"}, "entries"},
		"a key of many letters": {"?key=" + strings.Repeat("x", 5000), 400, []string{"the key is missing or too long"}, "entries"},
	} {
		res, err := http.Get(s.URL + "/cache/entry" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != c.status || strings.Contains(string(text), c.not) {
			t.Errorf("%s: got %s %s %v", name, res.Status, text, err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: got %s, want %s in it", name, text, want)
			}
		}
	}
	res, err := http.Get(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "the page" {
		t.Errorf("GET / returned %q, %v", text, err)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	if _, err := operator.New(operator.Options{}); err == nil {
		t.Error("New accepted options without a cache")
	}
}

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `type Query { user: User me: User } type User { id: ID! email: String } type Product { id: ID! price: Int } type Order { id: ID! }`})
	policy := func(coordinate string) (p cache.Policy, err error) {
		if coordinate == "User.email" || coordinate == "Order" || coordinate == "Query.me" {
			p.Scope = cache.Private
		}
		return p, nil
	}
	private := operator.PrivateKeys(schema, policy)
	for key, want := range map[cache.Key]bool{
		"product:7": false, "{product:7}:price": false, "{products}:list:first=2": false, "query:user(id=1)": false,
		"user:42": true, "{user:42}:reviews:count": true, "order:3": true, "query:me@42": true, "{product:7}:price@42": true, "basket:9": true,
	} {
		if got := private(key); got != want {
			t.Errorf("private(%s) = %t, want %t", key, got, want)
		}
	}
}

// While a page is open, the most frequent hits are sampled in a bounded sketch. The events also
// report what expires next.
func TestTopKeysAndSoonest(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.load(t, "user:1", "Ann")
	s.load(t, "user:2", "Ben")
	next := s.listen(t)
	if c := next("counters"); len(c["top"].([]any)) != 0 {
		t.Errorf("before a page was open got the hits %v, want none", c["top"])
	}
	for range 3200 {
		s.load(t, "user:1", "Ann")
	}
	s.load(t, "user:2", "Ben")
	var c map[string]any
	// Events are sent while the hits go on. The test's deadline ends the loop if there are too few.
	for c = next("counters"); len(c["top"].([]any)) == 0 || c["top"].([]any)[0].(map[string]any)["hits"].(float64) < 1600; c = next("counters") {
	}
	if top := c["top"].([]any)[0].(map[string]any); top["key"] != "user:1" || top["hits"].(float64) < 1600 || top["hits"].(float64) > 6400 {
		t.Errorf("of 3200 hits got %v", c["top"])
	}
	soonest := c["soonest"].([]any)
	if len(soonest) != 2 || c["looked"] != 2.0 || soonest[0].(map[string]any)["ttl"].(float64) > soonest[1].(map[string]any)["ttl"].(float64) {
		t.Errorf("got %v of %v as the next to expire", soonest, c["looked"])
	}
}

// An open page receives no more events than its bound, however many evictions there are: here ten
// thousand.
func TestTenThousandEvictionsAreSampled(t *testing.T) {
	t.Parallel()
	const all, bound = 10_000, 200
	s := open(t, func(o *operator.Options) { o.Interval, o.MaxEvents = time.Hour, bound })
	next := s.listen(t)
	next("counters")
	for i := range all {
		if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{cache.Entity("user", fmt.Sprint(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	for range bound {
		next("eviction")
	}
}
