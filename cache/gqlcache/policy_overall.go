package gqlcache

import (
	"math"
	"strconv"
	"time"

	"fieldcache/cache"
)

// Overall says how a whole answer may be kept. The zero value is an answer that may not be kept.
type Overall struct {
	MaxAge time.Duration // 0: not at all
	Scope  cache.Scope
}

// Header is the value of Cache-Control: "max-age=N, public" or "max-age=N, private" with whole seconds, and
// "no-store" for what may not be kept for one.
func (o Overall) Header() string {
	if o.MaxAge < time.Second {
		return "no-store"
	}
	return "max-age=" + strconv.FormatInt(int64(o.MaxAge/time.Second), 10) + ", " + o.Scope.String()
}

// And is how two answers may be kept that are sent as one, as in a batch: for the least of both ages, and
// privately if one of them is private; not at all if one of them may not be kept.
func (o Overall) And(p Overall) Overall {
	return bound{o.MaxAge, o.Scope}.and(bound{p.MaxAge, p.Scope}).overall()
}

// bound is what limits an answer's age and scope.
type bound struct {
	age   time.Duration
	scope cache.Scope
}

// unbounded is the age of what says nothing of ages.
const unbounded = time.Duration(math.MaxInt64)

// nothing is a bound that limits nothing.
var nothing = bound{age: unbounded}

// boundOf is what a hint limits.
func boundOf(h Hint) bound {
	b := nothing
	if h.MaxAge != nil {
		b.age = max(*h.MaxAge, 0)
	}
	if h.Scope != nil {
		b.scope = *h.Scope
	}
	return b
}

func (b bound) and(c bound) bound {
	return bound{min(b.age, c.age), max(b.scope, c.scope)}
}

// lowers reports whether b limits more than c already does.
func (b bound) lowers(c bound) bool { return b.age < c.age || b.scope > c.scope }

// overall is what an answer may be that is bounded so. What nothing gives an age may not be kept.
func (b bound) overall() Overall {
	if b.age <= 0 || b.age == unbounded {
		return Overall{}
	}
	return Overall{MaxAge: b.age, Scope: b.scope}
}
