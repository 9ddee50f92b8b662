package cache

import "context"

// Row is a kind of rows whose parts are cached for different times: a product with its price and
// its stock. Each part is a [Kind], made by [NewPart]. One statement reads all requested parts.
type Row[K comparable, R any] struct {
	o     RowOptions[K, R]
	kinds *Kinds
	parts []rowPart[K, R]
}

// RowOptions are the options of a [Row]. All but Match are required.
type RowOptions[K comparable, R any] struct {
	// Types and Match are those of [KindOptions].
	Types []string
	Match func(Columns) (K, bool)
	// Key returns the key of a row. The key of one of its parts is [Key.Part] of it.
	Key func(K) Key
	// Load reads the named parts of rows in one statement; see [KindOptions].
	Load func(ctx context.Context, keys []K, parts []string) (map[K]R, Snapshot, error)
}

// NewRow returns a row without parts.
func NewRow[K comparable, R any](s *Kinds, o RowOptions[K, R]) *Row[K, R] {
	return &Row[K, R]{o: o, kinds: s}
}

// PartOptions are the options of a part of a row. Of and Value are required.
type PartOptions[R, V any] struct {
	// Of is that of [KindOptions].
	Of string
	// Name is the part's name. Default: the part is the main one. It is cached under the row's own key, and reading it
	// reads the other parts too.
	Name string
	// Value returns the part of a row.
	Value func(R) V
}

// rowPart is one part of a row, as the row's source needs it.
type rowPart[K comparable, R any] struct {
	name    string
	request func(K) Request
	value   func(R) any
	decode  func([]byte) (any, error)
	shape   string
}

// partOf identifies a request to a row's source.
type partOf[K comparable] struct {
	key  K
	part int
}

// NewPart adds a part to a row, and its kind to the kinds of the row.
func NewPart[K comparable, R, V any](row *Row[K, R], o PartOptions[R, V]) *Kind[K, V] {
	name := func(key K) (Key, Tag) { return row.o.Key(key), "" }
	if o.Name != "" {
		name = func(key K) (Key, Tag) { return row.o.Key(key).Part(o.Name), "" }
	}
	k := newKind(row.kinds, KindOptions[K, V]{Of: o.Of, Types: row.o.Types, Match: row.o.Match, Name: name})
	k.source, k.part = row, len(row.parts)
	row.parts = append(row.parts, rowPart[K, R]{
		name: o.Name, request: k.Request, value: func(r R) any { return o.Value(r) },
		decode: decode[V], shape: ShapeOf[V](),
	})
	return k
}

// Load implements [Source].
func (w *Row[K, R]) Load(ctx context.Context, requests []Request) ([]any, Snapshot, error) {
	keys, known := make([]K, 0, len(requests)), make(map[K]bool, len(requests))
	var parts []string
	requested := make([]bool, len(w.parts))
	for _, r := range requests {
		p := r.Arg.(partOf[K])
		if !known[p.key] {
			known[p.key] = true
			keys = append(keys, p.key)
		}
		if !requested[p.part] {
			requested[p.part] = true
			parts = append(parts, w.parts[p.part].name)
		}
	}
	rows, seen, err := w.o.Load(ctx, keys, parts)
	if err != nil {
		return nil, Snapshot{}, err
	}
	values := make([]any, len(requests))
	for i, r := range requests {
		p := r.Arg.(partOf[K])
		if row, ok := rows[p.key]; ok {
			values[i] = w.parts[p.part].value(row)
		}
	}
	return values, seen, nil
}

// Also implements [Source]. A part that expired sooner is read alone.
func (w *Row[K, R]) Also(r Request) (also []Request) {
	p := r.Arg.(partOf[K])
	if w.parts[p.part].name != "" {
		return nil
	}
	for i, other := range w.parts {
		if i != p.part {
			also = append(also, other.request(p.key))
		}
	}
	return also
}

// Decode implements [Source].
func (w *Row[K, R]) Decode(r Request, data []byte) (any, error) {
	return w.parts[r.Arg.(partOf[K]).part].decode(data)
}

// Shape implements [Shaper].
func (w *Row[K, R]) Shape(r Request) string { return w.parts[r.Arg.(partOf[K]).part].shape }
