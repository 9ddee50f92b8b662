package memstore_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) cache.Store { return open(t, 1<<20) })
}

func open(t testing.TB, bytes uint64) *memstore.Store {
	s, err := memstore.New(memstore.Options{MaxBytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *memstore.Store, item cache.Item, data string) {
	ts, _ := s.Begin(context.Background(), []cache.Item{item})
	e := &cache.Entry{Data: []byte(data), Value: data, Loaded: time.Now(), Ends: time.Now().Add(item.MaxAge)}
	if n, err := s.Fill(context.Background(), []cache.Fill{{Item: item, Ticket: ts[0], Entry: e}}); n != 1 || err != nil {
		t.Fatalf("Fill: got %d, error %v", n, err)
	}
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 1<<20)
		item := cache.Item{Key: "user:42", MaxAge: time.Minute}
		put(t, s, item, `"x"`)
		time.Sleep(time.Minute - time.Nanosecond)
		if s.Peek(item.Key, time.Now()) == nil {
			t.Error("the entry is missing before its expiry")
		}
		time.Sleep(time.Nanosecond)
		if s.Peek(item.Key, time.Now()) != nil {
			t.Error("the entry is served at its expiry")
		}
	})
}

func TestBounded(t *testing.T) {
	t.Parallel()
	const bound = 100 << 10
	s := open(t, bound)
	hot := cache.Item{Key: "user:hot", MaxAge: time.Hour}
	put(t, s, hot, `"x"`)
	for i := range 20_000 {
		if s.Peek(hot.Key, time.Now()) == nil && i < 100 {
			t.Fatal("an entry in use was dropped while there was room")
		}
		put(t, s, cache.Item{Key: cache.Entity("user", fmt.Sprint(i)), MaxAge: time.Hour}, `"x"`)
		if i%8 == 0 {
			s.Bytes() // executes pending work; reads that the tier has no time for are not counted
		}
	}
	if n := s.Bytes(); n > bound {
		t.Errorf("got %d bytes, want at most %d", n, bound)
	}
	if s.Peek(hot.Key, time.Now()) == nil {
		t.Error("many keys that were read once evicted an entry in use")
	}
}

func TestNewRefusesNothing(t *testing.T) {
	t.Parallel()
	if _, err := memstore.New(memstore.Options{MaxBytes: 0}); err == nil {
		t.Error("a limit of 0 was accepted")
	}
}

func BenchmarkPeek(b *testing.B) {
	s := open(b, 1<<20)
	item := cache.Item{Key: "user:42", Tags: []cache.Tag{"{User}"}, MaxAge: time.Hour}
	put(b, s, item, `"x"`)
	b.ReportAllocs()
	for b.Loop() {
		if s.Peek(item.Key, time.Now()) == nil {
			b.Fatal("the entry is missing")
		}
	}
}

func TestSoonest(t *testing.T) {
	t.Parallel()
	s := open(t, 1<<20)
	for i := range 100 {
		put(t, s, cache.Item{Key: cache.Entity("user", fmt.Sprint(i)), Tags: []cache.Tag{cache.Tag(fmt.Sprint("{", i%2, "}"))}, MaxAge: time.Duration(1000-i) * time.Second}, `"x"`)
	}
	if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Tags: []cache.Tag{"{1}"}}}); err != nil {
		t.Fatal(err)
	}
	next, looked := s.Soonest(3, 1000)
	if looked != 100 || len(next) != 3 || next[0].Key != "user:98" || next[1].Key != "user:96" || next[2].Key != "user:94" {
		t.Errorf("of %d entries, got these as the next to expire: %v", looked, next)
	}
	if _, looked := s.Soonest(3, 10); looked != 10 {
		t.Errorf("looked at %d entries, want 10", looked)
	}
	if n := s.Len(); n != 100 {
		t.Errorf("got %d entries, want 100", n)
	}
}

func TestOverflowed(t *testing.T) {
	t.Parallel()
	s := open(t, 100<<10)
	for i := range 2000 {
		put(t, s, cache.Item{Key: cache.Entity("user", fmt.Sprint(i)), MaxAge: time.Hour}, `"x"`)
	}
	s.Bytes()                                                                   // evicts what exceeds the limit
	if n, left := s.Overflowed(), s.Len(); n+uint64(left) != 2000 || n < 1000 { //nolint:gosec // a count
		t.Errorf("got %d of 2000 entries, and %d dropped for lack of room", left, n)
	}
	if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1999"}}}); err != nil {
		t.Fatal(err)
	}
	before := s.Overflowed()
	s.Bytes()
	if s.Overflowed() != before {
		t.Error("an eviction counts as dropped for lack of room")
	}
}
