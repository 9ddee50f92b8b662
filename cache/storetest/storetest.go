// Package storetest is the suite that every cache tier must pass.
package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
)

// Run runs the suite. Each call of open returns an empty tier that no other test uses, and closes
// it when the test ends.
func Run(t *testing.T, open func(t *testing.T) cache.Store) {
	for name, test := range map[string]func(*testing.T, *suite){
		"nothing is there at first": func(t *testing.T, s *suite) {
			s.want(t, user, "")
		},
		"a filled entry is answered, whole": func(t *testing.T, s *suite) {
			e := entry("1")
			s.fillWith(t, user, s.begin(t, user), e)
			got := s.get(t, user)
			if got == nil || string(got.Data) != `"1"` || !got.Loaded.Equal(e.Loaded) || !got.Ends.Equal(e.Ends) || got.Seen.String() != e.Seen.String() {
				t.Errorf("got %+v, want %+v", got, e)
			}
		},
		"entries come in the order of the items": func(t *testing.T, s *suite) {
			s.fill(t, user, "u")
			s.fill(t, price, "p")
			es, err := s.Get(t.Context(), []cache.Item{price, stock, user})
			if err != nil || len(es) != 3 || string(es[0].Data) != `"p"` || es[1] != nil || string(es[2].Data) != `"u"` {
				t.Errorf("got %v, error %v", es, err)
			}
		},
		"tags of its own end an entry": func(t *testing.T, s *suite) {
			tagger, ok := s.Store.(cache.Tagger)
			if !ok {
				return // memory knows the stamps of such tags
			}
			fill := func(item cache.Item, own ...cache.Tag) {
				t.Helper()
				e := entry("1")
				e.Tags = own
				ticket := s.begin(t, item)
				generations, err := tagger.Generations(t.Context(), own)
				if err != nil || len(generations) != len(own) {
					t.Fatalf("Generations: got %v, error %v", generations, err)
				}
				if n, err := s.Fill(t.Context(), []cache.Fill{{Item: item, Ticket: ticket, Entry: e, Generations: generations}}); n != 1 || err != nil {
					t.Fatalf("Fill: got %d, error %v", n, err)
				}
			}
			tagged := cache.Item{Key: "{query}:list", Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute}
			for _, evicted := range []cache.Tag{"{row:1}", "{row:2}", "{users}"} {
				fill(tagged, "{row:1}", "{row:2}")
				fill(price)
				if got := s.get(t, tagged); got == nil || len(got.Tags) != 2 || got.Tags[0] != "{row:1}" {
					t.Fatalf("before the eviction: got %+v", got)
				}
				s.evict(t, cache.Eviction{Tags: []cache.Tag{"{row:3}"}})
				s.want(t, tagged, "1")
				s.evict(t, cache.Eviction{Tags: []cache.Tag{evicted}})
				s.want(t, tagged, "")
				s.want(t, price, "1")
				s.evict(t, cache.Eviction{Keys: []cache.Key{tagged.Key, price.Key}})
			}
		},
		"an empty batch is no error": func(t *testing.T, s *suite) {
			if es, err := s.Get(t.Context(), nil); err != nil || len(es) != 0 {
				t.Errorf("Get: got %v, error %v", es, err)
			}
			if ts, err := s.Begin(t.Context(), nil); err != nil || len(ts) != 0 {
				t.Errorf("Begin: got %v, error %v", ts, err)
			}
			if n, err := s.Fill(t.Context(), nil); err != nil || n != 0 {
				t.Errorf("Fill: got %d, error %v", n, err)
			}
			if n, err := s.Evict(t.Context(), cache.Write{}); err != nil || n != 0 {
				t.Errorf("Evict: got %d, error %v", n, err)
			}
		},
		"an absent row is an entry": func(t *testing.T, s *suite) {
			e := entry("")
			e.Data = []byte("null")
			s.fillWith(t, user, s.begin(t, user), e)
			if got := s.get(t, user); got == nil || !got.Absent() {
				t.Errorf("got %+v, want an absent row", got)
			}
		},
		"an ended entry is not answered": func(t *testing.T, s *suite) {
			e := entry("1")
			e.Ends = time.Now().Add(-time.Millisecond)
			s.fillWith(t, user, s.begin(t, user), e)
			s.want(t, user, "")
		},
		"an evicted key is gone, its neighbours are not": func(t *testing.T, s *suite) {
			s.fill(t, product, "a lamp")
			s.fill(t, price, "10")
			s.fill(t, stock, "3")
			if n := s.evict(t, cache.Eviction{Keys: []cache.Key{stock.Key, user.Key}}); n != 1 {
				t.Errorf("evicted %d keys, want 1", n)
			}
			s.want(t, stock, "")
			s.want(t, price, "10")
			s.want(t, product, "a lamp")
		},
		"an evicted key can be filled again": func(t *testing.T, s *suite) {
			s.fill(t, user, "old")
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			s.fill(t, user, "new")
			s.want(t, user, "new")
		},
		"an evicted tag takes along what carries it": func(t *testing.T, s *suite) {
			s.fill(t, page1, "1,2")
			s.fill(t, page2, "3")
			s.fill(t, search, "2")
			s.fill(t, reviews, "9")
			s.evict(t, cache.Eviction{Tags: []cache.Tag{"{users}"}})
			s.want(t, page1, "")
			s.want(t, page2, "")
			s.want(t, search, "") // it has two tags
			s.want(t, reviews, "9")
			s.fill(t, page1, "1,2,3")
			s.want(t, page1, "1,2,3")
		},
		"a load that began before an eviction of its key does not fill": func(t *testing.T, s *suite) {
			old := s.begin(t, user)
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			s.refused(t, user, old, "old")
			s.want(t, user, "")
			s.fill(t, user, "new")
			s.want(t, user, "new")
		},
		"a load that began before an eviction does not fill over a newer value": func(t *testing.T, s *suite) {
			old := s.begin(t, user)
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			s.fill(t, user, "new")
			s.refused(t, user, old, "old")
			s.want(t, user, "new")
		},
		"nor between two loads that follow it": func(t *testing.T, s *suite) {
			old := s.begin(t, user)
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			next := s.begin(t, user)
			s.refused(t, user, old, "old")
			s.want(t, user, "")
			s.fillWith(t, user, next, entry("new"))
			s.want(t, user, "new")
		},
		"a load that began before an eviction of a tag is never answered": func(t *testing.T, s *suite) {
			old := s.begin(t, search)
			s.evict(t, cache.Eviction{Tags: []cache.Tag{"{users}"}})
			s.fillWith(t, search, old, entry("old"))
			s.want(t, search, "")
		},
		"a ticket is no good for another key": func(t *testing.T, s *suite) {
			old := s.begin(t, user)
			s.fill(t, product, "a lamp")
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			s.refused(t, user, old, "old")
			s.want(t, product, "a lamp")
		},
		"without a ticket nothing is filled": func(t *testing.T, s *suite) {
			s.refused(t, user, nil, "1")
			s.want(t, user, "")
		},
		"an entry that ended is answered for its item's window alone": func(t *testing.T, s *suite) {
			late := user
			late.StaleWhileRevalidate = time.Minute
			e := entry("1")
			e.Loaded, e.Ends, e.Keep = e.Loaded.Add(-time.Minute), e.Ends.Add(-time.Minute-time.Second), time.Minute
			s.fillWith(t, late, s.begin(t, late), e)
			s.want(t, late, "1")
			s.want(t, user, "")
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}, Soft: true})
			s.want(t, late, "1")
			s.evict(t, cache.Eviction{Keys: []cache.Key{user.Key}})
			s.want(t, late, "")
		},
		"a long name and a large value": func(t *testing.T, s *suite) {
			item := cache.Item{Key: cache.Entity("user", strings.Repeat("ü}{", 500)), MaxAge: time.Minute}
			value := strings.Repeat("x", 1<<16)
			s.fill(t, item, value)
			s.want(t, item, value)
		},
		"many at once": func(t *testing.T, s *suite) {
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					for i := range 30 {
						item := cache.Item{Key: cache.Entity("user", fmt.Sprint(i%5)), Tags: []cache.Tag{"{User}"}, MaxAge: time.Minute}
						switch (g + i) % 4 {
						case 0:
							if _, err := s.Evict(context.Background(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}, Tags: item.Tags}}); err != nil {
								t.Error(err)
							}
						default:
							ts, err := s.Begin(context.Background(), []cache.Item{item})
							if err != nil {
								t.Error(err)
								return
							}
							if _, err := s.Fill(context.Background(), []cache.Fill{{Item: item, Ticket: ts[0], Entry: entry("x")}}); err != nil {
								t.Error(err)
							}
							if _, err := s.Get(context.Background(), []cache.Item{item}); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			item := cache.Item{Key: "user:1", Tags: []cache.Tag{"{User}"}, MaxAge: time.Minute}
			s.evict(t, cache.Eviction{Keys: []cache.Key{item.Key}})
			s.fill(t, item, "last")
			s.want(t, item, "last")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &suite{open(t)})
		})
	}
}

// The items of the suite.
var (
	user    = cache.Item{Key: "user:42", MaxAge: time.Minute}
	product = cache.Item{Key: "product:7", MaxAge: time.Minute}
	price   = cache.Item{Key: "{product:7}:price", MaxAge: time.Minute}
	stock   = cache.Item{Key: "{product:7}:stock", MaxAge: time.Minute}
	page1   = cache.Item{Key: "{users}:list:first=2", Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute}
	page2   = cache.Item{Key: "{users}:list:first=2,after=2", Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute}
	search  = cache.Item{Key: "{search}:list:text=a", Tags: []cache.Tag{"{products}", "{users}"}, MaxAge: time.Minute}
	reviews = cache.Item{Key: "{product:7}:reviews:list", Tags: []cache.Tag{"{product:7}:reviews"}, MaxAge: time.Minute}
)

type suite struct{ cache.Store }

// entry returns an entry that expires in a minute. Tiers may store times in milliseconds.
func entry(value string) *cache.Entry {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &cache.Entry{
		Data: []byte(`"` + value + `"`), Value: value, Loaded: now, Ends: now.Add(time.Minute),
		Seen: cache.Snapshot{Xmin: 7, Xmax: 12, Xip: []uint64{7, 9}},
	}
}

func (s *suite) get(t *testing.T, item cache.Item) *cache.Entry {
	t.Helper()
	es, err := s.Get(t.Context(), []cache.Item{item})
	if err != nil || len(es) != 1 {
		t.Fatalf("Get(%s): got %v, error %v", item.Key, es, err)
	}
	return es[0]
}

func (s *suite) begin(t *testing.T, item cache.Item) cache.Ticket {
	t.Helper()
	ts, err := s.Begin(t.Context(), []cache.Item{item})
	if err != nil || len(ts) != 1 || ts[0] == nil {
		t.Fatalf("Begin(%s): got %v, error %v", item.Key, ts, err)
	}
	return ts[0]
}

func (s *suite) fillWith(t *testing.T, item cache.Item, ticket cache.Ticket, e *cache.Entry) int {
	t.Helper()
	n, err := s.Fill(t.Context(), []cache.Fill{{Item: item, Ticket: ticket, Entry: e}})
	if err != nil {
		t.Fatalf("Fill(%s): got error %v", item.Key, err)
	}
	return n
}

func (s *suite) fill(t *testing.T, item cache.Item, value string) {
	t.Helper()
	if s.fillWith(t, item, s.begin(t, item), entry(value)) != 1 {
		t.Fatalf("Fill(%s) was refused", item.Key)
	}
}

func (s *suite) refused(t *testing.T, item cache.Item, ticket cache.Ticket, value string) {
	t.Helper()
	if s.fillWith(t, item, ticket, entry(value)) != 0 {
		t.Errorf("Fill(%s, %q) was accepted", item.Key, value)
	}
}

func (s *suite) evict(t *testing.T, ev cache.Eviction) int {
	t.Helper()
	n, err := s.Evict(t.Context(), cache.Write{Eviction: ev})
	if err != nil {
		t.Fatalf("Evict(%v): got error %v", ev, err)
	}
	return n
}

// want checks the value of the item's entry. An empty value means that there is none.
func (s *suite) want(t *testing.T, item cache.Item, value string) {
	t.Helper()
	e := s.get(t, item)
	switch {
	case e == nil && value != "":
		t.Errorf("%s is missing, want %.50q", item.Key, value)
	case e != nil && string(e.Data) != `"`+value+`"`:
		t.Errorf("%s: got %.50s, want %.50q", item.Key, e.Data, value)
	}
}
