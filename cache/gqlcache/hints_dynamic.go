package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache/internal/operation"
	"fieldcache/cache/policy"
)

// Hint is a resolver's hint for its value.
type Hint = policy.Hint

// resolverHints is the hints of a field's resolver.
type resolverHints struct {
	set, restrict Hint
}

// over combines a resolver's hints with the schema's.
func (s *resolverHints) over(schema Hint) Hint { return s.set.Over(schema).Restricted(s.restrict) }

// SetHint replaces the hint of the schema for the field that is being resolved, attribute by
// attribute: it may allow more. A later call replaces an earlier one, but not what [Restrict] set.
// ctx is that of the resolver of the field. Calls after the resolver returned can only lower the
// policy. Outside of a field, or without [Hints], it does nothing. It is safe for concurrent use.
func SetHint(ctx context.Context, h Hint) {
	giveHint(ctx, func(s *resolverHints) { s.set = h.Over(s.set) })
}

// Restrict lowers the policy of the field that is being resolved. The lowest age applies, in any
// order of the calls, even if a [SetHint] follows, and private stays private. If neither the schema
// nor the resolver sets an age, the age of h applies. ctx and concurrency are as for SetHint.
func Restrict(ctx context.Context, h Hint) {
	giveHint(ctx, func(s *resolverHints) { s.restrict = s.restrict.Restricted(h) })
}

func giveHint(ctx context.Context, do func(*resolverHints)) {
	if w, ok := ctx.Value(resolverNotesKey{}).(*resolverNotes); ok {
		w.mu.Lock()
		w.hinted = true
		w.mu.Unlock()
	}
	c := collectorOf(ctx)
	fc := graphql.GetFieldContext(operation.Quiet(ctx))
	if c == nil || c.noStore || fc == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dynamicHints == nil {
		c.dynamicHints = map[*graphql.FieldContext]*resolverHints{}
	}
	s := c.dynamicHints[fc]
	if s == nil {
		s = &resolverHints{}
		c.dynamicHints[fc] = s
	}
	do(s)
	c.dynamic.Store(true)
}

// take returns the hints of a field's resolver, once.
func (c *collector) take(fc *graphql.FieldContext) *resolverHints {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.dynamicHints[fc]
	delete(c.dynamicHints, fc)
	return s
}
