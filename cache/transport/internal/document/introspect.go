package document

import (
	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/introspection"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"

	"fieldcache/cache/apierror"
)

// fullIntrospections is how many times a request may select the whole schema. Tools do so once.
const fullIntrospections = 2

// introspected counts the fields that are resolved for __schema and __type, which complexity does not include: the
// fields of the types of the fields of all types are millions. It walks the selection as gqlgen does, without computing
// values, until there are too many fields.
type introspected struct {
	schema    *ast.Schema
	variables map[string]any
	left      int // fields that may still be resolved
}

// set counts a selection on a part of the schema, or on another object if part is nil.
func (in *introspected) set(set ast.SelectionSet, part any) {
	for _, s := range set {
		if in.left--; in.left < 0 {
			return
		}
		switch s := s.(type) {
		case *ast.InlineFragment:
			in.set(s.SelectionSet, part)
		case *ast.FragmentSpread:
			in.set(s.Definition.SelectionSet, part)
		case *ast.Field:
			if len(s.SelectionSet) > 0 {
				in.below(s, part)
			}
		}
	}
}

// below counts the selection on a field's objects.
func (in *introspected) below(f *ast.Field, part any) {
	switch part := part.(type) {
	case nil:
		switch f.Name {
		case "__schema":
			in.set(f.SelectionSet, introspection.WrapSchema(in.schema))
		case "__type":
			in.typ(f.SelectionSet, introspection.WrapTypeFromDef(in.schema, in.schema.Types[in.name(f)]))
		default:
			in.set(f.SelectionSet, nil)
		}
	case *introspection.Schema:
		switch f.Name {
		case "types":
			each(in, f, part.Types())
		case "queryType":
			in.typ(f.SelectionSet, part.QueryType())
		case "mutationType":
			in.typ(f.SelectionSet, part.MutationType())
		case "subscriptionType":
			in.typ(f.SelectionSet, part.SubscriptionType())
		case "directives":
			each(in, f, part.Directives())
		}
	case *introspection.Type:
		switch f.Name {
		case "fields":
			each(in, f, part.Fields(true))
		case "inputFields":
			each(in, f, part.InputFields())
		case "interfaces":
			each(in, f, part.Interfaces())
		case "possibleTypes":
			each(in, f, part.PossibleTypes())
		case "enumValues":
			each(in, f, part.EnumValues(true))
		case "ofType":
			in.typ(f.SelectionSet, part.OfType())
		}
	case *introspection.Field:
		if f.Name == "args" {
			each(in, f, part.Args)
		} else {
			in.typ(f.SelectionSet, part.Type)
		}
	case *introspection.InputValue:
		in.typ(f.SelectionSet, part.Type)
	case *introspection.Directive:
		each(in, f, part.Args)
	}
}

// name returns the type that a field __type requests.
func (in *introspected) name(f *ast.Field) string {
	if a := f.Arguments.ForName("name"); a != nil {
		if v, err := a.Value.Value(in.variables); err == nil {
			name, _ := v.(string)
			return name
		}
	}
	return ""
}

func (in *introspected) typ(set ast.SelectionSet, t *introspection.Type) {
	if t != nil {
		in.set(set, t)
	}
}

func each[T any](in *introspected, f *ast.Field, parts []T) {
	for i := range parts {
		if in.left < 0 {
			return
		}
		in.set(f.SelectionSet, &parts[i])
	}
}

// introspects reports whether a document may select parts of the schema.
func introspects(doc *ast.QueryDocument) bool {
	var within func(ast.SelectionSet) bool
	within = func(set ast.SelectionSet) bool {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if s.Name == "__schema" || s.Name == "__type" || within(s.SelectionSet) {
					return true
				}
			case *ast.InlineFragment:
				if within(s.SelectionSet) {
					return true
				}
			}
		}
		return false
	}
	for _, o := range doc.Operations {
		if within(o.SelectionSet) {
			return true
		}
	}
	for _, f := range doc.Fragments {
		if within(f.SelectionSet) {
			return true
		}
	}
	return false
}

// introspectionLimit returns how many fields of the schema a request may select.
func (v *Validator) introspectionLimit() int {
	v.introspection.once.Do(func() {
		doc, err := parser.ParseQuery(&ast.Source{Input: introspection.NewQuery(introspection.QueryOptions{OneOf: true})})
		if err != nil || len(validator.ValidateWithRules(v.schema, doc, nil)) > 0 {
			return // a schema without introspection types cannot be introspected
		}
		const most = 1 << 30
		in := introspected{schema: v.schema, left: most}
		in.set(doc.Operations[0].SelectionSet, nil)
		v.introspection.limit = fullIntrospections * (most - in.left)
	})
	return v.introspection.limit
}

// spendIntrospection refuses an operation if its request exceeds the limit of introspection.
func (b *Budget) spendIntrospection(v *Validator, oc *graphql.OperationContext) gqlerror.List {
	if oc.DisableIntrospection {
		return nil
	}
	limit := v.introspectionLimit()
	in := introspected{schema: v.schema, variables: oc.Variables, left: limit - b.introspected}
	in.set(oc.Operation.SelectionSet, nil)
	if in.left < 0 {
		err := gqlerror.Errorf(apierror.TooMuchIntrospection.Message, limit)
		errcode.Set(err, apierror.TooComplex.Code)
		return gqlerror.List{err}
	}
	b.introspected = limit - in.left
	return nil
}
