package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache/policy"
)

// Hint is what a resolver says of its value.
type Hint = policy.Hint

// said is what a field's resolver said of its value.
type said struct {
	set, restrict Hint
}

// over is what counts of a resolver's words and the schema's hint.
func (s *said) over(schema Hint) Hint { return s.set.Over(schema).Restricted(s.restrict) }

// SetHint replaces what the schema says of the field that is being resolved, attribute by attribute: it may
// allow more. A later one replaces an earlier one, but not what [Restrict] said. ctx is that of the field's
// resolver; what is said after the resolver returned can but lower. Outside of a field, or where no
// [Hints] is in use, it does nothing. It is safe for concurrent use.
func SetHint(ctx context.Context, h Hint) {
	say(ctx, func(s *said) { s.set = h.Over(s.set) })
}

// Restrict lowers what holds of the field that is being resolved: the least age counts, in whatever order
// it comes and also after a [SetHint] that comes later; private stays private. Where neither the schema
// nor the resolver gives another age, the one given here counts. ctx and concurrency are as for SetHint.
func Restrict(ctx context.Context, h Hint) {
	say(ctx, func(s *said) { s.restrict = s.restrict.Restricted(h) })
}

func say(ctx context.Context, do func(*said)) {
	if w, ok := ctx.Value(wordsKey{}).(*words); ok {
		w.mu.Lock()
		w.hinted = true
		w.mu.Unlock()
	}
	c := collectorOf(ctx)
	fc := graphql.GetFieldContext(ctx)
	if c == nil || c.noStore || fc == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = map[*graphql.FieldContext]*said{}
	}
	s := c.said[fc]
	if s == nil {
		s = &said{}
		c.said[fc] = s
	}
	do(s)
	c.dynamic.Store(true)
}

// take answers what a field's resolver said, once.
func (c *collector) take(fc *graphql.FieldContext) *said {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.said[fc]
	delete(c.said, fc)
	return s
}
