package cache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// Kinds are the kinds of cached things of a project. [NewKind], [NewCount] and [NewPart] add to
// them and collect faults, so that all faults are reported at once. Add all kinds before the first
// read.
type Kinds struct {
	policy func(coordinate string) (Policy, error)
	all    []Stored
	faults []error
}

// NewKinds returns an empty set of kinds. policy returns for how long the values of a coordinate of
// the schema may be cached, and for how long they may be served stale after that.
func NewKinds(policy func(coordinate string) (Policy, error)) *Kinds {
	return &Kinds{policy: policy}
}

// All returns the kinds, or an error with all faults.
func (s *Kinds) All() ([]Stored, error) { return s.all, errors.Join(s.faults...) }

func (s *Kinds) fault(of, format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf("cache: kind of %s: %w", of, fmt.Errorf(format, args...)))
}

// Stored is a [Kind] with any types of keys and values. It names the values of the schema that it
// caches, and determines which of them a change of rows evicts.
type Stored interface {
	// Coordinate is the type or field of the schema whose values are stored: User, Product.reviews.
	Coordinate() string
	// RowsCoordinate is the coordinate whose @cacheRows declare the rows that the values depend on.
	RowsCoordinate() string
	// Matches returns an error if the kind cannot be matched by the columns that the schema names.
	Matches(columns []string) error
	// Untrue returns what to evict when rows of a table are inserted, deleted or changed that have these
	// values in the columns by which the schema matches rows.
	Untrue(table string, values Columns) Eviction
	// Form is [Kind.Form].
	Form() string
	// CountIn is [Kind.CountIn].
	CountIn(c *Cache)
	// Whole are the tags that all things of the kind have, by their types. They are evicted when it is not known which
	// rows changed.
	Whole() []Tag
}

// Columns are values of columns, as text; [Null] stands for NULL. A column is missing if it is
// compared with an argument that may be null, and is null: then it is not a condition.
type Columns map[string]string

// Text returns the value of a column, and reports whether there is one.
func (c Columns) Text(column string) (string, bool) {
	v, ok := c[column]
	return v, ok && v != Null
}

// Int returns the value of an integer column, and reports whether there is one.
func (c Columns) Int(column string) (int64, bool) {
	n, err := strconv.ParseInt(c[column], 10, 64)
	return n, err == nil
}

// Kind is a kind of cached things: users by id, pages of the reviews of a product. It defines the
// keys under which its things are stored and how they are read. How long they are cached, and what
// evicts them, follows from the schema. It is safe for concurrent use.
type Kind[K comparable, V any] struct {
	o      KindOptions[K, V]
	policy Policy
	meter  *Meter
	whole  []Tag
	fixed  []Tag  // the tags of every thing
	byKey  bool   // whether things that have a tag are still evicted by their keys
	source Source // nil: the kind itself
	part   int    // of the source's rows
}

// KindOptions are the options of a [Kind]. Of, Types, Name and Load are required.
type KindOptions[K comparable, V any] struct {
	// Of is the coordinate of the schema that says how long a thing may be cached, and which rows it depends on.
	Of string
	// Rows is the coordinate whose rows the thing depends on, if it is not Of.
	Rows string
	// Types are the names of the schema's types that a thing consists of: all things of a type can be evicted together.
	Types []string
	// Name returns the key of a thing, and the tag of the list that it is a page of, or "" if it is not a page. A thing
	// with a tag is evicted by the tag, since rows do not show which pages were read; a thing without one is evicted by
	// its key.
	Name func(K) (key Key, list Tag)
	// Any maps a table to the tag that all things have for it, if a change of any row of the table
	// evicts them.
	Any map[string]Tag
	// Match returns the thing that depends on the rows with these values, or any page of the list that does. It reports
	// whether there is one. Default: for integers and texts the value of the only column, for struct{} the only thing.
	Match func(Columns) (K, bool)
	// Load reads things in one statement and returns the snapshot that the statement saw, see [Source]. The map has no
	// entry for a thing that does not exist. Load may be called concurrently.
	Load func(context.Context, []K) (map[K]V, Snapshot, error)
}

// NewKind adds a kind to s.
func NewKind[K comparable, V any](s *Kinds, o KindOptions[K, V]) *Kind[K, V] {
	if o.Load == nil {
		s.fault(o.Of, "Load is required")
	}
	return newKind(s, o)
}

func newKind[K comparable, V any](s *Kinds, o KindOptions[K, V]) *Kind[K, V] {
	k := &Kind[K, V]{o: o}
	if o.Name == nil || len(o.Types) == 0 {
		s.fault(o.Of, "Name and Types are required")
	}
	if o.Match == nil && len(o.Any) == 0 && defaultMatch[K]() == nil {
		s.fault(o.Of, "Match is required: its things are known by more than an integer or a text")
	}
	var err error
	if k.policy, err = s.policy(o.Of); err != nil {
		s.fault(o.Of, "%w", err)
	}
	for _, name := range o.Types {
		k.whole = append(k.whole, Type(name))
	}
	for _, tag := range o.Any {
		k.fixed = append(k.fixed, tag)
	}
	slices.Sort(k.fixed)
	k.fixed = append(k.fixed, coordinates(o.Of, o.Rows)...)
	k.fixed = append(k.fixed, k.whole...)
	s.all = append(s.all, k)
	return k
}

// coordinates returns the tags of those names that are coordinates of fields. Names of types are
// skipped: the things of a type have the type's tag already.
func coordinates(names ...string) (tags []Tag) {
	for _, name := range names {
		if strings.Contains(name, ".") && !slices.Contains(tags, Coordinate(name)) {
			tags = append(tags, Coordinate(name))
		}
	}
	return tags
}

// CountOptions are the options of a kind of sizes. All but Rows and Match are required.
type CountOptions[K comparable] struct {
	Of, Rows string                  // as those of [KindOptions]
	Types    []string                // as those of [KindOptions]
	List     func(K) Tag             // the tag of the list whose things are counted
	Match    func(Columns) (K, bool) // as that of [KindOptions]
	// Load returns the sizes of lists, without those that are 0.
	Load func(context.Context, []K) (map[K]int, Snapshot, error)
}

// NewCount adds to s a kind of the sizes of lists. A size is evicted by its key when its list is
// evicted.
func NewCount[K comparable](s *Kinds, o CountOptions[K]) *Kind[K, int] {
	k := NewKind(s, KindOptions[K, int]{
		Of: o.Of, Rows: o.Rows, Types: o.Types, Match: o.Match, Load: o.Load,
		Name: func(key K) (Key, Tag) {
			list := o.List(key)
			return list.Count(), list
		},
	})
	k.byKey = true
	return k
}

// Coordinate implements [Stored].
func (k *Kind[K, V]) Coordinate() string { return k.o.Of }

// RowsCoordinate implements [Stored].
func (k *Kind[K, V]) RowsCoordinate() string {
	if k.o.Rows != "" {
		return k.o.Rows
	}
	return k.o.Of
}

// Whole implements [Stored].
func (k *Kind[K, V]) Whole() []Tag { return k.whole }

// Matches implements [Stored].
func (k *Kind[K, V]) Matches(columns []string) error {
	wants := 1
	if reflect.TypeFor[K]().Kind() == reflect.Struct {
		wants = 0
	}
	if k.o.Match == nil && len(k.o.Any) == 0 && len(columns) != wants {
		return fmt.Errorf("the kind that stores it is known by %d columns, and its rows are matched by %d", wants, len(columns))
	}
	return nil
}

// Untrue implements [Stored]. If all values are known and Match finds no thing, all things are
// evicted.
func (k *Kind[K, V]) Untrue(table string, values Columns) (ev Eviction) {
	if tag, ok := k.o.Any[table]; ok {
		ev.Tags = []Tag{tag}
		return ev
	}
	match := k.o.Match
	if match == nil {
		match = defaultMatch[K]()
	}
	if match == nil { // a table that is not in Any
		ev.Tags = k.whole
		return ev
	}
	thing, ok := match(values)
	if !ok {
		for _, v := range values {
			if v == Null {
				return ev // no thing depends on it
			}
		}
		ev.Tags = k.whole
		return ev
	}
	key, list := k.o.Name(thing)
	if list == "" || k.byKey {
		ev.Keys = []Key{key}
	} else {
		ev.Tags = []Tag{list}
	}
	return ev
}

// defaultMatch is the default of [KindOptions.Match]; nil if there is none for the type.
func defaultMatch[K comparable]() func(Columns) (K, bool) {
	switch t := reflect.TypeFor[K](); {
	case t.Kind() == reflect.String:
		return func(c Columns) (key K, ok bool) {
			for column := range c {
				var text string
				text, ok = c.Text(column)
				reflect.ValueOf(&key).Elem().SetString(text)
			}
			return key, ok && len(c) == 1
		}
	case reflect.Int <= t.Kind() && t.Kind() <= reflect.Int64:
		return func(c Columns) (key K, ok bool) {
			for column := range c {
				var n int64
				n, ok = c.Int(column)
				reflect.ValueOf(&key).Elem().SetInt(n)
			}
			return key, ok && len(c) == 1
		}
	case t.Kind() == reflect.Struct && t.NumField() == 0:
		return func(c Columns) (key K, ok bool) { return key, len(c) == 0 }
	}
	return nil
}

// Form returns the form of the keys of the kind, for display: user:<id>, {product:<id>}:reviews:….
func (k *Kind[K, V]) Form() string {
	const number, text = 8_000_000_000_000_000_017, "\u2063id"
	var key K
	v := reflect.ValueOf(&key).Elem()
	if v.Kind() == reflect.Struct {
		v = v.FieldByName("Owner")
	}
	if v.IsValid() && v.CanSet() {
		switch v.Kind() {
		case reflect.Int64:
			v.SetInt(number)
		case reflect.String:
			v.SetString(text)
		}
	}
	name, list := k.o.Name(key)
	form := string(name)
	if list != "" && form != string(list.Count()) {
		form = strings.ReplaceAll(string(list)+":…", "=:", "=<value>:")
	} else if at := strings.Index(form, ":list:"); at >= 0 {
		form = form[:at] + ":list:…"
	}
	return strings.NewReplacer(strconv.Itoa(number), "<id>", escape(text), "<id>").Replace(form)
}

// CountIn counts the requests for things of the kind in a cache, by coordinate. Call it before the
// first read.
func (k *Kind[K, V]) CountIn(c *Cache) { k.meter = c.Meter(k.o.Of) }

// Request returns the request for a thing; see [Batch.Load].
func (k *Kind[K, V]) Request(key K) (r Request) {
	name, list := k.o.Name(key)
	k.request(&r, key, name, list)
	return r
}

// request fills in the request for a thing with the given name.
func (k *Kind[K, V]) request(r *Request, key K, name Key, list Tag) {
	r.Key, r.Tags, r.MaxAge, r.Meter = name, k.fixed, k.policy.MaxAge, k.meter
	r.StaleWhileRevalidate, r.StaleIfError = k.policy.StaleWhileRevalidate, k.policy.StaleIfError
	if list != "" {
		r.Tags = append(append(make([]Tag, 0, 1+len(k.fixed)), list), k.fixed...)
	}
	if k.source == nil {
		r.Source, r.Arg = k, key
	} else {
		r.Source, r.Arg = k.source, partOf[K]{key, k.part}
	}
}

// alone returns a batch of one request. It is not inlined, so that its stack is free again when the
// batch loads.
//
//go:noinline
func (k *Kind[K, V]) alone(key K, name Key, list Tag) []Request {
	requests := make([]Request, 1)
	k.request(&requests[0], key, name, list)
	return requests
}

// Get reads a thing. It returns the zero value if there is none.
//
// A field is resolved on its own goroutine, whose stack grows by being copied. Get therefore makes its calls one after
// the other instead of nesting them: a hit in memory then needs no more than 4 KB.
func (k *Kind[K, V]) Get(ctx context.Context, b *Batch, key K) (V, error) {
	var zero V
	name, list := k.o.Name(key)
	results, err := b.Load(ctx, k.alone(key, name, list))
	if err != nil {
		return zero, err
	}
	if results[0].Err != nil || results[0].Value == nil {
		return zero, results[0].Err
	}
	return results[0].Value.(V), nil
}

// Many reads things in one batch. It returns them in the order of their keys, without those that do
// not exist: a list may have been read just before one of its things was deleted.
func (k *Kind[K, V]) Many(ctx context.Context, b *Batch, keys []K) ([]V, error) {
	requests := make([]Request, len(keys))
	for i, key := range keys {
		requests[i] = k.Request(key)
	}
	return LoadAll[V](ctx, b, requests)
}

// LoadAll is [Kind.Many] for things of several kinds, whose values all have type V or implement it.
func LoadAll[V any](ctx context.Context, b *Batch, requests []Request) ([]V, error) {
	results, err := b.Load(ctx, requests)
	if err != nil {
		return nil, err
	}
	values := make([]V, 0, len(requests))
	for _, r := range results {
		if r.Err != nil {
			return nil, r.Err
		}
		if r.Value != nil {
			values = append(values, r.Value.(V))
		}
	}
	return values, nil
}

// Load implements [Source].
func (k *Kind[K, V]) Load(ctx context.Context, requests []Request) ([]any, Snapshot, error) {
	keys := make([]K, len(requests))
	for i, r := range requests {
		keys[i] = r.Arg.(K)
	}
	found, seen, err := k.o.Load(ctx, keys)
	if err != nil {
		return nil, Snapshot{}, err
	}
	values := make([]any, len(keys))
	for i, key := range keys {
		if v, ok := found[key]; ok {
			values[i] = v
		}
	}
	return values, seen, nil
}

// Also implements [Source]. It returns nil: one thing is read at a time.
func (k *Kind[K, V]) Also(Request) []Request { return nil }

// Decode implements [Source].
func (k *Kind[K, V]) Decode(_ Request, data []byte) (any, error) { return decode[V](data) }

// Shape implements [Shaper].
func (k *Kind[K, V]) Shape(Request) string { return ShapeOf[V]() }

// decode decodes JSON into V and rejects members that the type does not have.
func decode[V any](data []byte) (any, error) {
	var v V
	err := json.Unmarshal(data, &v, strictly)
	return v, err
}

var strictly = json.RejectUnknownMembers(true)

// OneByOne returns a Load for a kind with few things, which reads them one by one.
func OneByOne[K comparable, V any](load func(context.Context, K) (V, Snapshot, error)) func(context.Context, []K) (map[K]V, Snapshot, error) {
	return func(ctx context.Context, keys []K) (map[K]V, Snapshot, error) {
		found := make(map[K]V, len(keys))
		var first Snapshot // later reads saw at least as much
		for i, key := range keys {
			v, seen, err := load(ctx, key)
			if err != nil {
				return nil, Snapshot{}, err
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
