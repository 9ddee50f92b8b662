package dataloader

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"fieldcache/cache"
	"fieldcache/db"
)

// kind is one sort of cached things: users by id, windows of a product's reviews. It is the
// [cache.Source] of its things.
type kind[K comparable, V any] struct {
	maxAge time.Duration
	name   func(K) (cache.Key, []cache.Tag)
	// load answers all keys in one statement, and the snapshot it saw; what is not in the map is not there.
	load func(context.Context, []K) (map[K]V, cache.Snapshot, error)
}

func (k *kind[K, V]) request(key K) cache.Request {
	name, tags := k.name(key)
	return cache.Request{Item: cache.Item{Key: name, Tags: tags, MaxAge: k.maxAge}, Source: k, Arg: key}
}

// alone is a batch of one. It is not inlined: a field's goroutine has a stack that grows for every load, and a request
// on it takes more of it than all that a hit in memory needs.
//
//go:noinline
func (k *kind[K, V]) alone(key K) []cache.Request { return []cache.Request{k.request(key)} }

// Load implements [cache.Source].
func (k *kind[K, V]) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	keys := make([]K, len(requests))
	for i, r := range requests {
		keys[i] = r.Arg.(K)
	}
	found, seen, err := k.load(ctx, keys)
	if err != nil {
		return nil, cache.Snapshot{}, err
	}
	values := make([]any, len(keys))
	for i, key := range keys {
		if v, ok := found[key]; ok {
			values[i] = v
		}
	}
	return values, seen, nil
}

// Also implements [cache.Source]: one thing is read at a time.
func (k *kind[K, V]) Also(cache.Request) []cache.Request { return nil }

// Decode implements [cache.Source].
func (k *kind[K, V]) Decode(_ cache.Request, data []byte) (any, error) {
	var v V
	err := json.Unmarshal(data, &v, strictly)
	return v, err
}

// Shape implements [cache.Shaper].
func (k *kind[K, V]) Shape(cache.Request) string { return cache.ShapeOf[V]() }

// strictly refuses members that a type does not have.
var strictly = json.RejectUnknownMembers(true)

// one makes the load of a kind that has few things, read one by one.
func one[K comparable, V any](load func(context.Context, K) (V, cache.Snapshot, error)) func(context.Context, []K) (map[K]V, cache.Snapshot, error) {
	return func(ctx context.Context, keys []K) (map[K]V, cache.Snapshot, error) {
		found := make(map[K]V, len(keys))
		var first cache.Snapshot // which the later ones saw as well
		for i, key := range keys {
			v, seen, err := load(ctx, key)
			if err != nil {
				return nil, cache.Snapshot{}, err
			}
			if i == 0 {
				first = seen
			}
			first = first.Then(seen)
			found[key] = v
		}
		return found, first, nil
	}
}

// productSource reads the parts of products, which are kept for different times, from one row in one
// statement.
type productSource struct {
	db   *db.DB
	ages map[string]time.Duration // by part; "" is the product itself
}

// productPart is what a productSource knows a request by.
type productPart struct {
	id   int64
	part string
}

func (s *productSource) request(id int64, part string) cache.Request {
	key := productKey(id)
	if part != "" {
		key = key.Part(part)
	}
	return cache.Request{
		Item:   cache.Item{Key: key, Tags: productType, MaxAge: s.ages[part]},
		Source: s, Arg: productPart{id, part},
	}
}

// alone is a batch of one; see [kind.alone].
//
//go:noinline
func (s *productSource) alone(id int64, part string) []cache.Request {
	return []cache.Request{s.request(id, part)}
}

// Load implements [cache.Source].
func (s *productSource) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	var columns db.ProductColumns
	var ids []int64
	known := map[int64]bool{}
	for _, r := range requests {
		p := r.Arg.(productPart)
		if !known[p.id] {
			known[p.id] = true
			ids = append(ids, p.id)
		}
		switch p.part {
		case pricePart:
			columns.Price = true
		case stockPart:
			columns.Stock = true
		default:
			columns.Product = true
		}
	}
	rows, seen, err := s.db.ProductsByID(ctx, ids, columns)
	if err != nil {
		return nil, cache.Snapshot{}, err
	}
	values := make([]any, len(requests))
	for i, r := range requests {
		p := r.Arg.(productPart)
		row := rows[p.id]
		if row == nil {
			continue
		}
		switch p.part {
		case pricePart:
			values[i] = row.Price()
		case stockPart:
			values[i] = row.InStock()
		default:
			values[i] = row.Product()
		}
	}
	return values, seen, nil
}

// Also implements [cache.Source]: a row that is read for the product brings the other parts along. A
// part that ended sooner is read by itself.
func (s *productSource) Also(r cache.Request) []cache.Request {
	p := r.Arg.(productPart)
	if p.part != "" {
		return nil
	}
	return []cache.Request{s.request(p.id, pricePart), s.request(p.id, stockPart)}
}

// Decode implements [cache.Source].
func (s *productSource) Decode(r cache.Request, data []byte) (v any, err error) {
	switch part := r.Arg.(productPart).part; part {
	case pricePart:
		v = new(db.Price)
	case stockPart:
		v = new(db.Stock)
	case "":
		v = new(db.Product)
	default:
		return nil, fmt.Errorf("dataloader: products have no part %s", part)
	}
	err = json.Unmarshal(data, v, strictly)
	return v, err
}

// Shape implements [cache.Shaper].
func (s *productSource) Shape(r cache.Request) string {
	switch r.Arg.(productPart).part {
	case pricePart:
		return cache.ShapeOf[db.Price]()
	case stockPart:
		return cache.ShapeOf[db.Stock]()
	}
	return cache.ShapeOf[db.Product]()
}
