package answers

import (
	"fmt"
	"net/http"
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

// The weight of cached responses is the memory that they use: of small and large ones, with few and
// many dependencies, in one encoding and in all.
func TestFault30AnswersWeighWhatTheyTake(t *testing.T) {
	const bound = 2 << 20
	for name, c := range map[string]struct {
		body, names int
		encodings   []Encoding
	}{
		"small":                {20, 1, nil},
		"in all encodings":     {20, 1, []Encoding{Gzip, Brotli, Zstd}},
		"of many tags":         {300, 300, nil},
		"large":                {20_000, 2, nil},
		"large, all encodings": {20_000, 2, []Encoding{Gzip, Brotli, Zstd}},
	} {
		t.Run(name, func(t *testing.T) {
			memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			engine, err := cache.New(cache.Options{Memory: memory})
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(Options{Cache: engine, MaxBytes: bound})
			if err != nil {
				t.Fatal(err)
			}
			compressor, err := NewCompressor()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range c.encodings { // the buffers that it reuses do not belong to a response
				compressor.Compress(make([]byte, c.body+compressible), e)
			}
			empty := liveHeap()
			for i := range bound * 2 / (500 + c.body + 50*c.names) {
				var deps cache.Deps
				var stamps []*cache.Stamp
				for n := range c.names {
					item := cache.Item{Key: cache.Key(fmt.Sprintf("thing:%d:%d", i, n)), Tags: []cache.Tag{"{Thing}"}}
					stamps = append(stamps, engine.Generations().Stamp(item))
					deps.Names = append(deps.Names, string(item.Key))
				}
				deps.Stamp = cache.Join(stamps...)
				body := strings.Repeat(fmt.Sprint(i, ","), 1+c.body/8)
				a := NewAnswer(Computed{Status: http.StatusOK, Body: []byte(body), MaxAge: time.Hour, Deps: deps, TagHeader: "Surrogate-Key"}, time.Now())
				for _, e := range c.encodings {
					a = a.In(e, compressor)
				}
				s.Put(Question{Kind: Body, Text: fmt.Append(nil, `{"query":"{ thing }"}`, i)}, a)
				if i%1000 == 0 {
					s.Bytes() // evicts what exceeds the limit
				}
			}
			weight := s.Bytes()
			taken := liveHeap() - empty
			t.Logf("weight %d bytes, %d bytes in use", weight, taken)
			if taken > bound+bound/4 || weight < bound/2 {
				t.Errorf("got %d bytes in use for a weight of %d, limit %d", taken, weight, bound)
			}
			runtime.KeepAlive(compressor)
			s.Close()
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
