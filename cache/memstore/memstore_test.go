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
		t.Fatalf("Fill: %d, %v", n, err)
	}
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 1<<20)
		item := cache.Item{Key: "user:42", MaxAge: time.Minute}
		put(t, s, item, `"x"`)
		time.Sleep(time.Minute - time.Nanosecond)
		if s.Peek(item.Key, time.Now()) == nil {
			t.Error("gone before its end")
		}
		time.Sleep(time.Nanosecond)
		if s.Peek(item.Key, time.Now()) != nil {
			t.Error("served at its end")
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
			t.Fatal("a hot entry was dropped while there was room")
		}
		put(t, s, cache.Item{Key: cache.Entity("user", fmt.Sprint(i)), MaxAge: time.Hour}, `"x"`)
		if i%8 == 0 {
			s.Bytes() // carries out what is under way: reads of which it falls behind are not counted
		}
	}
	if n := s.Bytes(); n > bound {
		t.Errorf("holds %d bytes, the bound is %d", n, bound)
	}
	if s.Peek(hot.Key, time.Now()) == nil {
		t.Error("a flood of keys asked for once pushed out the hot one")
	}
}

func TestNewRefusesNothing(t *testing.T) {
	t.Parallel()
	if _, err := memstore.New(memstore.Options{MaxBytes: 0}); err == nil {
		t.Error("a bound of 0 was taken")
	}
}

func BenchmarkPeek(b *testing.B) {
	s := open(b, 1<<20)
	item := cache.Item{Key: "user:42", Tags: []cache.Tag{"{User}"}, MaxAge: time.Hour}
	put(b, s, item, `"x"`)
	b.ReportAllocs()
	for b.Loop() {
		if s.Peek(item.Key, time.Now()) == nil {
			b.Fatal("missing")
		}
	}
}
