package gqlcache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// nullableUse is where an operation uses a variable that may be null in a place that may not.
// Validation lets it pass where the variable or the place has a default, since the variable may be
// left out; a null that is given is an error all the same (section 6.4.1 of the specification,
// CoerceArgumentValues).
//
// gqlgen finds such a null when it comes to the field, if at all: after the mutations before it were
// committed, as a panic where @skip or @include has it, and as a zero value in arguments.
type nullableUse struct {
	variable *ast.VariableDefinition
	argument string // with the path to the place in it: input.lines[0]
	of       string // whose argument it is: setStock, @include
	wants    string // the type of the place
	position *ast.Position
}

// refuse returns the error for a use of a variable that is null; nil where it is not.
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
		Extensions: map[string]any{"code": codeBadInput, "field": lastName(u.argument)},
	}
}

// findNullableUses finds an operation's. The document was validated, which notes the types of places.
func findNullableUses(op *ast.OperationDefinition) (found []nullableUse) {
	if !slices.ContainsFunc(op.VariableDefinitions, func(d *ast.VariableDefinition) bool { return !d.Type.NonNull }) {
		return nil
	}
	uses := variableUses{visit: func(of, argument string, v *ast.Value) {
		// A fragment's value knows the variable of one operation alone.
		def := op.VariableDefinitions.ForName(v.Raw)
		if def != nil && !def.Type.NonNull && v.ExpectedType != nil && v.ExpectedType.NonNull {
			found = append(found, nullableUse{def, argument, of, v.ExpectedType.String(), v.Position})
		}
	}}
	uses.operation(op)
	return found
}

// lastName is the innermost field that a path of an argument names: quantity for lines[0].quantity.
func lastName(argument string) string {
	argument, _, _ = strings.Cut(argument[strings.LastIndexByte(argument, '.')+1:], "[")
	return argument
}

// variableUses calls visit for each place where an operation uses a variable.
type variableUses struct {
	visit     func(of, argument string, v *ast.Value) // of: setStock, @include; argument: input.lines[0]
	fragments map[string]bool                         // seen
}

func (u *variableUses) operation(op *ast.OperationDefinition) {
	u.fragments = map[string]bool{}
	u.directives(op.Directives)
	u.selection(op.SelectionSet)
}

func (u *variableUses) selection(set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			u.arguments(s.Name, s.Arguments)
			u.directives(s.Directives)
			u.selection(s.SelectionSet)
		case *ast.InlineFragment:
			u.directives(s.Directives)
			u.selection(s.SelectionSet)
		case *ast.FragmentSpread:
			u.directives(s.Directives)
			if !u.fragments[s.Name] {
				u.fragments[s.Name] = true
				u.directives(s.Definition.Directives)
				u.selection(s.Definition.SelectionSet)
			}
		}
	}
}

func (u *variableUses) directives(list ast.DirectiveList) {
	for _, d := range list {
		u.arguments("@"+d.Name, d.Arguments)
	}
}

func (u *variableUses) arguments(of string, list ast.ArgumentList) {
	for _, a := range list {
		u.value(of, a.Name, a.Value)
	}
}

func (u *variableUses) value(of, argument string, v *ast.Value) {
	switch v.Kind {
	case ast.Variable:
		u.visit(of, argument, v)
	case ast.ListValue:
		for i, item := range v.Children {
			u.value(of, argument+"["+strconv.Itoa(i)+"]", item.Value)
		}
	case ast.ObjectValue:
		for _, field := range v.Children {
			u.value(of, argument+"."+field.Name, field.Value)
		}
	}
}
