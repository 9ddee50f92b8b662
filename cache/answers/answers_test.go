package answers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/memstore"
)

// row is a source whose values are their keys.
type row struct{}

func (row) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	for i, r := range requests {
		values[i] = string(r.Key)
	}
	return values, cache.Snapshot{}, nil
}

func (row) Also(cache.Request) []cache.Request { return nil }

func (row) Decode(_ cache.Request, data []byte) (any, error) { return string(data), nil }

type fixture struct {
	cache *cache.Cache
	store *answers.Store
}

func open(t testing.TB) *fixture {
	m, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	s, err := answers.New(answers.Options{Cache: c, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{c, s}
}

// deps loads keys, each with a tag, and returns the collected dependencies.
func (f *fixture) deps(t testing.TB, maxAge time.Duration, keys ...cache.Key) cache.Deps {
	ctx, collector := cache.Collect(t.Context())
	var requests []cache.Request
	for _, k := range keys {
		item := cache.Item{Key: k, Tags: []cache.Tag{"{Thing}"}, MaxAge: maxAge}
		requests = append(requests, cache.Request{Item: item, Source: row{}})
	}
	results, err := f.cache.NewBatch().Load(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return collector.Deps()
}

func answer(body string, maxAge time.Duration, scope cache.Scope, m cache.Deps) *answers.Answer {
	return answers.NewAnswer(answers.Computed{
		Status: http.StatusOK, ContentType: "application/json; charset=utf-8", Body: []byte(body),
		MaxAge: maxAge, Scope: scope, Deps: m, Vary: "Accept",
	}, time.Now())
}

func question(text, viewer string) answers.Question {
	return answers.Question{Kind: answers.Body, Media: 1, Text: []byte(text), Viewer: viewer, Nobody: viewer == ""}
}

func (f *fixture) want(t *testing.T, q answers.Question, body string) {
	t.Helper()
	a := f.store.Get(q, time.Now())
	switch {
	case a == nil && body != "":
		t.Errorf("%s for %q: got nothing, want %s", q.Text, q.Viewer, body)
	case a != nil && string(a.Body()) != body:
		t.Errorf("%s for %q: got %s, want %q", q.Text, q.Viewer, a.Body(), body)
	}
}

func TestWhoGetsAnAnswer(t *testing.T) {
	t.Parallel()
	f := open(t)
	m := f.deps(t, time.Minute, "user:1")
	f.store.Put(question("public", "8"), answer("P", time.Minute, cache.Public, m))
	f.store.Put(question("private", "8"), answer("8's", time.Minute, cache.Private, m))
	f.store.Put(question("private", "9"), answer("9's", time.Minute, cache.Private, m))
	f.store.Put(question("denied", ""), answer("null", time.Minute, cache.Private, m))
	for _, c := range []struct{ text, viewer, want string }{
		{"public", "8", "P"}, {"public", "9", "P"}, {"public", "", "P"},
		{"private", "8", "8's"}, {"private", "9", "9's"}, {"private", "", ""}, {"private", "10", ""},
		{"denied", "", "null"}, {"denied", "8", ""},
		{"public ", "8", ""}, {"", "", ""},
	} {
		t.Run(c.text+" by "+c.viewer, func(t *testing.T) {
			f.want(t, question(c.text, c.viewer), c.want)
		})
	}
	other := question("public", "")
	other.Media = 2
	f.want(t, other, "")
	other = question("public", "")
	other.Kind = answers.URL
	f.want(t, other, "")
}

func TestEvictionsReachAnswers(t *testing.T) {
	t.Parallel()
	for name, ev := range map[string]cache.Eviction{
		"of a part": {Keys: []cache.Key{"user:2"}}, "of a tag": {Tags: []cache.Tag{"{Thing}"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			f.store.Put(question("q", ""), answer("old", time.Minute, cache.Public, f.deps(t, time.Minute, "user:1", "user:2")))
			f.store.Put(question("other", ""), answer("true", time.Minute, cache.Public, f.deps(t, time.Minute, "user:3")))
			if _, err := f.cache.EvictByHand(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
			f.want(t, question("q", ""), "")
			if ev.Tags == nil {
				f.want(t, question("other", ""), "true")
			}
		})
	}
}

// A response whose parts were evicted while it was computed is not cached.
func TestPutAfterAnEviction(t *testing.T) {
	t.Parallel()
	f := open(t)
	m := f.deps(t, time.Minute, "user:1")
	if _, err := f.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{"user:1"}}); err != nil {
		t.Fatal(err)
	}
	if f.store.Put(question("q", ""), answer("old", time.Minute, cache.Public, m)) {
		t.Error("the response was cached")
	}
	f.want(t, question("q", ""), "")
}

func TestAnswersThatAreNotStored(t *testing.T) {
	t.Parallel()
	f := open(t)
	m := f.deps(t, time.Minute, "user:1")
	stale, unstorable := m, f.deps(t, 0, "user:2")
	stale.Stale, stale.Unstorable = true, "a part may be outdated"
	for name, a := range map[string]*answers.Answer{
		"no max age":            answer("a", 0, cache.Public, m),
		"a part that is not":    answer("a", time.Minute, cache.Public, unstorable),
		"a stale response":      answer("a", time.Minute, cache.Public, stale),
		"an age below a second": answer("a", 999*time.Millisecond, cache.Public, m),
		"another status":        answers.NewAnswer(answers.Computed{Status: 400, Body: []byte("a"), MaxAge: time.Minute, Deps: m}, time.Now()),
		"a negative max age?":   answer("a", -time.Second, cache.Public, m),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a.Storable() || f.store.Put(question(name, ""), a) {
				t.Error("the response was cached")
			}
			f.want(t, question(name, ""), "")
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ policy, part, least, most time.Duration }{
		"its policy": {10 * time.Second, time.Hour, 10 * time.Second, 10 * time.Second},
		"a part":     {time.Hour, 10 * time.Second, 9 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := open(t)
				f.store.Put(question("q", ""), answer("a", c.policy, cache.Public, f.deps(t, c.part, "user:1")))
				time.Sleep(c.least - time.Millisecond)
				f.want(t, question("q", ""), "a")
				time.Sleep(c.most - c.least + time.Millisecond)
				f.want(t, question("q", ""), "")
			})
		})
	}
}

// wall returns a moment at which the wall clock shows so much more, or less, than before. The
// monotonic clock continues.
func wall(t time.Time, more time.Duration) time.Time {
	t = t.Add(0)
	clocks := (*struct {
		wall uint64 // 1 bit, 33 bits of seconds, 30 bits of nanoseconds: see package time
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	clocks.wall += uint64(more/time.Second) << 30 //nolint:gosec // wraps around
	return t
}

// A clock that is set back does not make a response younger, and one that was suspended does not
// make it last longer.
func TestClocksThatAreSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ set, least time.Duration }{
		"back by an hour":       {-time.Hour, 0},
		"back by half a minute": {-30 * time.Second, 0},
		"forward":               {10 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, q := open(t), question("q", "")
			deps := f.deps(t, time.Minute, "user:1")
			item := cache.Item{Key: "user:1", Tags: []cache.Tag{"{Thing}"}, MaxAge: time.Minute}
			value, ok := f.cache.Peek(item)
			if !ok {
				t.Fatal("the value is not in memory")
			}
			began := time.Now()
			at := func(after time.Duration) time.Time { return wall(began.Add(after), c.set) }
			f.store.Put(q, answer("a", time.Minute, cache.Public, deps))
			a, now, age := f.store.Get(q, at(40*time.Second)), at(40*time.Second), int((40*time.Second+c.least)/time.Second)
			if a == nil {
				t.Fatal("got nothing after 40 seconds")
			}
			if got := a.Age(now); got != age {
				t.Errorf("after 40 seconds the age is %d, want %d", got, age)
			}
			if got := a.TTL(now); got > 60-age || got < 60-age-7 {
				t.Errorf("after 40 seconds %d seconds are left, want at most %d", got, 60-age)
			}
			if f.store.Get(q, at(time.Minute-c.least)) != nil {
				t.Error("got a response after its end")
			}
			// A response that is made of the value then is as old.
			_, collector := cache.Collect(t.Context())
			collector.Hit(item, value)
			later := answers.NewAnswer(answers.Computed{Status: http.StatusOK, MaxAge: time.Minute, Deps: collector.Deps()}, now)
			if got := later.Age(now); got < 40 {
				t.Errorf("a response of a value that is 40 seconds old is %d seconds old", got)
			}
		})
	}
}

// The max-age does not change. The max-age minus the Age is the shortest time that a part has left.
func TestHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, h := open(t), answers.NewHeader()
		f.deps(t, time.Minute, "user:1")
		time.Sleep(20 * time.Second)
		a := answer("body", time.Minute, cache.Private, f.deps(t, time.Minute, "user:1", "{user:1}:orders:count"))
		time.Sleep(5 * time.Second)
		w := httptest.NewRecorder()
		h.WriteHit(w, httptest.NewRequest(http.MethodPost, "/graphql", nil), a, answers.Identity, time.Now())
		for name, want := range map[string]string{
			"Cache-Control": "max-age=60, private", "Age": "25", "Content-Length": "4", "Vary": "Accept",
			"Content-Type": "application/json; charset=utf-8",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		var ttl int
		if _, err := fmt.Sscanf(w.Header().Get("Cache-Status"), "fieldcache; hit; ttl=%d", &ttl); err != nil || ttl < 28 || ttl > 35 {
			t.Errorf("got Cache-Status %q", w.Header().Get("Cache-Status"))
		}
		if w.Body.String() != "body" {
			t.Errorf("got body %q", w.Body)
		}
	})
}

// A response that sets a cookie is for its client alone, whatever its fields allow: HTTP caches store the cookie, too.
func TestCookiesMakePrivate(t *testing.T) {
	t.Parallel()
	f, h := open(t), answers.NewHeader()
	m := f.deps(t, time.Minute, "user:1")
	for _, c := range []struct {
		maxAge time.Duration
		cookie bool
		want   string
	}{
		{time.Minute, false, "max-age=60, public"}, {time.Minute, true, "max-age=60, private"}, {0, true, "no-store"},
	} {
		for name, write := range map[string]func(*httptest.ResponseRecorder, *http.Request, *answers.Answer){
			"hit": func(w *httptest.ResponseRecorder, r *http.Request, a *answers.Answer) {
				h.WriteHit(w, r, a, answers.Identity, time.Now())
			},
			"computed": func(w *httptest.ResponseRecorder, r *http.Request, a *answers.Answer) {
				h.WriteComputed(w, r, a, answers.Identity, answers.Miss, time.Now())
			},
		} {
			w := httptest.NewRecorder()
			if c.cookie {
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
			}
			write(w, httptest.NewRequest(http.MethodGet, "/graphql", nil), answer("body", c.maxAge, cache.Public, m))
			if got := w.Header().Get("Cache-Control"); got != c.want {
				t.Errorf("%s for %v, with a cookie: %t: got %q, want %q", name, c.maxAge, c.cookie, got, c.want)
			}
		}
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	f, h := open(t), answers.NewHeader()
	m := f.deps(t, time.Minute, "user:1")
	compressor, err := answers.NewCompressor()
	if err != nil {
		t.Fatal(err)
	}
	a := answer(strings.Repeat("body", 1000), time.Minute, cache.Public, m).In(answers.Gzip, compressor)
	other := answer("another body", time.Minute, cache.Public, m)
	tag := func(a *answers.Answer, e answers.Encoding) string {
		w := httptest.NewRecorder()
		h.WriteHit(w, httptest.NewRequest(http.MethodGet, "/graphql", nil), a, e, time.Now())
		return w.Header().Get("ETag")
	}
	same := tag(a, answers.Identity)
	if tag(other, answers.Identity) == same || tag(a, answers.Gzip) == same {
		t.Fatal("different contents have the same ETag")
	}
	if tag(answer(strings.Repeat("body", 1000), time.Minute, cache.Public, m), answers.Identity) != same {
		t.Error("the same content has two ETags")
	}
	for name, c := range map[string]struct {
		method, none string
		want         int
	}{
		"the same":         {http.MethodGet, same, 304},
		"HEAD":             {http.MethodHead, same, 304},
		"weak":             {http.MethodGet, "W/" + same, 304},
		"one of several":   {http.MethodGet, `"x", ` + same, 304},
		"any":              {http.MethodGet, "*", 304},
		"another":          {http.MethodGet, tag(other, answers.Identity), 200},
		"another encoding": {http.MethodGet, tag(a, answers.Gzip), 200},
		"POST":             {http.MethodPost, same, 200},
		"nonsense":         {http.MethodGet, "body", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(c.method, "/graphql", nil)
			r.Header.Set("If-None-Match", c.none)
			w := httptest.NewRecorder()
			h.WriteHit(w, r, a, answers.Identity, time.Now())
			if w.Code != c.want || (w.Body.Len() == 0) != (c.want == 304) {
				t.Errorf("got status %d, body %q", w.Code, w.Body)
			}
			if w.Code == 304 && (w.Header().Get("ETag") != same || w.Header().Get("Cache-Control") == "") {
				t.Errorf("got 304 with headers %v, want ETag and Cache-Control among them", w.Header())
			}
		})
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	f := open(t)
	fresh := answers.Computed{Status: 200, Body: []byte("x"), MaxAge: time.Minute,
		Deps: f.deps(t, time.Minute, "user:1", "{user:1}:orders:count", "{users}:count")}
	tags := func(fresh answers.Computed) string {
		w := httptest.NewRecorder()
		answers.NewHeader().WriteComputed(w, httptest.NewRequest(http.MethodGet, "/", nil), answers.NewAnswer(fresh, time.Now()), answers.Identity, answers.Miss, time.Now())
		return w.Header().Get(fresh.TagHeader)
	}
	for header, want := range map[string]string{
		"Surrogate-Key": "{Thing} {users}:count {user:1}:orders:count user:1",
		"Cache-Tag":     "{Thing},{users}:count,{user:1}:orders:count,user:1",
	} {
		fresh.TagHeader = header
		if got := tags(fresh); got != want {
			t.Errorf("%s: got %s, want %s", header, got, want)
		}
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	f := open(t)
	m := f.deps(t, time.Minute, "user:1")
	body := strings.Repeat("x", 10_000)
	for i := range 1000 {
		f.store.Put(question(fmt.Sprint(i), ""), answer(body, time.Minute, cache.Public, m))
	}
	if n := f.store.Bytes(); n > 1<<20 {
		t.Errorf("got %d bytes, want at most %d", n, 1<<20)
	}
}

// discard is a ResponseWriter that discards everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkHit(b *testing.B) {
	f, h := open(b), answers.NewHeader()
	var keys []cache.Key
	for i := range 60 {
		keys = append(keys, cache.Key(fmt.Sprintf("product:%d", i)))
	}
	q := question(strings.Repeat("q", 200), "")
	f.store.Put(q, answer(strings.Repeat("x", 2400), time.Hour, cache.Public, f.deps(b, time.Hour, keys...)))
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		a := f.store.Get(q, now)
		if a == nil {
			b.Fatal("the response is not cached")
		}
		clear(w.header)
		h.WriteHit(w, r, a, answers.Identity, now)
	}
}
