package transport_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache/transport"
)

// A request's cache directives are obeyed. cached is the response cached before the request, computed
// a new one.
func TestRequestDirectives(t *testing.T) {
	t.Parallel()
	const cached, computed, refused = "kept", "computed", "refused"
	for name, c := range map[string]struct {
		header string
		age    time.Duration // of the cached response
		want   string
		stores bool // whether the next request gets the new response
	}{
		"nothing":                     {"Accept: */*", 5 * time.Second, cached, false},
		"no-cache":                    {"Cache-Control: no-cache", 0, computed, true},
		"NO-CACHE":                    {"Cache-Control: NO-CACHE", 0, computed, true},
		"Pragma":                      {"Pragma: no-cache", 0, computed, true},
		"no-store":                    {"Cache-Control: no-store", 0, computed, false},
		"no-store and no-cache":       {"Cache-Control: no-cache, no-store", 0, computed, false},
		"only-if-cached":              {"Cache-Control: only-if-cached", 5 * time.Second, cached, false},
		"only-if-cached, no-cache":    {"Cache-Control: only-if-cached, no-cache", 0, refused, false},
		"only-if-cached, too old":     {"Cache-Control: only-if-cached, max-age=4", 5 * time.Second, refused, false},
		"max-age, young enough":       {"Cache-Control: max-age=5", 5 * time.Second, cached, false},
		"max-age, too old":            {"Cache-Control: max-age=4", 5 * time.Second, computed, true},
		"max-age=0, just loaded":      {"Cache-Control: max-age=0", 0, cached, false},
		"max-age=0":                   {"Cache-Control: max-age=0", time.Second, computed, true},
		"max-age in quotes":           {`Cache-Control: max-age="4"`, 5 * time.Second, computed, true},
		"max-age, invalid":            {"Cache-Control: max-age=x", 5 * time.Second, cached, false},
		"max-age below 0":             {"Cache-Control: max-age=-1", 5 * time.Second, cached, false},
		"min-fresh, enough":           {"Cache-Control: min-fresh=40", 5 * time.Second, cached, false},
		"min-fresh, too little":       {"Cache-Control: min-fresh=58", 5 * time.Second, computed, true},
		"unknown directives":          {`Cache-Control: x="no-cache, no-store", no-transform`, 0, cached, false},
		"max-stale, a fresh response": {"Cache-Control: max-stale=10", 5 * time.Second, cached, false},
	} {
		for _, form := range []request{post(hello), byGet("{ hello }"), post(" " + hello)} {
			t.Run(name+" "+form.method+form.body, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					k := newKeeper(t, transport.Options{})
					k.front = true
					before := k.want(t, post(hello), stored)
					time.Sleep(c.age)
					k.version.Add(1) // without an eviction
					r := k.send(t, form.with(c.header))
					switch c.want {
					case cached:
						if !r.hit() || r.body != before.body || k.loads.Load() != 1 {
							t.Errorf("want the cached response, got %q %s", r.cacheStatus(), r.body)
						}
					case computed:
						if want := map[bool]string{true: stored, false: "fieldcache; fwd=bypass"}[c.stores]; r.cacheStatus() != want || !strings.Contains(r.body, "v1") || r.header.Get("Age") != "0" {
							t.Errorf("want a computed response, got %q %s %v", r.cacheStatus(), r.body, r.header)
						}
					case refused:
						if r.status != http.StatusGatewayTimeout || !strings.Contains(r.body, `"code":"NOT_CACHED"`) || r.header.Get("Cache-Control") != "no-store" ||
							r.cacheStatus() != "fieldcache; detail=only-if-cached" || k.loads.Load() != 1 {
							t.Errorf("want a refusal, got %d %s %v", r.status, r.body, r.header)
						}
					}
					if next := k.send(t, form); !next.hit() || strings.Contains(next.body, "v1") != c.stores {
						t.Errorf("next request: got %q %s", next.cacheStatus(), next.body)
					}
				})
			})
		}
	}
}

// A request that accepts only a cached response gets an error if there is none, and nothing is
// executed.
func TestOnlyIfCached(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]request{
		"POST":       post(hello),
		"GET":        byGet("{ hello }"),
		"a mutation": post(`{"query":"mutation { change }"}`),
		"a batch":    post("[" + hello + "," + hello + "]"),
		"a change":   post("[" + hello + `,{"query":"mutation { change }"}]`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, transport.Options{})
			r := k.send(t, in.with("Cache-Control: only-if-cached"))
			if r.status != http.StatusGatewayTimeout || !strings.Contains(r.body, `"code":"NOT_CACHED"`) ||
				r.cacheStatus() != "fieldcache; detail=only-if-cached" || k.loads.Load()+k.runs.Load() > 0 {
				t.Errorf("got %d %s, %d loads, %d changes", r.status, r.body, k.loads.Load(), k.runs.Load())
			}
			computed := k.send(t, in)
			if r := k.send(t, in.with("Cache-Control: only-if-cached")); (r.status == 200) != strings.HasSuffix(computed.cacheStatus(), "stored") {
				t.Errorf("afterwards: got %d %s", r.status, r.body)
			}
		})
	}
}

// Age tells a client for how long the response has been cached here.
func TestAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		check := func(r reply, age int, hit bool) {
			t.Helper()
			if r.header.Get("Age") != fmt.Sprint(age) || r.header.Get("Cache-Control") != "max-age=60, public" || r.hit() != hit {
				t.Errorf("got Age %s, want %d: %s %s", r.header.Get("Age"), age, r.header.Get("Cache-Control"), r.cacheStatus())
			}
		}
		check(k.send(t, post(hello)), 0, false)
		time.Sleep(5 * time.Second)
		r := k.send(t, post(hello))
		check(r, 5, true)
		var ttl int
		if _, err := fmt.Sscanf(r.cacheStatus(), "fieldcache; hit; ttl=%d", &ttl); err != nil || ttl > 55 || ttl < 49 {
			t.Errorf("got Cache-Status %s", r.cacheStatus())
		}
		// A new response is as old as its oldest part.
		partial := k.want(t, post(`{"query":"{ long hello }"}`), "fieldcache; fwd=partial; stored")
		check(partial, 5, false)
		time.Sleep(time.Minute)
		check(k.send(t, post(hello)), 0, false)
		if k.loads.Load() != 3 {
			t.Errorf("got %d loads, want 3", k.loads.Load())
		}
	})
}

// If a part of a response expires, only that part is loaded again.
func TestPartThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		in := post(`{"query":"{ short hello long }"}`)
		if r := k.want(t, in, stored); r.header.Get("Cache-Control") != "max-age=10, public" {
			t.Error(r.header)
		}
		time.Sleep(10 * time.Second)
		k.version.Add(1)
		r := k.want(t, in, "fieldcache; fwd=partial; stored")
		if r.body != `{"data":{"short":"short:{} v1","hello":"hello:{\"name\":\"you\"} v0","long":"long:{} v0"}}` || k.loads.Load() != 4 {
			t.Errorf("got %s, %d loads", r.body, k.loads.Load())
		}
	})
}

// A client that has the current content gets 304. A client that has other content, or that uses
// POST, gets the content.
func TestIfNoneMatch(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{})
	k.front = true
	tag := func(in request) string { return k.send(t, in).header.Get("Etag") }
	in := byGet("{ mine }").as("8")
	mine, theirs, other := tag(in), tag(in.as("9")), tag(byGet("{ hello }"))
	if mine == "" || mine == theirs || mine == other {
		t.Fatalf("tags %q %q %q", mine, theirs, other)
	}
	head := request{method: http.MethodHead, target: in.target, viewer: "8"}
	for name, c := range map[string]struct {
		request
		none string
		want int
	}{
		"the same":                      {in, mine, 304},
		"the same, HEAD":                {head, mine, 304},
		"one of several":                {in, `"x", W/` + mine, 304},
		"executed again":                {in.with("Cache-Control: no-cache"), mine, 304},
		"another viewer's":              {in, theirs, 200},
		"by another viewer":             {in.as("9"), mine, 200},
		"without a viewer":              {in.as(""), mine, 200},
		"another response's":            {in, other, 200},
		"POST":                          {post(`{"query":"{ mine }"}`).as("8"), mine, 200},
		"a response that is not cached": {byGet("{ never }"), "*", 200},
		"an error":                      {byGet("{ broken }"), "*", 200},
		"a mutation":                    {post(`{"query":"mutation { change }"}`), "*", 200},
		"a mutation, with a tag":        {post(`{"query":"mutation { change }"}`), mine, 200},
	} {
		t.Run(name, func(t *testing.T) {
			runs := k.runs.Load()
			r := k.send(t, c.request.with("If-None-Match: "+c.none))
			if r.status != c.want || (r.body == "") != (c.want == 304) {
				t.Errorf("got %d %s", r.status, r.body)
			}
			if c.want == 304 && (r.header.Get("Etag") != mine || r.header.Get("Vary") == "" || r.header.Get("Cache-Control") != "max-age=60, private" || r.header.Get("Content-Type") != "") {
				t.Errorf("got headers %v", r.header)
			}
			if strings.Contains(c.body, "mutation") && k.runs.Load() != runs+1 {
				t.Error("the mutation did not run")
			}
		})
	}
	k.change(t)
	if r := k.send(t, in.with("If-None-Match: "+mine)); r.status != 200 || r.header.Get("Etag") == mine {
		t.Errorf("after a change: got %d %v", r.status, r.header)
	}
}

// A response that ServeCached serves has the Vary header that it would have without ServeCached. A
// request that ServeCached does not serve is left unchanged.
func TestServeCached(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{CachedVary: "Origin"})
	k.front = true
	for _, in := range []request{post(hello), byGet("{ hello }")} {
		k.send(t, in)
		if r := k.send(t, in); !r.hit() || strings.Join(r.header["Vary"], ", ") != "Accept, Accept-Encoding, Origin" {
			t.Errorf("got %q %v", r.cacheStatus(), r.header)
		}
		for _, h := range []string{"Origin: https://shop.example", "Authorization: Bearer x", "Cache-Control: no-cache", "Pragma: no-cache", "Cache-Debug: 1", "If-None-Match: *"} {
			if r := k.send(t, in.with(h)); r.status == 200 && strings.Contains(strings.Join(r.header["Vary"], ", "), "Origin") {
				t.Errorf("%s: ServeCached served the request", h)
			}
		}
	}
	if r := k.send(t, post(`{"query":"{ long }"}`)); r.status != 200 || !strings.Contains(r.body, "long") {
		t.Errorf("a body that ServeCached has read is lost: got %d %s", r.status, r.body)
	}
	if k.send(t, post(hello, "Accept: text/html")).status != http.StatusNotAcceptable {
		t.Error("ServeCached served a type that the client does not accept")
	}
}
