package transport_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache/answers"
	"fieldcache/cache/transport"
)

// A request is looked up at most once in each form, whatever its outcome: as it was received, and
// by its meaning if that is not cached.
func TestEachFormIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	const query = "{ hello }"
	body, other := post(`{"query": "{ hello }"}`), post(`{"query": "{hello}"}`)
	head := request{method: http.MethodHead, target: get("query", query)}
	type looked struct{ url, body, meaning uint64 }
	for name, c := range map[string]struct {
		before []request // sent before the look-ups are counted
		evict  bool      // whether everything is evicted then
		send   func(k *keeper, t *testing.T) reply
		want   looked
		status string // the beginning of Cache-Status
	}{
		"a miss":                      {nil, false, func(k *keeper, t *testing.T) reply { return k.send(t, body) }, looked{0, 1, 1}, stored},
		"a hit":                       {[]request{body}, false, func(k *keeper, t *testing.T) reply { return k.send(t, body) }, looked{0, 1, 0}, "fieldcache; hit"},
		"a hit of another form":       {[]request{body}, false, func(k *keeper, t *testing.T) reply { return k.send(t, other) }, looked{0, 1, 1}, "fieldcache; hit"},
		"an evicted response":         {[]request{body}, true, func(k *keeper, t *testing.T) reply { return k.send(t, body) }, looked{0, 1, 1}, stored},
		"a GET that misses":           {nil, false, func(k *keeper, t *testing.T) reply { return k.send(t, byGet(query)) }, looked{1, 0, 1}, stored},
		"a GET that hits":             {[]request{byGet(query)}, false, func(k *keeper, t *testing.T) reply { return k.send(t, byGet(query)) }, looked{1, 0, 0}, "fieldcache; hit"},
		"a HEAD that misses":          {nil, false, func(k *keeper, t *testing.T) reply { return k.send(t, head) }, looked{1, 0, 1}, stored},
		"a HEAD after its GET":        {[]request{byGet(query)}, false, func(k *keeper, t *testing.T) reply { return k.send(t, head) }, looked{1, 0, 0}, "fieldcache; hit"},
		"a GET after its POST":        {[]request{body}, false, func(k *keeper, t *testing.T) reply { return k.send(t, byGet(query)) }, looked{1, 0, 1}, "fieldcache; hit"},
		"no-cache":                    {[]request{body}, false, func(k *keeper, t *testing.T) reply { return k.send(t, body.with("Cache-Control: no-cache")) }, looked{}, stored},
		"no-store":                    {[]request{body}, false, func(k *keeper, t *testing.T) reply { return k.send(t, body.with("Cache-Control: no-store")) }, looked{}, "fieldcache; fwd=bypass"},
		"only-if-cached, a miss":      {nil, false, func(k *keeper, t *testing.T) reply { return k.send(t, body.with("Cache-Control: only-if-cached")) }, looked{0, 1, 1}, ""},
		"a mutation":                  {nil, false, func(k *keeper, t *testing.T) reply { return k.send(t, post(`{"query": "mutation { change }"}`)) }, looked{0, 1, 0}, "fieldcache; fwd=bypass"},
		"a viewer's private response": {[]request{post(`{"query": "{ mine }"}`).as("ann")}, false, func(k *keeper, t *testing.T) reply { return k.send(t, post(`{"query": "{ mine }"}`).as("ann")) }, looked{0, 1, 0}, "fieldcache; hit"},
		"a revalidation": {[]request{byGet(query)}, false, func(k *keeper, t *testing.T) reply {
			r := k.send(t, byGet(query))
			before := k.looked()
			if r = k.send(t, byGet(query, "If-None-Match: "+r.header.Get("Etag"))); r.status != http.StatusNotModified {
				t.Errorf("got status %d, want 304", r.status)
			}
			if after := k.looked(); after[answers.URL]-before[answers.URL] != 1 {
				t.Errorf("got %d look-ups, want 1", after[answers.URL]-before[answers.URL])
			}
			return r
		}, looked{2, 0, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, transport.Options{})
			for _, r := range c.before {
				k.send(t, r)
			}
			if c.evict {
				k.change(t)
			}
			before := k.looked()
			r := c.send(k, t)
			after := k.looked()
			got := looked{after[answers.URL] - before[answers.URL], after[answers.Body] - before[answers.Body], after[answers.Meaning] - before[answers.Meaning]}
			if got != c.want {
				t.Errorf("got look-ups %+v, want %+v", got, c.want)
			}
			if len(r.cacheStatus()) < len(c.status) || r.cacheStatus()[:len(c.status)] != c.status {
				t.Errorf("got Cache-Status %q, want %q", r.cacheStatus(), c.status)
			}
		})
	}
}

// A request that waits for the response of another looks it up again when that response is there.
func TestAWaitingRequestLooksUpTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		hello := post(`{"query": "{ hello }"}`)
		k.send(t, hello)
		k.change(t)
		k.slow.Store(int64(10 * time.Millisecond))
		before := k.looked()
		replies := make(chan reply, 2)
		for range 2 {
			go func() { replies <- k.send(t, hello) }()
			synctest.Wait()
		}
		for range 2 {
			if r := <-replies; r.status != http.StatusOK {
				t.Error(r.status, r.body)
			}
		}
		after := k.looked()
		if body, meaning := after[answers.Body]-before[answers.Body], after[answers.Meaning]-before[answers.Meaning]; body != 3 || meaning != 1 {
			t.Errorf("got %d look-ups of the body and %d of the meaning, want 3 and 1", body, meaning)
		}
	})
}

// looked returns the number of look-ups in the store, by kind.
func (k *keeper) looked() map[answers.Kind]uint64 {
	m := map[answers.Kind]uint64{}
	for _, kind := range []answers.Kind{answers.URL, answers.Body, answers.Meaning} {
		m[kind] = k.store.Lookups(kind)
	}
	return m
}
