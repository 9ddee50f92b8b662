package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// CacheControl is the name of the directive that holds the hints.
const CacheControl = "cacheControl"

// Hint is the policy that a schema or a resolver gives for a value. A nil field is not set. The values pointed to are
// immutable.
type Hint struct {
	MaxAge *time.Duration // how long it may be cached; 0 or less: not at all
	Scope  *cache.Scope   // for whom
}

// hint is one @cacheControl.
type hint struct {
	Hint
	inherit bool // the parent's age counts
	// revalidate and ifError are how long a value may be served after it expired; nil: not set.
	revalidate, ifError *time.Duration
}

// Over returns h overlaid on another hint, attribute by attribute.
func (h Hint) Over(below Hint) Hint {
	if h.MaxAge == nil {
		h.MaxAge = below.MaxAge
	}
	if h.Scope == nil {
		h.Scope = below.Scope
	}
	return h
}

// Restricted returns the hint with the lower of both ages; it is private if one of them is.
func (h Hint) Restricted(by Hint) Hint {
	if by.MaxAge != nil && (h.MaxAge == nil || *by.MaxAge < *h.MaxAge) {
		h.MaxAge = by.MaxAge
	}
	if by.Scope != nil && (h.Scope == nil || *h.Scope != cache.Private) {
		h.Scope = by.Scope
	}
	return h
}

// Limit returns the limits of the hint.
func (h Hint) Limit() Limit {
	l := Unlimited()
	if h.MaxAge != nil {
		l.Age = max(*h.MaxAge, 0)
	}
	if h.Scope != nil {
		l.Scope = *h.Scope
	}
	return l
}

// policy returns what the hint alone allows.
func (h Hint) policy() (p cache.Policy) {
	if h.MaxAge != nil {
		p.MaxAge = *h.MaxAge
	}
	if h.Scope != nil {
		p.Scope = *h.Scope
	}
	return p
}

// policy returns what the hint alone allows.
func (h hint) policy() cache.Policy {
	p := h.Hint.policy()
	if h.revalidate != nil {
		p.StaleWhileRevalidate = *h.revalidate
	}
	if h.ifError != nil {
		if p.StaleIfError = *h.ifError; p.StaleIfError == 0 {
			p.StaleIfError = -1 // never, whatever the cache's default is
		}
	}
	return p
}

// hints are the hints of a schema, by coordinate: "User", "Product.price".
type hints map[string]hint

// readHints reads every hint of a schema, or returns one error for all contradictions.
func readHints(schema *ast.Schema) (hints, error) {
	all := hints{}
	var errs []error
	read := func(coordinate string, list ast.DirectiveList) {
		h, err := readHint(list)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", coordinate, err))
		}
		all[coordinate] = h
	}
	for name, def := range schema.Types {
		if !Composite(def) {
			continue
		}
		read(name, def.Directives)
		for _, f := range def.Fields {
			read(name+"."+f.Name, f.Directives)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return all, errors.Join(errs...)
}

// of returns the hint of a field: that of the named type that it returns, overlaid by its own.
func (all hints) of(parent string, f *ast.FieldDefinition) hint {
	own, returned := all[parent+"."+f.Name], all[f.Type.Name()]
	h := hint{Hint: own.Over(returned.Hint), inherit: own.inherit || returned.inherit, revalidate: own.revalidate, ifError: own.ifError}
	if h.revalidate == nil {
		h.revalidate = returned.revalidate
	}
	if h.ifError == nil {
		h.ifError = returned.ifError
	}
	return h
}

// Composite reports whether the fields of a type are resolved: whether it is an object, an
// interface or a union.
func Composite(def *ast.Definition) bool {
	return def != nil && !def.BuiltIn && (def.Kind == ast.Object || def.Kind == ast.Interface || def.Kind == ast.Union)
}

func readHint(list ast.DirectiveList) (h hint, err error) {
	given := list.ForNames(CacheControl)
	if len(given) == 0 {
		return h, nil
	}
	if len(given) > 1 {
		return h, fmt.Errorf("@%s is given %d times: give it once, on the type or on one of its extensions", CacheControl, len(given))
	}
	for _, a := range given[0].Arguments {
		if a.Value.Kind == ast.NullValue {
			continue
		}
		refused := func(allowed string) (hint, error) {
			return h, fmt.Errorf("@%s(%s: %s): allowed is %s", CacheControl, a.Name, a.Value, allowed)
		}
		switch a.Name {
		case "maxAge", "staleWhileRevalidate", "staleIfError":
			seconds, err := strconv.Atoi(a.Value.Raw)
			if err != nil || a.Value.Kind != ast.IntValue || seconds < 0 || seconds > math.MaxInt32 {
				return refused("a whole number of seconds, 0 or more")
			}
			switch age := new(time.Duration(seconds) * time.Second); a.Name {
			case "maxAge":
				h.MaxAge = age
			case "staleWhileRevalidate":
				h.revalidate = age
			default:
				h.ifError = age
			}
		case "scope":
			switch {
			case a.Value.Kind == ast.EnumValue && a.Value.Raw == "PUBLIC":
				h.Scope = new(cache.Public)
			case a.Value.Kind == ast.EnumValue && a.Value.Raw == "PRIVATE":
				h.Scope = new(cache.Private)
			default:
				return refused("PUBLIC or PRIVATE")
			}
		case "inheritMaxAge":
			if a.Value.Kind != ast.BooleanValue {
				return refused("true or false")
			}
			h.inherit = a.Value.Raw == "true"
		}
	}
	if h.MaxAge != nil && *h.MaxAge == 0 && (positive(h.revalidate) || positive(h.ifError)) {
		return h, fmt.Errorf("@%s(maxAge: 0) has staleWhileRevalidate or staleIfError: nothing is cached that could be served later", CacheControl)
	}
	if h.inherit && h.MaxAge != nil {
		return h, fmt.Errorf("@%s has maxAge and inheritMaxAge: give one of them", CacheControl)
	}
	return h, nil
}

func positive(d *time.Duration) bool { return d != nil && *d > 0 }
