package gqlcache

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
)

// collector finds out how one operation's answer may be kept.
type collector struct {
	hints    *Hints
	plan     *plan
	alone    graphql.FieldMiddleware // what resolves a field without the collector
	unkept   bool                    // the answer may not be kept, whatever was resolved
	answered bool

	// What the fields limit that were counted.
	age     atomic.Int64
	private atomic.Bool

	// dynamic: a resolver gave a hint. raised: the one of a root field allows more than the schema, so that
	// what is below may limit more although it is not watched.
	dynamic, raised atomic.Bool

	mu    sync.Mutex // guards what follows
	said  map[*graphql.FieldContext]*said
	roots map[string]struct{} // aliases of root fields that were counted with what their resolvers said
}

// field resolves a field and counts it where it may limit what the whole is.
func (c *collector) field(ctx context.Context, next graphql.Resolver) (any, error) {
	value, err := c.alone(ctx, next)
	if len(c.plan.watched) > 0 || c.dynamic.Load() {
		c.count(graphql.GetFieldContext(ctx), value)
	}
	return value, err
}

// count counts a field that was resolved.
func (c *collector) count(fc *graphql.FieldContext, value any) {
	at := c.watched(fc)
	var said *said
	if c.dynamic.Load() {
		said = c.take(fc)
		if o := c.hints.objects[fc.Object]; at == nil && o != nil && (said != nil || c.raised.Load()) {
			at = o.fields[fc.Field.Name]
		}
	}
	if at == nil {
		return
	}
	parent := above(fc)
	static := at.static(parent == nil)
	counts := static
	if said != nil {
		counts = at.bound(parent == nil, said.over(at.hint.Hint))
		if parent == nil {
			c.replace(fc.Field.Alias)
			if static.lowers(counts) {
				c.raised.Store(true)
			}
		}
	}
	c.restrict(counts)
	if parent != nil {
		c.restrict(c.hints.objects[parent.Object].fields[parent.Field.Name].item(at.of))
	}
	if at.abstract {
		c.items(at, reflect.ValueOf(value))
	}
}

// watched is the coordinate of a field if it is watched.
func (c *collector) watched(fc *graphql.FieldContext) *coordinate {
	for _, at := range c.plan.watched[fc.Field.Field] {
		if at.of.name == fc.Object {
			return at
		}
	}
	return nil
}

// items counts the types of the objects in a value, which may be a list of lists.
func (c *collector) items(at *coordinate, v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		return
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			c.items(at, v.Index(i))
		}
		return
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Interface || c.hints.TypeOf == nil {
			c.items(at, v.Elem())
			return
		}
	}
	var name string
	if c.hints.TypeOf != nil {
		name = c.hints.TypeOf(v.Interface())
	} else {
		name = v.Type().Name()
	}
	strictest := nothing
	for _, o := range at.below {
		if o.name == name {
			c.restrict(at.item(o))
			return
		}
		strictest = strictest.and(at.item(o))
	}
	c.restrict(strictest)
}

// restrict lowers what the whole is.
func (c *collector) restrict(b bound) {
	for old := c.age.Load(); int64(b.age) < old; old = c.age.Load() {
		if c.age.CompareAndSwap(old, int64(b.age)) {
			break
		}
	}
	if b.scope == cache.Private && !c.private.Load() {
		c.private.Store(true)
	}
}

// replace notes that a root field was counted, not as the schema has it.
func (c *collector) replace(alias string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roots == nil {
		c.roots = map[string]struct{}{}
	}
	c.roots[alias] = struct{}{}
}

// bound is what all that was resolved limits.
func (c *collector) bound() bound {
	b := bound{age: time.Duration(c.age.Load())}
	if c.private.Load() {
		b.scope = cache.Private
	}
	if !c.dynamic.Load() {
		return b.and(c.plan.static)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for alias, root := range c.plan.roots {
		if _, replaced := c.roots[alias]; !replaced {
			b = b.and(root.root)
		}
	}
	for _, late := range c.said { // a field's hint that came when it was resolved can but lower
		b = b.and(boundOf(late.set)).and(boundOf(late.restrict))
	}
	return b
}
