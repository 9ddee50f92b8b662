package answers_test

import (
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/answers"
)

// A response whose dependencies are Passing is not cached, neither here nor by HTTP caches.
func TestPassingAnswersAreStoredByNobody(t *testing.T) {
	f := open(t)
	q := answers.Question{Kind: answers.Body, Text: []byte("q")}
	for name, passing := range map[string]bool{"another": false, "one that passes": true} {
		a := answers.NewAnswer(answers.Computed{Status: 200, MaxAge: time.Minute, Deps: cache.Deps{Passing: passing, Stamp: f.cache.Generations().Stamp(cache.Item{Key: "user:1"})}, Body: []byte("{}")}, time.Now())
		if stored := f.store.Put(q, a); stored == passing || (a.MaxAge() == 0) != passing {
			t.Errorf("%s: got stored %v, max age %v", name, stored, a.MaxAge())
		}
	}
}

func TestAnswersAreMadeAnewAfterASoftEviction(t *testing.T) {
	f := open(t)
	q := answers.Question{Kind: answers.Body, Text: []byte("q")}
	put := func() {
		a := answers.NewAnswer(answers.Computed{Status: 200, MaxAge: time.Minute, Deps: cache.Deps{Names: []string{"user:1"}, Stamp: f.cache.Generations().Stamp(cache.Item{Key: "user:1"})}, Body: []byte("{}")}, time.Now())
		if !f.store.Put(q, a) {
			t.Fatal("the response was not cached")
		}
	}
	there := func(want bool) {
		t.Helper()
		if got := f.store.Get(q, time.Now()) != nil; got != want {
			t.Errorf("got cached %v, want %v", got, want)
		}
	}
	evict := func(key cache.Key) {
		if _, err := f.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{key}, Soft: true}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	there(true)
	evict("user:2")
	there(true)
	evict("user:1")
	there(false)
	put()
	there(true)
}

// A soft eviction may come while a response is computed, from a value that it names.
func TestAnswersFromBeforeASoftEvictionAreMadeAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t)
		f.deps(t, time.Minute, "user:1")
		time.Sleep(time.Second)
		m := f.deps(t, time.Minute, "user:1")
		for _, test := range []struct {
			key  cache.Key
			want string
		}{{"user:2", "body"}, {"user:1", ""}} {
			time.Sleep(time.Second)
			if _, err := f.cache.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{test.key}, Soft: true}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			q := question(string(test.key), "")
			f.store.Put(q, answer("body", time.Minute, cache.Public, m))
			f.want(t, q, test.want)
		}
	})
}
