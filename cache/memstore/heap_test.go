package memstore_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// liveHeap returns the size of the reachable heap.
func liveHeap() uint64 {
	var m runtime.MemStats
	for range 3 { // a collection may free objects with cleanups, after which more can be freed
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// row is a value of any size.
type row struct {
	ID   int64
	Text string
}

// The weight of entries is the memory that they use, from the smallest to the largest.
func TestFault30EntriesWeighWhatTheyTake(t *testing.T) {
	const bound = 2 << 20
	for name, size := range map[string]int{"nothing": -1, "small": 2, "middle": 300, "large": 20_000} {
		t.Run(name, func(t *testing.T) {
			before := liveHeap()
			s, err := memstore.New(memstore.Options{MaxBytes: bound})
			if err != nil {
				t.Fatal(err)
			}
			empty := liveHeap()
			tags := []cache.Tag{"{Row}", "{rows}", "{row:1}:list"}
			for i := range 12_000 {
				item := cache.Item{Key: cache.Key(fmt.Sprintf("row:%d", i)), Tags: tags, MaxAge: time.Hour}
				e := &cache.Entry{Data: []byte("null"), Loaded: time.Now(), Ends: time.Now().Add(time.Hour), Seen: cache.SnapshotAfter(uint64(i))} //nolint:gosec // from 0
				if size >= 0 {
					text := strings.Repeat("x", size)
					e.Value, e.Data = &row{int64(i), text}, fmt.Appendf(nil, `{"ID":%d,"Text":%q}`, i, text)
				}
				if _, err := s.Fill(context.Background(), []cache.Fill{{Item: item, Ticket: s.Generations().Stamp(item), Entry: e}}); err != nil {
					t.Fatal(err)
				}
				if i%2000 == 0 {
					s.Bytes() // evicts what exceeds the limit
				}
				if size > 1000 && i > 500 {
					break
				}
			}
			weight := s.Bytes()
			taken := liveHeap() - empty
			t.Logf("weight %d bytes, %d bytes in use; the empty tier uses %d", weight, taken, empty-before)
			if taken > bound+bound/4 || weight < bound/2 {
				t.Errorf("got %d bytes in use for a weight of %d, limit %d", taken, weight, bound)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
