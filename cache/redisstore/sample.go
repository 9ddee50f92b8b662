package redisstore

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Bounds of a [Store.Sample].
const (
	sampledKeys  = 200 // keys drawn in all
	sampledSizes = 40  // of those, keys whose size is asked for
	sampledKinds = 12  // kinds that are told; the others are added up
)

// Sample is about what Redis holds.
type Sample struct {
	Bytes    uint64        `json:"bytes"`    // memory that the servers use; 0, as what follows, where the user may not run INFO
	MaxBytes uint64        `json:"maxBytes"` // their bound; 0: none
	Evicted  uint64        `json:"evicted"`  // keys that they dropped for want of memory, since they were started
	Keys     uint64        `json:"keys"`     // all of them, somebody else's included
	Drawn    int           `json:"drawn"`    // keys that were drawn at random, each time anew; Kinds follows from them
	Kinds    []SampledKind `json:"kinds"`    // those of most keys first
}

// SampledKind is about how many keys of a form there are.
type SampledKind struct {
	Kind  string  `json:"kind"`  // user, {product}:price, query:search
	Keys  float64 `json:"keys"`  // estimated
	Bytes float64 `json:"bytes"` // estimated, with what Redis adds; 0: no size of this kind was asked for
}

// Kinds of keys that are no entries.
const (
	otherKeys     = "others"
	foreignKeys   = "not fieldcache's"
	generations   = "loads and tags"
	documentsKind = "documents"
)

// Sample asks each primary for its memory and the number of its keys, and draws keys at random: 200 in all, and of 40 the size,
// whatever it holds. It is for people who look, not for each request.
func (s *Store) Sample(ctx context.Context) (Sample, error) {
	var primaries []*redis.Client
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		var mu sync.Mutex
		if err := client.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			primaries = append(primaries, c)
			return nil
		}); err != nil {
			return Sample{}, s.fault(ctx, "sample", err)
		}
	case *redis.Client:
		primaries = append(primaries, client)
	}
	// Of a Cluster of very many primaries as many as there are keys to draw.
	rand.Shuffle(len(primaries), func(i, j int) { primaries[i], primaries[j] = primaries[j], primaries[i] })
	primaries = primaries[:min(len(primaries), sampledKeys)]

	var sum Sample
	kinds := map[string]*SampledKind{}
	for i, c := range primaries {
		// What does not divide is drawn from the first ones.
		share := func(of int) int { return (of + len(primaries) - 1 - i) / len(primaries) }
		if err := s.samplePrimary(ctx, c, share(sampledKeys), share(sampledSizes), &sum, kinds); err != nil {
			return Sample{}, s.fault(ctx, "sample", err)
		}
	}
	for _, k := range kinds {
		sum.Kinds = append(sum.Kinds, *k)
	}
	slices.SortFunc(sum.Kinds, func(a, b SampledKind) int { return cmp.Or(cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Kind, b.Kind)) })
	if len(sum.Kinds) > sampledKinds {
		rest := SampledKind{Kind: otherKeys}
		for _, k := range sum.Kinds[sampledKinds-1:] {
			rest.Keys += k.Keys
			rest.Bytes += k.Bytes
		}
		sum.Kinds = append(sum.Kinds[:sampledKinds-1], rest)
	}
	return sum, nil
}

// samplePrimary adds what one server holds.
func (s *Store) samplePrimary(ctx context.Context, c *redis.Client, keys, sizes int, sum *Sample, kinds map[string]*SampledKind) error {
	info, err := c.Info(ctx).Result() // all of it: before version 7 it takes no more than one section
	if refused := redis.Error(nil); err != nil && !errors.As(err, &refused) {
		return err
	}
	sum.Bytes += infoNumber(info, "used_memory")
	sum.MaxBytes += infoNumber(info, "maxmemory")
	sum.Evicted += infoNumber(info, "evicted_keys")
	size, err := c.DBSize(ctx).Result()
	if err != nil || size <= 0 || keys == 0 {
		return err
	}
	sum.Keys += uint64(size)

	drawn := make([]*redis.StringCmd, keys)
	if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range drawn {
			drawn[i] = p.RandomKey(ctx)
		}
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	var names []string
	for _, d := range drawn {
		if d.Err() == nil { // else the last key is gone
			names = append(names, d.Val())
		}
	}
	if len(names) == 0 {
		return nil
	}
	weighed := make([]*redis.IntCmd, min(sizes, len(names)))
	// Keys may be gone, and a user of few rights may be refused MEMORY: then only the numbers are estimated.
	_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range weighed {
			weighed[i] = p.MemoryUsage(ctx, names[i])
		}
		return nil
	})
	type weight struct {
		keys, weighed int
		bytes         int64
	}
	found := map[string]*weight{}
	for i, name := range names {
		kind := s.kindOf(name)
		w := found[kind]
		if w == nil {
			w = &weight{}
			found[kind] = w
		}
		w.keys++
		if i < len(weighed) && weighed[i].Err() == nil {
			w.weighed++
			w.bytes += weighed[i].Val()
		}
	}
	sum.Drawn += len(names)
	for kind, w := range found {
		k := kinds[kind]
		if k == nil {
			k = &SampledKind{Kind: kind}
			kinds[kind] = k
		}
		estimated := float64(w.keys) / float64(len(names)) * float64(size)
		k.Keys += estimated
		if w.weighed > 0 {
			k.Bytes += estimated * float64(w.bytes) / float64(w.weighed)
		}
	}
	return nil
}

// infoNumber returns a number of Redis's INFO; 0 where there is none.
func infoNumber(info, name string) uint64 {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// kindOf returns the form of a key: without the identity of what it is of, without arguments and without viewers.
func (s *Store) kindOf(key string) string {
	key, ours := strings.CutPrefix(key, s.prefix)
	switch {
	case !ours:
		return foreignKeys
	case strings.HasPrefix(key, "apq:"):
		return documentsKind
	case strings.HasSuffix(key, ":g"):
		return generations
	case strings.HasPrefix(key, "query:"):
		return upTo(key, "([#@")
	case !strings.HasPrefix(key, "{"):
		kind, _, named := strings.Cut(key, ":")
		if !named || kind == "fieldcache" {
			return otherKeys
		}
		return kind
	}
	object, rest, closed := strings.Cut(key[1:], "}")
	rest, part := strings.CutPrefix(rest, ":")
	if !closed || !part {
		return otherKeys
	}
	kind, _, _ := strings.Cut(object, ":")
	// Parts that select from a collection are left out: country=GB, list:first=20.
	var names []string
	for name := range strings.SplitSeq(upTo(rest, "([#@"), ":") {
		if !strings.Contains(name, "=") {
			names = append(names, name)
		}
	}
	return "{" + kind + "}:" + strings.Join(names, ":")
}

// upTo returns s before the first of some characters.
func upTo(s, characters string) string {
	if i := strings.IndexAny(s, characters); i >= 0 {
		return s[:i]
	}
	return s
}
