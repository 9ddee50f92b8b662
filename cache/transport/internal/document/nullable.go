package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
)

// nullableUse is a use of a variable that may be null in a position that may not. Validation
// accepts it if the variable or the position has a default, since the variable may be left out; but
// a null that is given is an error (section 6.4.1 of the specification, CoerceArgumentValues).
//
// gqlgen detects such a null only when it resolves the field, if at all: after the mutations before
// it were committed, as a panic in @skip or @include, and as a zero value in arguments.
type nullableUse struct {
	variable *ast.VariableDefinition
	argument string // with the path to the position in it: input.lines[0]
	of       string // the field or directive of the argument: setStock, @include
	wants    string // the type of the position
	position *ast.Position
}

// refuse returns the error for a use of a variable that is null, or nil if the variable is not
// null.
func (u nullableUse) refuse(values map[string]any) *gqlerror.Error {
	v, given := values[u.variable.Variable]
	if v != nil || !given && (u.variable.DefaultValue == nil || u.variable.DefaultValue.Kind != ast.NullValue) {
		return nil
	}
	return &gqlerror.Error{
		Message: fmt.Sprintf(`Variable "$%s" is null, but argument %q of %q is of type %q, which cannot be null.`,
			u.variable.Variable, u.argument, u.of, u.wants),
		Path:       ast.Path{ast.PathName("variable"), ast.PathName(u.variable.Variable)},
		Locations:  []gqlerror.Location{{Line: u.position.Line, Column: u.position.Column}},
		Extensions: map[string]any{"code": apierror.BadInput.Code, "field": lastName(u.argument)},
	}
}

// findNullableUses returns the nullable uses of an operation. Validation of the document has set
// the types of positions.
func findNullableUses(op *ast.OperationDefinition) (found []nullableUse) {
	if !slices.ContainsFunc(op.VariableDefinitions, func(d *ast.VariableDefinition) bool { return !d.Type.NonNull }) {
		return nil
	}
	walk := valueWalk{visit: func(of, argument string, v *ast.Value) {
		if v.Kind != ast.Variable {
			return
		}
		// The variable that a fragment's value refers to is set for only one operation.
		def := op.VariableDefinitions.ForName(v.Raw)
		if def != nil && !def.Type.NonNull && v.ExpectedType != nil && v.ExpectedType.NonNull {
			found = append(found, nullableUse{def, argument, of, v.ExpectedType.String(), v.Position})
		}
	}}
	walk.operation(op)
	return found
}

// findBeyondInt returns errors about the integers of an operation that are too large for an Int,
// for which gqlparser has no rule.
func findBeyondInt(op *ast.OperationDefinition) (found gqlerror.List) {
	walk := valueWalk{visit: func(_, argument string, v *ast.Value) {
		if v.Kind != ast.IntValue || v.Definition == nil || v.Definition.Name != "Int" {
			return
		}
		if _, err := strconv.ParseInt(v.Raw, 10, 32); err != nil {
			found = append(found, &gqlerror.Error{
				Message:    BeyondInt + v.Raw,
				Locations:  []gqlerror.Location{{Line: v.Position.Line, Column: v.Position.Column}},
				Extensions: map[string]any{"code": apierror.BadInput.Code, "field": lastName(argument)},
			})
		}
	}}
	for _, def := range op.VariableDefinitions {
		if def.DefaultValue != nil {
			walk.value("", def.Variable, def.DefaultValue)
		}
	}
	walk.operation(op)
	return found
}

// lastName returns the innermost field of the path of an argument: quantity for lines[0].quantity.
func lastName(argument string) string {
	argument, _, _ = strings.Cut(argument[strings.LastIndexByte(argument, '.')+1:], "[")
	return argument
}

// valueWalk calls visit for each variable and each value without parts in the arguments of an operation.
type valueWalk struct {
	visit     func(of, argument string, v *ast.Value) // of: setStock, @include; argument: input.lines[0]
	fragments map[string]bool                         // seen
}

func (w *valueWalk) operation(op *ast.OperationDefinition) {
	w.fragments = map[string]bool{}
	w.directives(op.Directives)
	w.selection(op.SelectionSet)
}

func (w *valueWalk) selection(set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			w.arguments(s.Name, s.Arguments)
			w.directives(s.Directives)
			w.selection(s.SelectionSet)
		case *ast.InlineFragment:
			w.directives(s.Directives)
			w.selection(s.SelectionSet)
		case *ast.FragmentSpread:
			w.directives(s.Directives)
			if !w.fragments[s.Name] {
				w.fragments[s.Name] = true
				w.directives(s.Definition.Directives)
				w.selection(s.Definition.SelectionSet)
			}
		}
	}
}

func (w *valueWalk) directives(list ast.DirectiveList) {
	for _, d := range list {
		w.arguments("@"+d.Name, d.Arguments)
	}
}

func (w *valueWalk) arguments(of string, list ast.ArgumentList) {
	for _, a := range list {
		w.value(of, a.Name, a.Value)
	}
}

func (w *valueWalk) value(of, argument string, v *ast.Value) {
	switch v.Kind {
	case ast.ListValue:
		for i, item := range v.Children {
			w.value(of, argument+"["+strconv.Itoa(i)+"]", item.Value)
		}
	case ast.ObjectValue:
		for _, field := range v.Children {
			w.value(of, argument+"."+field.Name, field.Value)
		}
	default:
		w.visit(of, argument, v)
	}
}
