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
	sampledKeys  = 200 // keys drawn in total
	sampledSizes = 40  // keys among them whose size is requested
	sampledKinds = 12  // kinds returned; the last one sums up the others
)

// Sample is an estimate of the contents of Redis.
type Sample struct {
	Bytes    uint64        `json:"bytes"`    // the memory of all servers; Bytes, MaxBytes and Evicted are 0 if the user may not run INFO
	MaxBytes uint64        `json:"maxBytes"` // maxmemory of all servers; 0 if unbounded
	Evicted  uint64        `json:"evicted"`  // keys that the servers evicted for lack of memory since they started
	Keys     uint64        `json:"keys"`     // all keys, including those of other programs
	Drawn    int           `json:"drawn"`    // the number of keys drawn at random, from which Kinds is estimated
	Kinds    []SampledKind `json:"kinds"`    // in descending order of Keys
}

// SampledKind is the estimated number and size of the keys of one form.
type SampledKind struct {
	Kind  string  `json:"kind"`  // user, {product}:price, query:search
	Keys  float64 `json:"keys"`  // estimated
	Bytes float64 `json:"bytes"` // estimated, including Redis's overhead; 0 if no size was requested
}

// Kinds of keys that are not entries.
const (
	otherKeys     = "others"
	foreignKeys   = "not fieldcache's"
	generations   = "loads and tags"
	documentsKind = "documents"
)

// Sample estimates the contents of Redis. It asks each primary for its memory and number of keys, and
// draws 200 keys at random in total, and the sizes of 40 of them. It is too slow to call for each
// request.
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
	// No more primaries than keys to draw.
	rand.Shuffle(len(primaries), func(i, j int) { primaries[i], primaries[j] = primaries[j], primaries[i] })
	primaries = primaries[:min(len(primaries), sampledKeys)]

	var sum Sample
	kinds := map[string]*SampledKind{}
	for i, c := range primaries {
		// The first primaries get the remainder.
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

// samplePrimary adds the sample of one server.
func (s *Store) samplePrimary(ctx context.Context, c *redis.Client, keys, sizes int, sum *Sample, kinds map[string]*SampledKind) error {
	info, err := c.Info(ctx).Result() // all sections, since Redis before 7 accepts only one name
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
		if d.Err() == nil { // it fails if there are no keys any more
			names = append(names, d.Val())
		}
	}
	if len(names) == 0 {
		return nil
	}
	weighed := make([]*redis.IntCmd, min(sizes, len(names)))
	// Keys may have expired, and the user may not be allowed to run MEMORY. Then there are no sizes.
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

// infoNumber returns a number in the reply of INFO, or 0 if it is missing.
func infoNumber(info, name string) uint64 {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// keyDetails begin the parts of a key that say which value of a field it is: arguments, attributes and content of the
// parent, selection, variant and viewer.
const keyDetails = "([#$;@"

// kindOf returns the form of a key, without ids, arguments, variants and viewers.
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
		return upTo(key, keyDetails)
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
	// Without the parts that select from a collection, such as country=GB and first=20.
	var names []string
	for name := range strings.SplitSeq(upTo(rest, keyDetails), ":") {
		if !strings.Contains(name, "=") {
			names = append(names, name)
		}
	}
	return "{" + kind + "}:" + strings.Join(names, ":")
}

// upTo returns s up to the first of the characters.
func upTo(s, characters string) string {
	if i := strings.IndexAny(s, characters); i >= 0 {
		return s[:i]
	}
	return s
}
