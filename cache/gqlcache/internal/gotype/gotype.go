// Package gotype determines the Go types of a schema's fields in the code that gqlgen generated, and calls resolvers,
// by reflection on the generated ResolverRoot.
package gotype

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Types is what the generated code shows about a schema. It is immutable.
type Types struct {
	schema     *ast.Schema
	resolvers  map[string]*Resolver    // by coordinate
	refused    map[string]bool         // coordinates whose resolvers cannot be called
	objects    map[string]reflect.Type // the struct or map of an object type
	names      map[reflect.Type]string // the inverse of objects
	directives map[string]bool         // the directives that have code, folded
}

// Resolver is the method that resolves a field. It is safe for concurrent use.
type Resolver struct {
	Result reflect.Type // of one field
	Parent reflect.Type // the method's parameter for its object; nil for a root field
	Batch  bool         // whether the method takes and returns lists of these

	method reflect.Value
	args   []reflect.Type
	names  []string // of the arguments, in the method's order
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// Of reads the types of an executable schema. It reports whether gqlgen generated the schema: one that was written by
// hand has no resolvers that could be found.
func Of(es graphql.ExecutableSchema) (*Types, bool) {
	t := &Types{
		schema: es.Schema(), resolvers: map[string]*Resolver{}, refused: map[string]bool{}, objects: map[string]reflect.Type{},
		names: map[reflect.Type]string{}, directives: map[string]bool{},
	}
	v := generated(es)
	if !v.IsValid() {
		return t, false
	}
	root, directives := v.FieldByName("Resolvers"), v.FieldByName("Directives")
	if directives.IsValid() && directives.Kind() == reflect.Struct {
		for i := range directives.NumField() {
			if f := directives.Field(i); f.Kind() != reflect.Func || !f.IsNil() {
				t.directives[fold(directives.Type().Field(i).Name)] = true
			}
		}
	}
	t.readRoot(root)
	return t, true
}

// generated returns the struct that gqlgen generated for an executable schema, or the zero Value if gqlgen
// did not generate it.
func generated(es graphql.ExecutableSchema) reflect.Value {
	v := reflect.ValueOf(es)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	if root := v.FieldByName("Resolvers"); !root.IsValid() || root.Kind() != reflect.Interface || root.IsNil() {
		return reflect.Value{}
	}
	return v
}

// SameResolvers reports whether two executable schemas of one schema have the same resolvers, as far as that
// is known. It returns false only if gqlgen generated both and their resolvers differ.
func SameResolvers(a, b graphql.ExecutableSchema) bool {
	one, other := generated(a), generated(b)
	if !one.IsValid() || !other.IsValid() {
		return true
	}
	one, other = one.FieldByName("Resolvers").Elem(), other.FieldByName("Resolvers").Elem()
	return one.Type() == other.Type() && (!one.Comparable() || one.Equal(other))
}

// fold returns a name without the differences that gqlgen introduces when it makes a Go name of it.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// SameName reports whether a name of the schema and a Go name are equal, apart from gqlgen's changes.
func SameName(a, b string) bool { return fold(a) == fold(b) }

func (t *Types) readRoot(root reflect.Value) {
	objects := map[string]*ast.Definition{}
	for _, def := range t.schema.Types {
		if def.Kind == ast.Object {
			objects[fold(def.Name)] = def
		}
	}
	for i := range root.NumMethod() {
		method := root.Type().Method(i)
		def := objects[fold(method.Name)]
		if def == nil || method.Type.NumIn() != 0 || method.Type.NumOut() != 1 || method.Type.Out(0).Kind() != reflect.Interface {
			continue
		}
		t.readObject(def, root.Method(i).Call(nil)[0])
	}
	for t.follow() { // each new type may lead to more
	}
}

// readObject reads the resolvers of an object type.
func (t *Types) readObject(def *ast.Definition, resolver reflect.Value) {
	if resolver.Kind() == reflect.Interface && resolver.IsNil() {
		return
	}
	isRoot := def == t.schema.Query || def == t.schema.Mutation || def == t.schema.Subscription
	methods := resolver.Type()
	for _, f := range def.Fields {
		name := ""
		for i := range methods.NumMethod() {
			if fold(methods.Method(i).Name) == fold(GoName(f)) {
				name = methods.Method(i).Name
			}
		}
		if name == "" {
			continue
		}
		r := newResolver(resolver.MethodByName(name), f, isRoot)
		if t.refused[def.Name+"."+f.Name] = r == nil; r != nil {
			t.resolvers[def.Name+"."+f.Name] = r
			if r.Parent != nil {
				t.note(def.Name, r.Parent)
			}
			if named := t.schema.Types[f.Type.Name()]; named != nil && named.Kind == ast.Object {
				t.note(named.Name, r.Result)
			}
		}
	}
}

// GoName returns the name that @goField sets, or the field's own name.
func GoName(f *ast.FieldDefinition) string {
	if d := f.Directives.ForName("goField"); d != nil {
		if a := d.Arguments.ForName("name"); a != nil && a.Value.Raw != "" {
			return a.Value.Raw
		}
	}
	return f.Name
}

// newResolver returns the resolver for a method func(ctx, obj, args...) (T, error), or nil if the
// method has another form.
func newResolver(method reflect.Value, f *ast.FieldDefinition, isRoot bool) *Resolver {
	m := method.Type()
	first := 1
	if !isRoot {
		first = 2
	}
	if m.NumIn() != first+len(f.Arguments) || m.IsVariadic() || m.NumOut() != 2 || m.In(0) != contextType || m.Out(1) != errorType {
		return nil
	}
	r := &Resolver{Result: m.Out(0), method: method}
	if !isRoot {
		r.Parent = m.In(1)
		if r.Parent.Kind() == reflect.Slice && r.Parent.Name() == "" && m.Out(0).Kind() == reflect.Slice {
			// A model is a named type or a pointer to one: only a batch resolver takes a list.
			r.Batch, r.Parent, r.Result = true, r.Parent.Elem(), r.Result.Elem()
		}
	}
	for i, a := range f.Arguments {
		r.args, r.names = append(r.args, m.In(first+i)), append(r.names, a.Name)
	}
	return r
}

// note records the Go type of an object type. It reports whether it was unknown.
func (t *Types) note(name string, typ reflect.Type) bool {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct && (typ.Kind() != reflect.Map || typ.Name() == "") || t.objects[name] != nil {
		return false
	}
	t.objects[name], t.names[typ] = typ, name
	return true
}

// follow finds the structs of further object types in the fields of the known ones. It reports
// whether it found any.
func (t *Types) follow() (found bool) {
	for name, typ := range t.objects {
		if typ.Kind() != reflect.Struct {
			continue
		}
		for _, f := range t.schema.Types[name].Fields {
			named := t.schema.Types[f.Type.Name()]
			if named == nil || named.Kind != ast.Object || t.objects[named.Name] != nil {
				continue
			}
			field, ok := typ.FieldByNameFunc(func(n string) bool { return fold(n) == fold(GoName(f)) })
			if ok && t.note(named.Name, field.Type) {
				found = true
			}
		}
	}
	return found
}

// Resolver returns the resolver of a coordinate, or nil if its value is a field of its object's Go value.
func (t *Types) Resolver(coordinate string) *Resolver { return t.resolvers[coordinate] }

// Refused reports whether a coordinate has a resolver that cannot be called because of its form.
func (t *Types) Refused(coordinate string) bool { return t.refused[coordinate] }

// Object returns the Go type of an object type, without pointers, or nil if it is not known.
func (t *Types) Object(name string) reflect.Type { return t.objects[name] }

// Name returns the object type whose values have a Go type, or "" if it is not known.
func (t *Types) Name(typ reflect.Type) string { return t.names[typ] }

// Runs reports whether a directive has code that gqlgen calls for each request.
func (t *Types) Runs(directive string) bool { return t.directives[fold(directive)] }

// Directs reports whether any directive has code.
func (t *Types) Directs() bool { return len(t.directives) > 0 }

// TypeOf returns the type of a value, without pointers and interfaces, or nil if it is nil.
func TypeOf(value any) reflect.Type {
	v, ok := present(reflect.ValueOf(value))
	if !ok {
		return nil
	}
	return v.Type()
}

// TakesContext reports whether the method of a type that resolves a field takes a context. It
// returns true if the method is not found: gqlgen.yml may give it another name.
func TakesContext(typ reflect.Type, f *ast.FieldDefinition) bool {
	p := reflect.PointerTo(typ)
	for i := range p.NumMethod() {
		m := p.Method(i)
		if name := fold(m.Name); name == fold(GoName(f)) || name == "get"+fold(GoName(f)) {
			return m.Type.NumIn() > 1 && m.Type.In(1) == contextType
		}
	}
	return true
}

// Attribute reports whether the values of an object type have a field of this name, in any case.
func (t *Types) Attribute(typeName, name string) bool {
	typ := t.objects[typeName]
	if typ == nil || typ.Kind() != reflect.Struct {
		return false
	}
	_, ok := typ.FieldByNameFunc(func(n string) bool { return fold(n) == fold(name) })
	return ok
}

// Arg returns the Go type of an argument, or nil if there is no argument of that name.
func (r *Resolver) Arg(name string) reflect.Type {
	if i := slices.Index(r.names, name); i >= 0 {
		return r.args[i]
	}
	return nil
}

// Field returns the Go type of a field of an object type's values, or nil if it is not known.
func (t *Types) Field(typeName, name string) reflect.Type {
	typ := t.objects[typeName]
	if typ == nil || typ.Kind() != reflect.Struct {
		return nil
	}
	f, ok := typ.FieldByNameFunc(func(n string) bool { return fold(n) == fold(name) })
	if !ok {
		return nil
	}
	return f.Type
}

var valuerType = reflect.TypeFor[driver.Valuer]()

// Number reports whether values of a type are sent to a database as numbers.
func Number(typ reflect.Type) bool {
	for typ != nil && typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ == nil || typ.Implements(valuerType) || reflect.PointerTo(typ).Implements(valuerType) {
		return false
	}
	return reflect.Int <= typ.Kind() && typ.Kind() <= reflect.Uint64
}

// Call calls the resolver for one object, with the arguments as gqlgen has them in its field context. A resolver
// of a root field ignores parent. Call is not for batch resolvers.
func (r *Resolver) Call(ctx context.Context, parent reflect.Value, args map[string]any) (reflect.Value, error) {
	return r.call(ctx, parent, args)
}

// CallBatch calls a batch resolver for several objects. It returns their values and errors, in their order, or the
// error of the whole call.
func (r *Resolver) CallBatch(ctx context.Context, parents []reflect.Value, args map[string]any) ([]reflect.Value, []error, error) {
	list := reflect.MakeSlice(reflect.SliceOf(r.Parent), 0, len(parents))
	out, err := r.call(ctx, reflect.Append(list, parents...), args)
	errs := make([]error, len(parents))
	if each, ok := err.(graphql.BatchErrors); ok { // gqlgen's type, which does not unwrap
		if errs, err = each.Errors(), nil; len(errs) != len(parents) {
			return nil, nil, fmt.Errorf("the batch resolver returned %d errors for %d parents", len(errs), len(parents))
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if out.Len() != len(parents) {
		return nil, nil, fmt.Errorf("the batch resolver returned %d results for %d parents", out.Len(), len(parents))
	}
	values := make([]reflect.Value, len(parents))
	for i := range values {
		values[i] = out.Index(i)
	}
	return values, errs, nil
}

func (r *Resolver) call(ctx context.Context, parent reflect.Value, args map[string]any) (reflect.Value, error) {
	in := make([]reflect.Value, 0, 2+len(r.args))
	in = append(in, reflect.ValueOf(&ctx).Elem())
	if r.Parent != nil {
		in = append(in, parent)
	}
	for i, name := range r.names {
		v := reflect.ValueOf(args[name])
		switch {
		case !v.IsValid():
			v = reflect.Zero(r.args[i])
		case v.Type() != r.args[i] && !v.Type().AssignableTo(r.args[i]):
			return reflect.Value{}, fmt.Errorf("gotype: the argument %s is a %v, and the resolver takes a %v", name, v.Type(), r.args[i])
		}
		in = append(in, v)
	}
	out := r.method.Call(in)
	err, _ := out[1].Interface().(error)
	return out[0], err
}

// Receiver returns an object in the form that the resolver takes, made from the object in gqlgen's field context.
// gqlgen points to the elements of lists there, and to a copy of a value behind an interface. Receiver reports
// whether it succeeded.
func (r *Resolver) Receiver(parent any) (reflect.Value, bool) {
	v := reflect.ValueOf(parent)
	for v.IsValid() && v.Type() != r.Parent {
		switch k := v.Kind(); {
		case v.CanAddr() && v.Addr().Type() == r.Parent:
			return v.Addr(), true
		case r.Parent.Kind() == reflect.Pointer && v.Type() == r.Parent.Elem():
			p := reflect.New(v.Type())
			p.Elem().Set(v)
			return p, true
		case (k == reflect.Pointer || k == reflect.Interface) && !v.IsNil():
			v = v.Elem()
		default:
			return v, v.Type().AssignableTo(r.Parent)
		}
	}
	return v, v.IsValid()
}
