package policy

import (
	"context"
	"math"
	"strconv"
	"time"

	"fieldcache/cache"
)

// Overall says how a whole response may be cached. The zero value is for a response that may not be
// cached.
type Overall struct {
	MaxAge time.Duration // 0: not at all
	Scope  cache.Scope
}

// Header returns the value of Cache-Control: "max-age=N, public" or "max-age=N, private" with whole seconds, or
// "no-store" for a response that may be cached for less than a second.
func (o Overall) Header() string {
	if o.MaxAge < time.Second {
		return "no-store"
	}
	return "max-age=" + strconv.FormatInt(int64(o.MaxAge/time.Second), 10) + ", " + o.Scope.String()
}

// And returns how two responses may be cached that are sent as one, as in a batch: for the lower of both ages, and
// privately if one of them is private; not at all if one of them may not be cached.
func (o Overall) And(p Overall) Overall {
	return Limit{o.MaxAge, o.Scope}.And(Limit{p.MaxAge, p.Scope}).Overall()
}

// Teller determines how the response to one operation may be cached, while the operation is
// executed.
type Teller interface {
	// Overall returns the zero value until there is a response.
	Overall() Overall
}

type tellerKey struct{}

// WithTeller returns a context for an operation with the Teller of its response.
func WithTeller(ctx context.Context, t Teller) context.Context {
	return context.WithValue(ctx, tellerKey{}, t)
}

// TellerOf returns the Teller that [WithTeller] was given, or nil if there is none.
func TellerOf(ctx context.Context) Teller {
	t, _ := ctx.Value(tellerKey{}).(Teller)
	return t
}

// OverallOf returns how the response to an operation may be cached. ctx is the context of the operation; call it when
// the response is complete. It returns the zero value if the operation is not a query, was not executed, has no
// response yet, or its response has errors or is sent in parts.
func OverallOf(ctx context.Context) Overall {
	if t := TellerOf(ctx); t != nil {
		return t.Overall()
	}
	return Overall{}
}

// Limit limits the age and scope of a response.
type Limit struct {
	Age   time.Duration
	Scope cache.Scope
}

// unbounded is the age of a part without an age.
const unbounded = time.Duration(math.MaxInt64)

// Unlimited returns a Limit that limits nothing.
func Unlimited() Limit { return Limit{Age: unbounded} }

// And combines both limits.
func (l Limit) And(m Limit) Limit {
	return Limit{min(l.Age, m.Age), max(l.Scope, m.Scope)}
}

// Lowers reports whether l limits more than m.
func (l Limit) Lowers(m Limit) bool { return l.Age < m.Age || l.Scope > m.Scope }

// Overall returns how a response with this limit may be cached. If nothing sets an age, it may not
// be cached.
func (l Limit) Overall() Overall {
	if l.Age <= 0 || l.Age == unbounded {
		return Overall{}
	}
	return Overall{MaxAge: l.Age, Scope: l.Scope}
}
