package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// numbers is a kind whose values are ten times their keys. Values of keys above 100 do not exist.
type numbers struct {
	*cache.Kind[int, int]
	mu        sync.Mutex
	requested [][]int
	fail      error
	panic     bool
	wait      chan struct{} // a load waits for it
}

func newNumbers(name string, maxAge time.Duration) *numbers {
	n := &numbers{}
	kinds := cache.NewKinds(func(string) (cache.Policy, error) { return cache.Policy{MaxAge: maxAge}, nil })
	n.Kind = cache.NewKind(kinds, cache.KindOptions[int, int]{
		Of: "Number", Types: []string{"Number"}, Load: n.load,
		Name: func(k int) (cache.Key, cache.Tag) { return cache.Entity(name, strconv.Itoa(k)), "" },
	})
	return n
}

func (n *numbers) load(_ context.Context, keys []int) (map[int]int, cache.Snapshot, error) {
	n.mu.Lock()
	n.requested = append(n.requested, slices.Sorted(slices.Values(keys)))
	fail, wait := n.fail, n.wait
	n.mu.Unlock()
	if wait != nil {
		<-wait
	}
	if n.panic {
		panic("boom")
	}
	found := map[int]int{}
	for _, k := range keys {
		if k <= 100 {
			found[k] = 10 * k
		}
	}
	return found, cache.SnapshotAfter(1), fail
}

func (n *numbers) loads(t *testing.T, want ...[]int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if fmt.Sprint(n.requested) != fmt.Sprint(want) {
		t.Errorf("got loads of %v, want %v", n.requested, want)
	}
}

// batchOf returns the batch of one operation, and its cache. A patience of an hour outlasts every
// test that is not about patience.
func batchOf(t *testing.T, patience time.Duration) (*cache.Batch, *cache.Cache) {
	m, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	b := c.NewBatch()
	b.Patience = patience
	return b, c
}

// Fields that were announced share a batch, whatever they do before their request.
func TestABatchIsCompleteByCounting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, time.Hour)
		n, other := newNumbers("number", time.Minute), newNumbers("other", time.Minute)
		const fields = 6
		b.Expect(t.Context(), fields)
		var wg sync.WaitGroup
		for i := range fields {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second) // slow for reasons of its own
				from := n
				if i%3 == 2 {
					from = other
				}
				v, err := from.Get(t.Context(), b, i)
				if v != 10*i || err != nil {
					t.Errorf("key %d: got %d, error %v", i, v, err)
				}
				b.Expect(t.Context(), -1)
			})
		}
		wg.Wait()
		n.loads(t, []int{0, 1, 3, 4})
		other.loads(t, []int{2, 5})
	})
}

// A field that makes another request after a result shares a batch with the fields that got their
// result at the same time.
func TestTheNextLevelIsOneBatchToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, time.Hour)
		n := newNumbers("number", time.Minute)
		b.Expect(t.Context(), 4)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				defer b.Expect(t.Context(), -1)
				if i == 3 {
					return // without a request
				}
				for k := i; k < 9; k += 3 {
					if v, err := n.Get(t.Context(), b, k); v != 10*k || err != nil {
						t.Errorf("got %d, error %v", v, err)
					}
				}
			})
		}
		wg.Wait()
		n.loads(t, []int{0, 1, 2}, []int{3, 4, 5}, []int{6, 7, 8})
	})
}

// When the last field returns without a request, the batch loads.
func TestTheLastFieldNeedNotAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, time.Hour)
		n := newNumbers("number", time.Minute)
		b.Expect(t.Context(), 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := n.Get(t.Context(), b, 1); v != 10 || err != nil {
				t.Errorf("got %d, error %v", v, err)
			}
		})
		synctest.Wait()
		n.loads(t)
		b.Expect(t.Context(), -1)
		wg.Wait()
		n.loads(t, []int{1})
	})
}

// Fields that were announced but never request anything delay the batch by its patience, and no
// longer.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, 5*time.Millisecond)
		n := newNumbers("number", time.Minute)
		b.Expect(t.Context(), 100)
		began := time.Now()
		if v, err := n.Get(t.Context(), b, 1); v != 10 || err != nil {
			t.Errorf("got %d, error %v", v, err)
		}
		if d := time.Since(began); d != 5*time.Millisecond {
			t.Errorf("waited %v, want 5ms", d)
		}
	})
}

// Fields that cannot begin before others end, as those of a list with gqlgen's worker_limit, do not
// wait for the whole patience each time.
func TestPatienceShrinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, 16*time.Millisecond)
		n := newNumbers("number", time.Minute)
		b.Expect(t.Context(), 1000)
		began := time.Now()
		for i := 1; i <= 6; i++ {
			if v, err := n.Get(t.Context(), b, i); v != 10*i || err != nil {
				t.Errorf("got %d, error %v", v, err)
			}
		}
		if d := time.Since(began); d != (16+8+4+2+1+1)*time.Millisecond {
			t.Errorf("waited %v, want 32ms", d)
		}
	})
}

// If fields are not announced, every load is a batch of its own.
func TestNobodyCounts(t *testing.T) {
	t.Parallel()
	b, _ := batchOf(t, time.Hour)
	n := newNumbers("number", time.Minute)
	for i := 1; i <= 2; i++ {
		if v, err := n.Get(t.Context(), b, i); v != 10*i || err != nil {
			t.Errorf("got %d, error %v", v, err)
		}
	}
	n.loads(t, []int{1}, []int{2})
}

func TestMany(t *testing.T) {
	t.Parallel()
	b, _ := batchOf(t, time.Hour)
	n := newNumbers("number", time.Minute)
	got, err := n.Many(t.Context(), b, []int{3, 101, 1, 3})
	if fmt.Sprint(got) != "[30 10 30]" || err != nil {
		t.Errorf("got %v, error %v", got, err)
	}
	n.loads(t, []int{1, 3, 101})
	if v, err := n.Get(t.Context(), b, 101); v != 0 || err != nil {
		t.Errorf("got %v, error %v for a missing value, want none", v, err)
	}
	n.loads(t, []int{1, 3, 101})
}

// An operation loads a value once, even if it must not be cached, until Forget is called after a
// write.
func TestWithinAnOperation(t *testing.T) {
	t.Parallel()
	b, c := batchOf(t, time.Hour)
	n := newNumbers("number", 0)
	for range 3 {
		if v, err := n.Get(t.Context(), b, 1); v != 10 || err != nil {
			t.Errorf("got %d, error %v", v, err)
		}
	}
	n.loads(t, []int{1})
	if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"number:1"}}}); err != nil {
		t.Fatal(err)
	}
	b.Forget()
	if v, err := n.Get(t.Context(), b, 1); v != 10 || err != nil {
		t.Errorf("got %d, error %v", v, err)
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
		"a panic":  {func(n *numbers) { n.panic = true }, func(err error) bool { return errors.As(err, new(*cache.PanicError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := batchOf(t, time.Hour)
			n := newNumbers("number", time.Minute)
			c.spoil(n)
			b.Expect(t.Context(), 3)
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if _, err := n.Get(t.Context(), b, i); !c.is(err) {
						t.Errorf("got error %v", err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A caller whose context ends does not wait for the batch.
func TestCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchOf(t, time.Hour)
		n := newNumbers("number", time.Minute)
		n.wait = make(chan struct{})
		b.Expect(t.Context(), 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := n.Get(t.Context(), b, 1); v != 10 || err != nil {
				t.Errorf("the first caller got %d, error %v", v, err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		synctest.Wait()
		wg.Go(func() { b.Expect(t.Context(), -1) }) // completes the batch, which hangs
		synctest.Wait()
		if _, err := n.Get(ctx, b, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want DeadlineExceeded", err)
		}
		close(n.wait)
		wg.Wait()
	})
}

func TestKindsSayWhatIsUntrue(t *testing.T) {
	t.Parallel()
	kinds := cache.NewKinds(func(string) (cache.Policy, error) { return cache.Policy{MaxAge: time.Minute}, nil })
	type page struct{ owner, first int64 }
	load := func(context.Context, []page) (map[page]int, cache.Snapshot, error) { return nil, cache.Snapshot{}, nil }
	books := func(owner int64) cache.Tag {
		return cache.Entity("author", strconv.FormatInt(owner, 10)).Collection("books")
	}
	owner := func(c cache.Columns) (p page, ok bool) { p.owner, ok = c.Int("author_id"); return p, ok }
	cache.NewKind(kinds, cache.KindOptions[page, int]{
		Of: "Author.books", Types: []string{"Book"}, Match: owner, Load: load,
		Name: func(p page) (cache.Key, cache.Tag) {
			return books(p.owner).List("first", strconv.FormatInt(p.first, 10)), books(p.owner)
		},
	})
	cache.NewCount(kinds, cache.CountOptions[page]{
		Of: "BookConnection.totalCount", Rows: "Author.books", Types: []string{"Book"}, Match: owner, Load: load,
		List: func(p page) cache.Tag { return books(p.owner) },
	})
	type code string
	cache.NewKind(kinds, cache.KindOptions[code, int]{
		Of: "Country", Types: []string{"Country"},
		Name: func(c code) (cache.Key, cache.Tag) { return cache.Entity("country", string(c)), "" },
		Load: func(context.Context, []code) (map[code]int, cache.Snapshot, error) { return nil, cache.Snapshot{}, nil },
	})
	cache.NewKind(kinds, cache.KindOptions[page, int]{
		Of: "Query.find", Types: []string{"Author", "Book"}, Load: load,
		Name: func(page) (cache.Key, cache.Tag) { return "{found}:x", "" },
		Any:  map[string]cache.Tag{"authors": "{authors}:name", "books": "{books}:title"},
	})
	all, err := kinds.All()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]cache.Stored{}
	for _, k := range all {
		byName[k.Coordinate()] = k
	}
	for _, test := range []struct {
		name, of, table string
		values          cache.Columns
		want            string
	}{
		{"a list by its tag", "Author.books", "books", cache.Columns{"author_id": "7"}, "[] [{author:7}:books]"},
		{"a count by its key", "BookConnection.totalCount", "books", cache.Columns{"author_id": "7"}, "[{author:7}:books:count] []"},
		{"a row without an owner", "Author.books", "books", cache.Columns{"author_id": cache.Null}, "[] []"},
		{"an invalid value", "Author.books", "books", cache.Columns{"author_id": "x"}, "[] [{Book}]"},
		{"a column that the kind does not know", "Author.books", "books", cache.Columns{"writer_id": "7"}, "[] [{Book}]"},
		{"an entity by its key", "Country", "countries", cache.Columns{"code": "GB"}, "[country:GB] []"},
		{"more columns than a key has", "Country", "countries", cache.Columns{"code": "GB", "part": "EN"}, "[] [{Country}]"},
		{"any row of one table", "Query.find", "authors", nil, "[] [{authors}:name]"},
		{"any row of another", "Query.find", "books", nil, "[] [{books}:title]"},
		{"a row of a third", "Query.find", "shelves", nil, "[] [{Author} {Book}]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev := byName[test.of].Untrue(test.table, test.values)
			if got := fmt.Sprint(ev.Keys, ev.Tags); got != test.want {
				t.Errorf("got evictions %s, want %s", got, test.want)
			}
		})
	}
	if err := byName["Country"].Matches([]string{"code", "part"}); err == nil {
		t.Error("a kind with a key of one column accepts two")
	}
}

func TestKindsReportAllFaults(t *testing.T) {
	t.Parallel()
	kinds := cache.NewKinds(func(c string) (cache.Policy, error) { return cache.Policy{}, fmt.Errorf("there is no %s", c) })
	cache.NewKind(kinds, cache.KindOptions[int, int]{Of: "A"})
	cache.NewKind(kinds, cache.KindOptions[struct{ a, b int }, int]{Of: "B", Types: []string{"B"}})
	_, err := kinds.All()
	for _, want := range []string{"there is no A", "A: Name and Types are required", "A: Load is required", "there is no B", "B: Match is required"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in the error, got %v", want, err)
		}
	}
}

// One statement reads all parts that are requested, and a load of the main part of a row caches the
// other parts along with it.
func TestPartsOfARow(t *testing.T) {
	t.Parallel()
	type row struct{ Name, Price string }
	var requested []string
	kinds := cache.NewKinds(func(string) (cache.Policy, error) { return cache.Policy{MaxAge: time.Minute}, nil })
	rows := cache.NewRow(kinds, cache.RowOptions[int64, *row]{
		Types: []string{"Product"},
		Key:   func(id int64) cache.Key { return cache.Entity("product", strconv.FormatInt(id, 10)) },
		Load: func(_ context.Context, ids []int64, parts []string) (map[int64]*row, cache.Snapshot, error) {
			slices.Sort(parts)
			requested = append(requested, fmt.Sprintf("%v %q", ids, parts))
			return map[int64]*row{7: {"Lamp", "19.99"}}, cache.SnapshotAfter(1), nil
		},
	})
	name := cache.NewPart(rows, cache.PartOptions[*row, string]{Of: "Product", Value: func(r *row) string { return r.Name }})
	price := cache.NewPart(rows, cache.PartOptions[*row, string]{Of: "Product.price", Name: "price", Value: func(r *row) string { return r.Price }})
	b, c := batchOf(t, time.Hour)
	ctx := t.Context()
	evict := func(k cache.Stored) {
		t.Helper()
		if _, err := c.Evict(ctx, cache.Write{Eviction: k.Untrue("products", cache.Columns{"id": "7"})}); err != nil {
			t.Fatal(err)
		}
		b.Forget()
	}
	for i, step := range []struct {
		evicted   cache.Stored
		of        *cache.Kind[int64, string]
		id        int64
		want      string
		statement string
	}{
		{nil, name, 7, "Lamp", `[7] ["" "price"]`},
		{nil, price, 7, "19.99", ""},
		{price, price, 7, "19.99", `[7] ["price"]`},
		{nil, name, 7, "Lamp", ""},
		{name, price, 7, "19.99", ""},
		{nil, price, 8, "", `[8] ["price"]`},
	} {
		if requested = nil; step.evicted != nil {
			evict(step.evicted)
		}
		got, err := step.of.Get(ctx, b, step.id)
		if s := strings.Join(requested, " "); got != step.want || err != nil || s != step.statement {
			t.Errorf("step %d: got %q, error %v, statement %s; want %q, statement %s", i, got, err, s, step.want, step.statement)
		}
	}
	if r := price.Request(7); r.Key != "{product:7}:price" {
		t.Errorf("got key %s for the price", r.Key)
	}
	for _, k := range []*cache.Kind[int64, string]{name, price} {
		v, err := k.Request(7).Source.Decode(k.Request(7), []byte(`"x"`))
		if v != "x" || err != nil {
			t.Errorf("decoded %v, error %v", v, err)
		}
	}
}
