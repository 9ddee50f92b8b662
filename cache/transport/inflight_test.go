package transport_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache/transport"
)

// When many clients request an evicted response, one request computes it. The others get that
// response, if it is still valid when they look it up.
func TestOneComputesForMany(t *testing.T) {
	const many = 20
	hello := post(`{"query": "{ hello }"}`)
	send := func(t *testing.T, k *keeper, wg *sync.WaitGroup, version string) {
		for range many {
			wg.Go(func() {
				if r := k.send(t, hello); !strings.Contains(r.body, version+`"`) {
					t.Errorf("got %s, want version %s", r.body, version)
				}
			})
		}
		synctest.Wait()
	}
	tests := map[string]struct {
		slow       time.Duration
		request    func(t *testing.T, k *keeper, wg *sync.WaitGroup)
		executions int64 // executions
	}{
		"all at once": {10 * time.Millisecond, func(t *testing.T, k *keeper, wg *sync.WaitGroup) { send(t, k, wg, "v1") }, 1},
		"a write in between": {10 * time.Millisecond, func(t *testing.T, k *keeper, wg *sync.WaitGroup) {
			wg.Go(func() { k.send(t, hello) })
			synctest.Wait()
			k.change(t)
			send(t, k, wg, "v2") // a request after a write must not get a response from before it
		}, 2},
		"a slow request": {time.Second, func(t *testing.T, k *keeper, wg *sync.WaitGroup) {
			began := time.Now()
			send(t, k, wg, "v1")
			wg.Wait()
			if took := time.Since(began); took > time.Second+10*time.Millisecond {
				t.Errorf("waiting in vain took %v, want at most 1.01s", took)
			}
		}, many},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKeeper(t, transport.Options{})
				k.send(t, hello)
				k.change(t)
				k.slow.Store(int64(test.slow))
				k.executions.Store(0)
				var wg sync.WaitGroup
				test.request(t, k, &wg)
				wg.Wait()
				if n := k.executions.Load(); n != test.executions {
					t.Errorf("got %d executions, want %d", n, test.executions)
				}
			})
		})
	}
}

// A response that was never cached may not be cacheable, so no request waits for it.
func TestNobodyWaitsForAnAnswerThatWasNeverStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, transport.Options{})
		k.slow.Store(int64(10 * time.Millisecond))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { k.send(t, post(`{"query": "{ never }"}`)) })
		}
		synctest.Wait()
		if n := k.executions.Load(); n != 20 {
			t.Errorf("got %d executions in flight, want 20", n)
		}
		wg.Wait()
	})
}
