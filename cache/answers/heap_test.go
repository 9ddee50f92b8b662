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

// liveHeap is what is reachable.
func liveHeap() uint64 {
	var m runtime.MemStats
	for range 3 { // what a collection frees may have a cleanup, after which more is free
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What the store says that its answers weigh is what they take: small ones and large ones, made of few things and of
// many, in one encoding and in all.
func TestFault30AnswersWeighWhatTheyTake(t *testing.T) {
	const bound = 2 << 20
	for name, c := range map[string]struct {
		body, names int
		encodings   []Encoding
	}{
		"small":                {20, 1, nil},
		"in all encodings":     {20, 1, []Encoding{Gzip, Brotli, Zstd}},
		"made of many":         {300, 300, nil},
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
			for _, e := range c.encodings { // what it keeps for the next answer is no part of this one
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
					s.Bytes() // drops what is over
				}
			}
			weight := s.Bytes()
			taken := liveHeap() - empty
			t.Logf("%d bytes by weight, %d taken", weight, taken)
			if taken > bound+bound/4 || weight < bound/2 {
				t.Errorf("%d bytes are taken by what weighs %d, of %d", taken, weight, bound)
			}
			runtime.KeepAlive(compressor)
			s.Close()
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
