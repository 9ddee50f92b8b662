package gqlcache

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/policy"
)

// collector finds out how one operation's answer may be kept.
type collector struct {
	hints    *Hints
	plan     *policy.Plan
	noStore  bool // the answer may not be kept, whatever was resolved
	byRoot   bool // whether what root fields limit is told apart
	answered bool

	// What the fields limit that were counted.
	age     atomic.Int64
	private atomic.Bool

	// dynamic: a resolver gave a hint. raised: the one of a root field allows more than the schema, so that
	// what is below may limit more although it is not watched.
	dynamic, raised atomic.Bool

	mu    sync.Mutex              // guards what follows
	below map[string]policy.Limit // what was counted below each root field, by alias; only if [Roots] asks
	said  map[*graphql.FieldContext]*said
	roots map[string]struct{} // aliases of root fields that were counted with what their resolvers said
}

// Overall implements [policy.Teller].
func (c *collector) Overall() policy.Overall {
	if c.noStore || !c.answered {
		return policy.Overall{}
	}
	return c.limit().Overall()
}

// resolved counts a field that was resolved where it may limit what the whole is.
func (c *collector) resolved(ctx context.Context, value any) {
	if len(c.plan.Watched) > 0 || c.dynamic.Load() {
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
			at = o.Field(fc.Field.Name)
		}
	}
	if at == nil {
		return
	}
	parent := above(fc)
	static := at.Static(parent == nil)
	counts := static
	if said != nil {
		counts = at.Limit(parent == nil, said.over(at.Hint))
		if parent == nil {
			c.replace(fc.Field.Alias)
			if static.Lowers(counts) {
				c.raised.Store(true)
			}
		}
	}
	if parent != nil {
		counts = counts.And(c.hints.objects[parent.Object].Field(parent.Field.Name).Item(at.Of))
	}
	if at.Abstract {
		counts = counts.And(c.items(at, reflect.ValueOf(value)))
	}
	c.restrict(counts)
	if c.byRoot {
		c.restrictRoot(rootOf(fc), counts)
	}
}

// above is the field that a field's object is of; nil at the operation's root.
func above(fc *graphql.FieldContext) *graphql.FieldContext {
	for p := fc.Parent; p != nil; p = p.Parent {
		if p.Field.Field != nil { // else it is an item of a list, or the root
			return p
		}
	}
	return nil
}

// watched is the coordinate of a field if it is watched.
func (c *collector) watched(fc *graphql.FieldContext) *policy.Field {
	for _, at := range c.plan.Watched[fc.Field.Field] {
		if at.Of.Name == fc.Object {
			return at
		}
	}
	return nil
}

// items is what the types of the objects in a value limit, which may be a list of lists.
func (c *collector) items(at *policy.Field, v reflect.Value) policy.Limit {
	switch v.Kind() {
	case reflect.Invalid:
		return policy.Unlimited()
	case reflect.Slice, reflect.Array:
		all := policy.Unlimited()
		for i := range v.Len() {
			all = all.And(c.items(at, v.Index(i)))
		}
		return all
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return policy.Unlimited()
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
	strictest := policy.Unlimited()
	for _, o := range at.Objects {
		if o.Name == name {
			return at.Item(o)
		}
		strictest = strictest.And(at.Item(o))
	}
	return strictest
}

// restrictRoot notes what was counted below a root field.
func (c *collector) restrictRoot(alias string, b policy.Limit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.below == nil {
		c.below = map[string]policy.Limit{}
	}
	if old, ok := c.below[alias]; ok {
		b = b.And(old)
	}
	c.below[alias] = b
}

// root is how a root field and all below it may be kept, once it was resolved. It is not known where a
// resolver gave a hint.
func (c *collector) root(alias string) policy.Overall {
	if c.dynamic.Load() {
		return policy.Overall{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, counted := c.below[alias]
	if !counted {
		b = policy.Unlimited()
	}
	if certain := c.plan.Roots[alias]; certain != nil {
		b = b.And(certain.Static(true))
	}
	return b.Overall()
}

// rootOf is the alias of the root field above a field, or of itself.
func rootOf(fc *graphql.FieldContext) string {
	for p := above(fc); p != nil; p = above(fc) {
		fc = p
	}
	return fc.Field.Alias
}

// restrict lowers what the whole is.
func (c *collector) restrict(b policy.Limit) {
	for old := c.age.Load(); int64(b.Age) < old; old = c.age.Load() {
		if c.age.CompareAndSwap(old, int64(b.Age)) {
			break
		}
	}
	if b.Scope == cache.Private && !c.private.Load() {
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

// limit is what all that was resolved limits.
func (c *collector) limit() policy.Limit {
	b := policy.Limit{Age: time.Duration(c.age.Load())}
	if c.private.Load() {
		b.Scope = cache.Private
	}
	if !c.dynamic.Load() {
		return b.And(c.plan.Static)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for alias, root := range c.plan.Roots {
		if _, replaced := c.roots[alias]; !replaced {
			b = b.And(root.Static(true))
		}
	}
	for _, late := range c.said { // a field's hint that came when it was resolved can but lower
		b = b.And(late.set.Limit()).And(late.restrict.Limit())
	}
	return b
}
