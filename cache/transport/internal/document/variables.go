package document

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
)

// BeyondInt is the message of graphql-js for an integer that is too large for an Int.
const BeyondInt = "Int cannot represent non 32-bit signed integer value: "

// coercer converts the values of variables to their types, as section 3 of the GraphQL
// specification requires ("Input Coercion"). gqlparser's own coercion, which runs after it, accepts
// a string for a number, a number for a string, and an enum value in any case.
type coercer struct {
	schema *ast.Schema
	op     *ast.OperationDefinition
	name   string   // of the variable
	path   ast.Path // of the current value in it
}

// coerce returns the values of an operation's variables. It leaves out variables without a value,
// so that defaults apply.
func (c *coercer) coerce(given map[string]any) (map[string]any, *gqlerror.Error) {
	values := make(map[string]any, len(c.op.VariableDefinitions))
	for _, def := range c.op.VariableDefinitions {
		c.name = def.Variable
		v, ok := given[def.Variable]
		if !ok {
			if def.Type.NonNull && def.DefaultValue == nil {
				return nil, c.fail("must be defined")
			}
			continue
		}
		coerced, err := c.value(def.Type, v)
		if err != nil {
			return nil, err
		}
		values[def.Variable] = coerced
	}
	return values, nil
}

func (c *coercer) value(t *ast.Type, v any) (any, *gqlerror.Error) {
	switch {
	case v == nil && t.NonNull:
		return nil, c.fail("cannot be null")
	case v == nil:
		return nil, nil
	case t.Elem != nil:
		return c.list(t.Elem, v)
	}
	def := c.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.Enum:
		if name, ok := v.(string); ok && def.EnumValues.ForName(name) != nil {
			return name, nil
		}
		return nil, c.fail("Enum %q cannot represent non-enum value: %s.", def.Name, show(v))
	case ast.InputObject:
		return c.object(def, v)
	}
	return c.scalar(def.Name, v)
}

// list coerces a list, or a single value to a list of one element.
func (c *coercer) list(elem *ast.Type, v any) (any, *gqlerror.Error) {
	items, ok := v.([]any)
	if !ok {
		one, err := c.value(elem, v)
		return []any{one}, err
	}
	coerced := make([]any, len(items))
	for i, item := range items {
		c.path = append(c.path, ast.PathIndex(i))
		var err *gqlerror.Error
		if coerced[i], err = c.value(elem, item); err != nil {
			return nil, err
		}
		c.path = c.path[:len(c.path)-1]
	}
	return coerced, nil
}

func (c *coercer) object(def *ast.Definition, v any) (any, *gqlerror.Error) {
	given, ok := v.(map[string]any)
	if !ok {
		return nil, c.fail("Expected value of type %q to be an object, found: %s.", def.Name, show(v))
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if def.Fields.ForName(name) == nil {
			c.path = append(c.path, ast.PathName(name))
			return nil, c.fail("unknown field")
		}
	}
	coerced := make(map[string]any, len(given))
	for _, f := range def.Fields {
		c.path = append(c.path, ast.PathName(f.Name))
		v, ok := given[f.Name]
		switch {
		case ok:
			var err *gqlerror.Error
			if coerced[f.Name], err = c.value(f.Type, v); err != nil {
				return nil, err
			}
		case f.Type.NonNull && f.DefaultValue == nil:
			return nil, c.fail("must be defined")
		}
		c.path = c.path[:len(c.path)-1]
	}
	if def.Directives.ForName("oneOf") != nil {
		if len(coerced) != 1 || slices.Collect(maps.Values(coerced))[0] == nil {
			return nil, c.fail("Exactly one field of %q must be given, and not be null.", def.Name)
		}
	}
	return coerced, nil
}

func (c *coercer) scalar(name string, v any) (any, *gqlerror.Error) {
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	switch name {
	case "Int":
		if !isNumber || !whole(number) {
			return nil, c.fail("Int cannot represent non-integer value: %s", show(v))
		}
		n, err := strconv.ParseInt(string(number), 10, 32)
		if err != nil {
			return nil, c.outOfRange(v)
		}
		return n, nil
	case "Float":
		f, err := number.Float64()
		if !isNumber || err != nil || math.IsInf(f, 0) {
			return nil, c.fail("Float cannot represent non numeric value: %s", show(v))
		}
		return f, nil
	case "String":
		if !isText {
			return nil, c.fail("String cannot represent a non string value: %s", show(v))
		}
		return text, nil
	case "ID":
		switch {
		case isText:
			return text, nil
		case isNumber && whole(number):
			return string(number), nil
		}
		return nil, c.fail("ID cannot represent a non-string and non-integer value: %s", show(v))
	case "Boolean":
		if _, ok := v.(bool); !ok {
			return nil, c.fail("Boolean cannot represent a non boolean value: %s", show(v))
		}
	}
	return v, nil // a custom scalar coerces it itself
}

// whole reports whether a number is written as an integer.
func whole(n json.Number) bool { return !strings.ContainsAny(string(n), ".eE") }

// fail returns an error about the current value. gqlparser identifies the variable only in the
// path, but people read the message.
func (c *coercer) fail(format string, args ...any) *gqlerror.Error {
	path := append(ast.Path{ast.PathName("variable"), ast.PathName(c.name)}, c.path...)
	message := fmt.Sprintf(`Variable "$%s": %s`, path[1:].String(), fmt.Sprintf(format, args...))
	err := &gqlerror.Error{Message: message, Path: path}
	errcode.Set(err, errcode.ValidationFailed)
	return err
}

// outOfRange returns the error about an integer that is too large for an Int. The value has the right type and is out
// of range: the error names the argument, as those of resolvers do.
func (c *coercer) outOfRange(v any) *gqlerror.Error {
	err := c.fail("%s%s", BeyondInt, show(v))
	field := ""
	for _, element := range c.path {
		if name, ok := element.(ast.PathName); ok {
			field = string(name)
		}
	}
	if field == "" {
		walk := valueWalk{visit: func(_, argument string, use *ast.Value) {
			if field == "" && use.Kind == ast.Variable && use.Raw == c.name {
				field = lastName(argument)
			}
		}}
		walk.operation(c.op)
	}
	err.Extensions = map[string]any{"code": apierror.BadInput.Code, "field": field}
	return err
}

// shownBytes limits the size of a value in an error message.
const shownBytes = 100

// show writes a value as JSON, shortened.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return shorten(string(text), shownBytes)
}

// shorten cuts a text to at most n bytes and marks the cut.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
