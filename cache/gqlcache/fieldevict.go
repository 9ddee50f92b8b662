package gqlcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// ErrNames is wrapped by errors that list unknown names in an [Order].
var ErrNames = errors.New("cannot evict this")

// Order is what an operator wants to evict.
type Order struct {
	Keys        []string `json:"keys,omitempty"`        // "user:42", "{product:7}:reviews(first=10)"
	Types       []string `json:"types,omitempty"`       // "Product": its objects, its fields, and the fields that return them
	Coordinates []string `json:"coordinates,omitempty"` // "Product.reviews"
	Rows        []string `json:"rows,omitempty"`        // "reviews:9": see [outbox.RowTags.Row]
	Tags        []string `json:"tags,omitempty"`        // as entries carry them, or names of @cacheTag
	// Soft continues to serve the named values until they are loaded again. Their next reader starts the load.
	Soft bool `json:"soft,omitempty"`
}

// Size returns the number of names in the order.
func (o Order) Size() int {
	return len(o.Keys) + len(o.Types) + len(o.Coordinates) + len(o.Rows) + len(o.Tags)
}

// Orders executes the orders of operators. It is safe for concurrent use.
type Orders struct {
	Cache  *cache.Cache // required
	Schema *ast.Schema  // required: it has the types and coordinates
	// Fields are those whose bars an order lifts. A coordinate that neither Fields nor kinds cache is refused. May be
	// nil.
	Fields *Fields
	// Rows and Database find the tags of a row, which is read. If nil, an order cannot name rows.
	Rows     *outbox.RowTags
	Database outbox.Reader
}

// Evict evicts what an order names, and returns how many of its keys were cached; other names are
// not counted. It returns one error, which wraps [ErrNames], for all unknown names, and then evicts
// nothing. A coordinate that an audit barred is cached again once it, or its type, is named.
func (o *Orders) Evict(ctx context.Context, order Order) (evicted int, err error) {
	ev := cache.Eviction{Soft: order.Soft}
	var faults []error
	var lift []string
	for _, k := range order.Keys {
		ev.Keys = append(ev.Keys, cache.Key(k))
	}
	for _, t := range order.Tags {
		if !strings.HasPrefix(t, "{") {
			ev.Tags = append(ev.Tags, cache.Named(t))
		}
		ev.Tags = append(ev.Tags, cache.Tag(t))
	}
	for _, name := range order.Types {
		def := o.Schema.Types[name]
		if !policy.Composite(def) {
			faults = append(faults, fmt.Errorf("%w: the schema has no type %s", ErrNames, name))
			continue
		}
		ev.Tags = append(ev.Tags, cache.Type(name))
		for _, t := range o.Schema.GetPossibleTypes(def) {
			lift = append(lift, coordinatesOf(o.Schema, t)...)
		}
	}
	for _, name := range order.Coordinates {
		typeName, field, _ := strings.Cut(name, ".")
		if def := o.Schema.Types[typeName]; def == nil || def.Fields.ForName(field) == nil {
			faults = append(faults, fmt.Errorf("%w: the schema has no %s", ErrNames, name))
			continue
		} else if o.Fields != nil && !o.Fields.caches(name) {
			of := def.Fields.ForName(field).Type.Name()
			if !policy.Composite(o.Schema.Types[of]) {
				of = typeName
			}
			faults = append(faults, fmt.Errorf("%w: no values are cached for %s by itself: evict the type %s", ErrNames, name, of))
			continue
		}
		lift = append(lift, name)
	}
	for _, name := range order.Rows {
		if o.Rows == nil || o.Database == nil {
			faults = append(faults, fmt.Errorf("%w: no table is followed, so that rows cannot be named: %s", ErrNames, name))
			continue
		}
		rows, err := o.Rows.Row(ctx, o.Database, name)
		switch {
		case errors.Is(err, outbox.ErrNoRow):
			faults = append(faults, fmt.Errorf("%w: %w", ErrNames, err))
		case err != nil:
			return 0, err
		}
		rows.Soft = ev.Soft
		ev.Add(rows)
	}
	slices.Sort(lift)
	lift = slices.Compact(lift)
	for _, c := range lift {
		ev.Tags = append(ev.Tags, cache.Coordinate(c))
	}
	if err := errors.Join(faults...); err != nil {
		return 0, err
	}
	// First the bars: a process that starts meanwhile reads none, or is told of the eviction.
	var barred error
	if bars := o.Cache.Bars(); bars != nil {
		barred = bars.Unbar(ctx, lift)
	}
	evicted, err = o.Cache.EvictByHand(ctx, ev)
	if err = errors.Join(barred, err); err == nil && o.Fields != nil {
		for _, c := range lift {
			o.Fields.trust(c)
		}
	}
	return evicted, err
}

// coordinatesOf returns the fields of an object type, and all fields that may return one.
func coordinatesOf(schema *ast.Schema, object *ast.Definition) (list []string) {
	for name, def := range schema.Types {
		if !policy.Composite(def) {
			continue
		}
		for _, f := range def.Fields {
			if name == object.Name || slices.Contains(schema.GetPossibleTypes(schema.Types[f.Type.Name()]), object) {
				list = append(list, name+"."+f.Name)
			}
		}
	}
	return list
}

// trust lifts the bar of a coordinate.
func (f *Fields) trust(coordinate string) {
	if c := f.of(coordinate); c != nil && c.barred.Swap(false) {
		f.o.Log.Info("a field is cached again", "coordinate", coordinate)
	}
}

// caches reports whether the field cache or a kind stores the values of a coordinate.
func (f *Fields) caches(coordinate string) bool {
	return f.of(coordinate) != nil || f.o.Plan.stored[coordinate]
}

// of returns the field of a coordinate, or nil if it is not cached.
func (f *Fields) of(coordinate string) *cachedField {
	object, name, _ := strings.Cut(coordinate, ".")
	return f.fields[object][name]
}

// Barred returns the coordinates that are not cached because an audit found a fault, in order.
func (f *Fields) Barred() (list []string) {
	for _, fields := range f.fields {
		for _, c := range fields {
			if c.barred.Load() {
				list = append(list, c.coordinate)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Shadowed returns a function that reports whether a coordinate is in shadow mode, for
// [cache.Options]. names are coordinates ("Product.reviews") and types ("Country": every field that
// returns one, and what is loaded by type), or "*" for all. It returns one error for all names that
// the schema does not have.
func Shadowed(schema *ast.Schema, names []string) (func(coordinate string) bool, error) {
	named := map[string]bool{}
	var faults []error
	for _, name := range names {
		typeName, field, isField := strings.Cut(name, ".")
		def := schema.Types[typeName]
		if name != "*" && (def == nil || isField && def.Fields.ForName(field) == nil) {
			faults = append(faults, fmt.Errorf("shadow mode: the schema has no %s", name))
		}
		named[name] = true
	}
	return func(coordinate string) bool {
		if named["*"] || named[coordinate] {
			return true
		}
		typeName, field, _ := strings.Cut(coordinate, ".")
		def := schema.Types[typeName]
		if def == nil {
			return false
		}
		f := def.Fields.ForName(field)
		return f != nil && named[f.Type.Name()]
	}, errors.Join(faults...)
}
