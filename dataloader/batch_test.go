package dataloader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// numbers is a kind whose values are ten times their keys; those above 100 are not there.
type numbers struct {
	kind[int, int]
	mu    sync.Mutex
	asked [][]int
	fail  error
	wait  chan struct{} // a load waits for it
}

func newNumbers(maxAge time.Duration) *numbers {
	n := &numbers{}
	n.kind = kind[int, int]{maxAge, func(k int) (cache.Key, []cache.Tag) {
		return entity("number", int64(k)), nil
	}, func(_ context.Context, keys []int) (map[int]int, cache.Snapshot, error) {
		n.mu.Lock()
		n.asked = append(n.asked, slices.Sorted(slices.Values(keys)))
		fail, wait := n.fail, n.wait
		n.mu.Unlock()
		if wait != nil {
			<-wait
		}
		found := map[int]int{}
		for _, k := range keys {
			if k <= 100 {
				found[k] = 10 * k
			}
		}
		return found, cache.SnapshotAfter(1), fail
	}}
	return n
}

func (n *numbers) loads(t *testing.T, want ...[]int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if fmt.Sprint(n.asked) != fmt.Sprint(want) {
		t.Errorf("the source was asked %v, want %v", n.asked, want)
	}
}

// operation makes the loaders of one operation, whose patience outlasts every test that is not about it.
func operation(t *testing.T, patience time.Duration) *Loaders {
	m, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	f := &Factory{cache: c, Patience: patience}
	return For(f.Attach(t.Context(), nil))
}

// Fields that have been counted share a batch, whatever they do before they ask.
func TestABatchIsCompleteByCounting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, n, other := operation(t, time.Hour), newNumbers(time.Minute), newNumbers(time.Minute)
		other.name = func(k int) (cache.Key, []cache.Tag) { return entity("other", int64(k)), nil }
		const fields = 6
		l.Expect(t.Context(), fields)
		var wg sync.WaitGroup
		for i := range fields {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second) // slow for reasons of its own
				from := n
				if i%3 == 2 {
					from = other
				}
				v, err := get(t.Context(), l, &from.kind, i)
				if v != 10*i || err != nil {
					t.Errorf("%d: got %d, %v", i, v, err)
				}
				l.Expect(t.Context(), -1)
			})
		}
		wg.Wait()
		n.loads(t, []int{0, 1, 3, 4})
		other.loads(t, []int{2, 5})
	})
}

// A field that asks again after its answer shares a batch with those that were answered with it.
func TestTheNextLevelIsOneBatchToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, n := operation(t, time.Hour), newNumbers(time.Minute)
		l.Expect(t.Context(), 4)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				defer l.Expect(t.Context(), -1)
				if i == 3 {
					return // asks nothing
				}
				for k := i; k < 9; k += 3 {
					if v, err := get(t.Context(), l, &n.kind, k); v != 10*k || err != nil {
						t.Errorf("got %d, %v", v, err)
					}
				}
			})
		}
		wg.Wait()
		n.loads(t, []int{0, 1, 2}, []int{3, 4, 5}, []int{6, 7, 8})
	})
}

// The last one to end without asking sends the batch on its way.
func TestTheLastFieldNeedNotAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, n := operation(t, time.Hour), newNumbers(time.Minute)
		l.Expect(t.Context(), 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := get(t.Context(), l, &n.kind, 1); v != 10 || err != nil {
				t.Errorf("got %d, %v", v, err)
			}
		})
		synctest.Wait()
		n.loads(t)
		l.Expect(t.Context(), -1)
		wg.Wait()
		n.loads(t, []int{1})
	})
}

// Fields that were announced and never come cost patience, no more.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, n := operation(t, 5*time.Millisecond), newNumbers(time.Minute)
		l.Expect(t.Context(), 100)
		began := time.Now()
		if v, err := get(t.Context(), l, &n.kind, 1); v != 10 || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
		if d := time.Since(began); d != 5*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

// Where nobody counts, every load is answered by itself.
func TestNobodyCounts(t *testing.T) {
	t.Parallel()
	l, n := operation(t, time.Hour), newNumbers(time.Minute)
	for i := 1; i <= 2; i++ {
		if v, err := get(t.Context(), l, &n.kind, i); v != 10*i || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
	n.loads(t, []int{1}, []int{2})
}

func TestMany(t *testing.T) {
	t.Parallel()
	l, n := operation(t, time.Hour), newNumbers(time.Minute)
	got, err := many[int, int](t.Context(), l, []int{3, 101, 1, 3}, n.request)
	if fmt.Sprint(got) != "[30 10 30]" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	n.loads(t, []int{1, 3, 101})
	if v, err := get(t.Context(), l, &n.kind, 101); v != 0 || err != nil {
		t.Errorf("what is not there is %v, %v", v, err)
	}
	n.loads(t, []int{1, 3, 101})
}

// Within an operation a thing is asked for once, even if it may not be cached, until something is written.
func TestWithinAnOperation(t *testing.T) {
	t.Parallel()
	l, n := operation(t, time.Hour), newNumbers(0)
	for range 3 {
		if v, err := get(t.Context(), l, &n.kind, 1); v != 10 || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
	n.loads(t, []int{1})
	if err := l.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"number:1"}}}); err != nil {
		t.Fatal(err)
	}
	if v, err := get(t.Context(), l, &n.kind, 1); v != 10 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	n.loads(t, []int{1}, []int{1})
}

func TestErrorsReachEveryWaiter(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		spoil func(*numbers)
		is    func(error) bool
	}{
		"an error": {func(n *numbers) { n.fail = boom }, func(err error) bool { return errors.Is(err, boom) }},
		"a panic": {func(n *numbers) {
			n.load = func(context.Context, []int) (map[int]int, cache.Snapshot, error) { panic("boom") }
		},
			func(err error) bool { return errors.As(err, new(*cache.PanicError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, n := operation(t, time.Hour), newNumbers(time.Minute)
			c.spoil(n)
			l.Expect(t.Context(), 3)
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if _, err := get(t.Context(), l, &n.kind, i); !c.is(err) {
						t.Errorf("got %v", err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A caller whose time is up does not wait for the batch.
func TestCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, n := operation(t, time.Hour), newNumbers(time.Minute)
		n.wait = make(chan struct{})
		l.Expect(t.Context(), 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := get(t.Context(), l, &n.kind, 1); v != 10 || err != nil {
				t.Errorf("the leader got %d, %v", v, err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		synctest.Wait()
		wg.Go(func() { l.Expect(t.Context(), -1) }) // leads the batch, which hangs
		synctest.Wait()
		if _, err := get(ctx, l, &n.kind, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(n.wait)
		wg.Wait()
	})
}
