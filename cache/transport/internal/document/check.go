package document

import (
	"maps"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
)

// Coerce replaces the values of an operation's variables by their coerced values. It refuses the operation if one is
// null in a position that may not be null, anywhere in the operation: then nothing of it was executed.
func (p *Parsed) Coerce(v *Validator, raw *graphql.RawParams) gqlerror.List {
	op := p.Operations.ForName(raw.OperationName)
	if op == nil {
		return nil // the executor reports it
	}
	c := coercer{schema: v.schema, op: op}
	values, err := c.coerce(raw.Variables)
	if err != nil {
		return gqlerror.List{err}
	}
	for _, use := range p.nullable[op] {
		if err := use.refuse(values); err != nil {
			return gqlerror.List{err}
		}
	}
	raw.Variables = values
	return nil
}

// Check refuses an operation with integers that are too large for an Int, and one that exceeds the budget of its
// request.
func (p *Parsed) Check(v *Validator, b *Budget, oc *graphql.OperationContext) gqlerror.List {
	if errs := copyErrors(p.beyondInt[oc.Operation]); len(errs) > 0 {
		return errs
	}
	if errs := b.spendComplexity(oc); len(errs) > 0 || !p.introspects {
		return errs
	}
	return b.spendIntrospection(v, oc)
}

// copyErrors copies errors that several requests share, since a presenter may change them.
func copyErrors(list gqlerror.List) (errs gqlerror.List) {
	for _, err := range list {
		errs = append(errs, &gqlerror.Error{Message: err.Message, Locations: err.Locations, Extensions: maps.Clone(err.Extensions)})
	}
	return errs
}

// spendComplexity refuses an operation if the operations of its batch together exceed the limit of
// a single one.
func (b *Budget) spendComplexity(oc *graphql.OperationContext) gqlerror.List {
	stats, _ := oc.Stats.GetExtension("ComplexityLimit").(*extension.ComplexityStats)
	if stats == nil {
		return nil
	}
	if b.complexity > stats.ComplexityLimit-stats.Complexity {
		err := gqlerror.Errorf(apierror.TooComplexBatch.Message,
			b.complexity, stats.Complexity, stats.ComplexityLimit)
		errcode.Set(err, apierror.TooComplex.Code)
		return gqlerror.List{err}
	}
	b.complexity += stats.Complexity
	return nil
}
