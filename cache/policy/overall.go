package policy

import (
	"context"
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
	return Limit{o.MaxAge, o.Scope}.And(Limit{p.MaxAge, p.Scope}).Overall()
}

// Teller finds out how the answer to one operation may be kept, while the operation is executed.
type Teller interface {
	// Overall returns the zero value until there is an answer.
	Overall() Overall
}

type tellerKey struct{}

// WithTeller returns the context of an operation whose answer t tells of.
func WithTeller(ctx context.Context, t Teller) context.Context {
	return context.WithValue(ctx, tellerKey{}, t)
}

// TellerOf returns what [WithTeller] was given; nil if nobody tells.
func TellerOf(ctx context.Context) Teller {
	t, _ := ctx.Value(tellerKey{}).(Teller)
	return t
}

// OverallOf returns how the answer to an operation may be kept. ctx is the operation's; ask when the answer
// is made. The zero value, which says that it may not be kept, is told of an operation that is no query, was
// not executed, was not answered yet, or was answered with errors or in parts.
func OverallOf(ctx context.Context) Overall {
	if t := TellerOf(ctx); t != nil {
		return t.Overall()
	}
	return Overall{}
}

// Limit is what bounds an answer's age and scope.
type Limit struct {
	Age   time.Duration
	Scope cache.Scope
}

// unbounded is the age of a part without an age.
const unbounded = time.Duration(math.MaxInt64)

// Unlimited is a limit that bounds nothing.
func Unlimited() Limit { return Limit{Age: unbounded} }

// And returns both limits as one.
func (l Limit) And(m Limit) Limit {
	return Limit{min(l.Age, m.Age), max(l.Scope, m.Scope)}
}

// Lowers reports whether l bounds more than m already does.
func (l Limit) Lowers(m Limit) bool { return l.Age < m.Age || l.Scope > m.Scope }

// Overall is what an answer may be that is bounded so. What nothing gives an age may not be kept.
func (l Limit) Overall() Overall {
	if l.Age <= 0 || l.Age == unbounded {
		return Overall{}
	}
	return Overall{MaxAge: l.Age, Scope: l.Scope}
}
