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
	unkept   bool // the answer may not be kept, whatever was resolved
	byRoot   bool // whether what root fields limit is told apart
	answered bool

	// What the fields limit that were counted.
	age     atomic.Int64
	private atomic.Bool

	// dynamic: a resolver gave a hint. raised: the one of a root field allows more than the schema, so that
	// what is below may limit more although it is not watched.
	dynamic, raised atomic.Bool

	mu    sync.Mutex       // guards what follows
	below map[string]bound // what was counted below each root field, by alias; only if [Roots] asks
	said  map[*graphql.FieldContext]*said
	roots map[string]struct{} // aliases of root fields that were counted with what their resolvers said
}

// resolved counts a field that was resolved where it may limit what the whole is.
func (c *collector) resolved(ctx context.Context, value any) {
	if len(c.plan.watched) > 0 || c.dynamic.Load() {
		c.count(graphql.GetFieldContext(ctx), value)
	}
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
	if parent != nil {
		counts = counts.and(c.hints.objects[parent.Object].fields[parent.Field.Name].item(at.of))
	}
	if at.abstract {
		counts = counts.and(c.items(at, reflect.ValueOf(value)))
	}
	c.restrict(counts)
	if c.byRoot {
		c.restrictRoot(rootOf(fc), counts)
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

// items is what the types of the objects in a value limit, which may be a list of lists.
func (c *collector) items(at *coordinate, v reflect.Value) bound {
	switch v.Kind() {
	case reflect.Invalid:
		return nothing
	case reflect.Slice, reflect.Array:
		all := nothing
		for i := range v.Len() {
			all = all.and(c.items(at, v.Index(i)))
		}
		return all
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nothing
		}
		if v.Kind() == reflect.Interface || c.hints.TypeOf == nil {
			return c.items(at, v.Elem())
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
			return at.item(o)
		}
		strictest = strictest.and(at.item(o))
	}
	return strictest
}

// restrictRoot notes what was counted below a root field.
func (c *collector) restrictRoot(alias string, b bound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.below == nil {
		c.below = map[string]bound{}
	}
	if old, ok := c.below[alias]; ok {
		b = b.and(old)
	}
	c.below[alias] = b
}

// root is how a root field and all below it may be kept, once it was resolved. It is not known where a
// resolver gave a hint.
func (c *collector) root(alias string) Overall {
	if c.dynamic.Load() {
		return Overall{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, counted := c.below[alias]
	if !counted {
		b = nothing
	}
	if certain := c.plan.roots[alias]; certain != nil {
		b = b.and(certain.static(true))
	}
	return b.overall()
}

// rootOf is the alias of the root field above a field, or of itself.
func rootOf(fc *graphql.FieldContext) string {
	for p := above(fc); p != nil; p = above(fc) {
		fc = p
	}
	return fc.Field.Alias
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
