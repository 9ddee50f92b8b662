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

// collector determines for how long one operation's response may be cached.
type collector struct {
	hints    *Hints
	plan     *policy.Plan
	noStore  bool // the response must not be stored, whatever was resolved
	byRoot   bool // whether the limits of each root field are recorded separately
	answered bool

	// The limits of the counted fields.
	age     atomic.Int64
	private atomic.Bool

	// dynamic says that a resolver gave a hint. raised says that the hint of a root field allows more than the schema,
	// so that fields below may limit more although they are not watched.
	dynamic, raised atomic.Bool

	mu           sync.Mutex              // guards the fields below
	below        map[string]policy.Limit // the limits counted below each root field, by alias; only for [Roots]
	dynamicHints map[*graphql.FieldContext]*resolverHints
	roots        map[string]struct{} // aliases of root fields that were counted with hints of their resolvers
}

// Overall implements [policy.Teller].
func (c *collector) Overall() policy.Overall {
	if c.noStore || !c.answered {
		return policy.Overall{}
	}
	return c.limit().Overall()
}

// resolved counts a resolved field if it may limit the response.
func (c *collector) resolved(ctx context.Context, value any) {
	if len(c.plan.Watched) > 0 || c.dynamic.Load() {
		c.count(graphql.GetFieldContext(ctx), value)
	}
}

// count counts a resolved field.
func (c *collector) count(fc *graphql.FieldContext, value any) {
	at := c.watched(fc)
	var given *resolverHints
	if c.dynamic.Load() {
		given = c.take(fc)
		if o := c.hints.objects[fc.Object]; at == nil && o != nil && (given != nil || c.raised.Load()) {
			at = o.Field(fc.Field.Name)
		}
	}
	if at == nil {
		return
	}
	parent := above(fc)
	static := at.Static(parent == nil)
	counts := static
	if given != nil {
		counts = at.Limit(parent == nil, given.over(at.Hint))
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

// above returns the field whose value contains a field's object; nil at the operation's root.
func above(fc *graphql.FieldContext) *graphql.FieldContext {
	for p := fc.Parent; p != nil; p = p.Parent {
		if p.Field.Field != nil { // otherwise it is an item of a list, or the root
			return p
		}
	}
	return nil
}

// watched returns the coordinate of a field if it is watched.
func (c *collector) watched(fc *graphql.FieldContext) *policy.Field {
	for _, at := range c.plan.Watched[fc.Field.Field] {
		if at.Of.Name == fc.Object {
			return at
		}
	}
	return nil
}

// items returns the limits of the types of the objects in a value, which may be a list of lists.
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

// restrictRoot records the limits counted below a root field.
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

// root returns for how long a root field that was resolved, and everything below it, may be cached.
// The result is the zero value if a resolver gave a hint.
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

// rootOf returns the alias of the root field above a field, or of itself.
func rootOf(fc *graphql.FieldContext) string {
	for p := above(fc); p != nil; p = above(fc) {
		fc = p
	}
	return fc.Field.Alias
}

// restrict lowers the policy of the response.
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

// replace records that a root field was counted with another policy than the schema's.
func (c *collector) replace(alias string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roots == nil {
		c.roots = map[string]struct{}{}
	}
	c.roots[alias] = struct{}{}
}

// limit returns the combined limits of everything that was resolved.
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
	for _, late := range c.dynamicHints { // a hint that came after the field was resolved can only lower
		b = b.And(late.set.Limit()).And(late.restrict.Limit())
	}
	return b
}
