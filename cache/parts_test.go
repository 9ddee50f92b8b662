package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
)

const partRows = 3

// partsWorld has gateways on one database, rows whose values are version numbers, and values that are
// made of the rows in all ways in which a source may read them.
type partsWorld struct {
	t        *testing.T
	d        *database
	gateways []*process
	short    bool                    // whether values expire soon, and are served while they are loaded again
	writing  [partRows]chan struct{} // a mutex would stop the time of the test
	mu       sync.Mutex
	random   *rand.Rand
	written  []partWrite
}

// partWrite is a write that was acknowledged.
type partWrite struct {
	gateway, row, version int
	at                    time.Time
}

func (w *partsWorld) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

// nap takes some time, or none.
func (w *partsWorld) nap(most time.Duration) {
	if n := w.draw(int(most)); w.draw(3) > 0 {
		time.Sleep(time.Duration(n))
	}
}

// version returns the current version of a row.
func (w *partsWorld) version(row int) int {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	n, _ := strconv.Atoi(w.d.row(partKey("row", row)))
	return n
}

func partKey(kind string, row int) cache.Key { return cache.Key(fmt.Sprint(kind, ":", row)) }

func partTag(row int) cache.Tag { return cache.Tag(fmt.Sprint("{row:", row, "}")) }

// write changes a row at a gateway.
func (w *partsWorld) write(g, row int) {
	w.writing[row] <- struct{}{}
	defer func() { <-w.writing[row] }()
	n := w.version(row) + 1
	all := w.gateways[g].run(write{map[cache.Key]string{partKey("row", row): strconv.Itoa(n)},
		[]cache.Eviction{{Keys: []cache.Key{partKey("row", row)}, Tags: []cache.Tag{partTag(row)}}}})
	w.nap(20 * time.Millisecond)
	if _, err := w.gateways[g].Evict(context.Background(), all); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, partWrite{g, row, n, time.Now()})
}

// floor returns the oldest versions that a reader of a gateway may get that begins now.
func (w *partsWorld) floor(g int) (f [partRows]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.written {
		if one.gateway == g || time.Since(one.at) > 1100*time.Millisecond { // longer than a lease
			f[one.row] = max(f[one.row], one.version)
		}
	}
	return f
}

// partRequest is a request, whose loader holds each row that it read.
type partRequest struct {
	*partsWorld
	gateway int
	ctx     context.Context
	held    map[int]int
	lock    sync.Mutex
}

// hold returns a row as the loader of the request holds it.
func (r *partRequest) hold(row int) int {
	r.nap(5 * time.Millisecond)
	r.lock.Lock()
	defer r.lock.Unlock()
	v, ok := r.held[row]
	if !ok {
		v = r.version(row)
		r.held[row] = v
	}
	return v
}

// partArg identifies a value, and the request that loads it.
type partArg struct {
	row int
	r   *partRequest
}

func (r *partRequest) request(kind string, row int) cache.Request {
	q := cache.Request{Item: cache.Item{Key: partKey(kind, row), MaxAge: time.Minute}, Arg: partArg{row, r}, Source: partSource{r.partsWorld, kind}}
	if r.short {
		q.MaxAge, q.StaleWhileRevalidate = 60*time.Millisecond, time.Minute
	}
	switch kind {
	case "row":
		q.Source = r.gateways[r.gateway].client
	case "held":
		q.Tags = []cache.Tag{partTag(row)}
	}
	return q
}

// partSource is the source of one kind of values, for all requests.
type partSource struct {
	*partsWorld
	kind string
}

func (s partSource) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	var failed error
	for i, q := range requests {
		a := q.Arg.(partArg)
		c := a.r.gateways[a.r.gateway]
		since := cache.BeganAt(a.r.ctx)
		nested := func(kind string, row int) string {
			got := c.Cache.Load(cache.LoadContext(ctx, a.r.ctx), []cache.Request{a.r.request(kind, row)})[0]
			if got.Err != nil {
				return "error"
			}
			text := fmt.Sprint(got.Value)
			if kind == "row" {
				text = fmt.Sprint(row, "=", got.Value)
			}
			return text
		}
		text := fmt.Sprint(a.row, "=")
		s.nap(10 * time.Millisecond)
		switch s.kind {
		case "nested", "nestedunstored", "nestedfailed":
			text = nested("row", a.row) + ";" + nested("row", (a.row+1)%partRows)
			values[i] = text
			if s.kind == "nestedunstored" {
				values[i] = &cache.Loaded{Value: text, Unstored: "test"}
			}
			if s.kind == "nestedfailed" {
				failed = errors.New(text)
			}
		case "late":
			values[i] = &cache.Loaded{Value: text + strconv.Itoa(s.version(a.row)), Tags: []cache.Tag{partTag(a.row)}}
		case "held":
			values[i] = &cache.Loaded{Value: text + strconv.Itoa(a.r.hold(a.row)), Since: since}
		case "heldlate":
			values[i] = &cache.Loaded{Value: text + strconv.Itoa(a.r.hold(a.row)), Since: since, Tags: []cache.Tag{partTag(a.row)}}
		case "unknown":
			values[i] = &cache.Loaded{Value: text + strconv.Itoa(a.r.hold(a.row)), Since: since, Unstored: "test"}
		case "failed":
			values[i] = &cache.Loaded{Err: errors.New(text + strconv.Itoa(a.r.hold(a.row))), Since: since}
		case "alone":
			values[i] = &cache.Loaded{Value: text + strconv.Itoa(a.r.hold(a.row)), Since: since, Alone: true}
		case "nestedheld":
			values[i] = nested("held", a.row)
		}
		s.nap(10 * time.Millisecond)
	}
	return values, cache.Snapshot{}, failed
}

func (partSource) Also(cache.Request) []cache.Request { return nil }

func (partSource) Decode(_ cache.Request, data []byte) (any, error) {
	return strings.Trim(string(data), `"`), nil
}

var partKinds = []string{"row", "nested", "nestedunstored", "nestedfailed", "late", "held", "heldlate", "unknown", "failed", "alone", "nestedheld"}

// read makes a request at a gateway that loads several values. With final, nothing is written any more.
func (w *partsWorld) read(g int, final bool) {
	r := &partRequest{partsWorld: w, gateway: g, held: map[int]int{}}
	c := w.gateways[g]
	r.ctx = c.Begin(context.Background())
	floor := w.floor(g)
	b := c.NewBatch()
	b.NoCache = w.draw(8) == 0 && !final
	for range 1 + w.draw(3) {
		w.nap(30 * time.Millisecond)
		loadFloor := w.floor(g)
		batch := w.draw(2) == 0
		var requests []cache.Request
		kinds := partKinds
		if !final {
			kinds = nil
			for range 1 + w.draw(3) {
				kinds = append(kinds, partKinds[w.draw(len(partKinds))])
			}
		}
		seen := map[cache.Key]bool{}
		for _, kind := range kinds {
			q := r.request(kind, w.draw(partRows))
			if !seen[q.Key] {
				seen[q.Key] = true
				requests = append(requests, q)
			}
		}
		var results []cache.Result
		if batch {
			var err error
			if results, err = b.Load(r.ctx, requests); err != nil {
				w.t.Error(err)
			}
		} else {
			results = c.Cache.Load(r.ctx, requests)
		}
		for i, q := range requests {
			text := fmt.Sprint(results[i].Value)
			if results[i].Err != nil {
				text = results[i].Err.Error()
			}
			kind, _, _ := strings.Cut(string(q.Key), ":")
			if kind == "row" {
				text = strings.TrimPrefix(string(q.Key), "row:") + "=" + text
			}
			for part := range strings.SplitSeq(text, ";") {
				row, version, ok := strings.Cut(part, "=")
				n, err := strconv.Atoi(row)
				v, err2 := strconv.Atoi(version)
				if !ok || err != nil || err2 != nil {
					w.t.Errorf("%s: got %q, error %v", q.Key, text, results[i].Err)
					continue
				}
				least := loadFloor
				if batch || strings.Contains(kind, "held") || kind == "unknown" || kind == "failed" || kind == "alone" {
					least = floor
				}
				if v < least[n] {
					w.t.Errorf("%v: gateway %d %s: got %q, want row %d at least %d (batch %v, joined %v, tier %d)", time.Now(), g, q.Key, text, n, least[n], batch, results[i].Joined, results[i].Tier)
				}
				r.lock.Lock() // a load in the background may use the loader, too
				h := r.held[n]
				r.lock.Unlock()
				if kind == "alone" && !batch && v != h {
					w.t.Errorf("%s: got %q of another request, want version %d", q.Key, text, h)
				}
				if final && v != w.version(n) {
					w.t.Errorf("%s at rest: got %q, want row %d at %d", q.Key, text, n, w.version(n))
				}
			}
		}
	}
}

// Clients read values that are made of rows in all ways, while the rows are written: none gets a value
// from before a write that was acknowledged before it began, and at rest no older value is cached.
func TestValuesAreAsNewAsTheirParts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := &partsWorld{t: t, d: newDatabase(seed), short: seed%4 > 1, random: rand.New(rand.NewPCG(seed, 7))} //nolint:gosec // not a secret
				t.Cleanup(func() { time.Sleep(time.Second) })                                                           // calls of the shared tier that were given up end
				for row := range partRows {
					w.writing[row] = make(chan struct{}, 1)
					w.d.seed(partKey("row", row), "0")
				}
				var redis *fakeRedis
				gateways := 1
				if seed%2 == 1 {
					redis, gateways = newFakeRedis(seed), 2
				}
				for range gateways {
					w.gateways = append(w.gateways, begin(t, w.d, redis))
				}
				end := time.Now().Add(2 * time.Second)
				var clients sync.WaitGroup
				repeat := func(pause time.Duration, do func()) {
					clients.Go(func() {
						for time.Now().Before(end) {
							time.Sleep(time.Duration(w.draw(int(pause))))
							do()
						}
					})
				}
				for g := range gateways {
					for range 2 {
						repeat(40*time.Millisecond, func() { w.write(g, w.draw(partRows)) })
					}
					for range 12 {
						repeat(20*time.Millisecond, func() { w.read(g, false) })
					}
				}
				clients.Wait()
				time.Sleep(3 * time.Second)
				for g := range gateways {
					for range 3 {
						w.read(g, true)
					}
				}
			})
		})
	}
}
