// Package policy reads the cache directives of a schema: @cacheControl says how long values may be cached
// and for whom, @cacheRows and @cacheTag what they depend on, and @cacheEvict what mutations evict.
//
// [ReadPolicies] and [Read] read the directives of any schema, and return all faults at once. [NewPlan]
// computes the policy of an operation as far as it is known before the operation runs, and which fields
// may lower it. This package does not check the tables, columns and Go fields that directives name.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Rows is one @cacheRows: database rows that a value depends on.
type Rows struct {
	Table string
	// Match selects the rows. If empty, a field depends on every row of the table, and an object of a
	// type on the row with its primary key.
	Match []Term
	// Columns are the columns whose change evicts the value; nil for all.
	Columns []string
}

// Evict is one @cacheEvict: what a mutation evicts in addition to what follows from its writes.
type Evict struct {
	Tag  *Template // nil to evict an object of Type
	Type string    // empty with Tag
	ID   *Ref      // the object's id; nil for every object of Type
}

// Truth is what a type or a field declares its values to depend on.
type Truth struct {
	Rows []Rows
	Tags []Template
}

// Schema holds the directives of a schema. It is immutable.
type Schema struct {
	types  map[string]Truth
	fields map[string]Truth
	evicts map[string][]Evict
	keys   map[string][]string
}

// Type returns what every object of a type depends on.
func (s *Schema) Type(name string) Truth { return s.types[name] }

// Field returns what a coordinate's own directives declare.
func (s *Schema) Field(coordinate string) Truth { return s.fields[coordinate] }

// Evicts returns what a mutation's field evicts.
func (s *Schema) Evicts(coordinate string) []Evict { return s.evicts[coordinate] }

// Key returns the fields that identify objects of a type: those of its @key, or else id. It returns nil if
// the type has neither.
func (s *Schema) Key(typeName string) []string { return s.keys[typeName] }

// Read reads the directives of a schema. It returns one error for all faults, with their
// coordinates.
//
// attribute reports whether the values of an object type have an attribute of this name that is not
// a field of the schema. If nil, they have none.
func Read(schema *ast.Schema, attribute func(typeName, name string) bool) (*Schema, error) {
	r := &reader{schema: schema, attribute: attribute, read: &Schema{
		types: map[string]Truth{}, fields: map[string]Truth{}, evicts: map[string][]Evict{}, keys: map[string][]string{},
	}}
	for name, def := range schema.Types {
		if def.BuiltIn || def.Kind != ast.Object && def.Kind != ast.Interface {
			continue
		}
		r.read.keys[name] = keyOf(def)
		r.readType(def)
	}
	slices.SortFunc(r.faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return r.read, errors.Join(r.faults...)
}

// keyOf returns the first @key of a type whose fields are scalars, as in federation, else id.
func keyOf(def *ast.Definition) []string {
	for _, d := range def.Directives.ForNames("key") {
		a := d.Arguments.ForName("fields")
		if a == nil {
			continue
		}
		names := strings.Fields(strings.ReplaceAll(a.Value.Raw, ",", " "))
		if len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !isName(n) || def.Fields.ForName(n) == nil }) {
			return names
		}
	}
	if def.Fields.ForName("id") != nil {
		return []string{"id"}
	}
	return nil
}

// reader collects the directives and the faults.
type reader struct {
	schema    *ast.Schema
	attribute func(typeName, name string) bool
	read      *Schema
	faults    []error
}

func (r *reader) fault(coordinate, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %w", coordinate, fmt.Errorf(format, args...)))
}

func (r *reader) readType(def *ast.Definition) {
	t := r.truth(def.Name, def.Directives, func(ref Ref) (bool, error) {
		if ref.Origin != Key {
			return false, fmt.Errorf("%v: only {$key.field} is allowed on a type", ref)
		}
		return false, r.attributeOf(def, ref, ref.Path)
	})
	if len(t.Rows) > 0 && len(r.read.keys[def.Name]) == 0 && slices.ContainsFunc(t.Rows, func(rows Rows) bool { return rows.Match == nil }) {
		r.fault(def.Name, "@cacheRows without match needs a type with an id or a @key")
	}
	if len(r.read.keys[def.Name]) > 1 && slices.ContainsFunc(t.Rows, func(rows Rows) bool { return rows.Match == nil }) {
		r.fault(def.Name, "@cacheRows needs a match here: the type is known by several fields, and their columns have an order of their own")
	}
	if len(t.Rows)+len(t.Tags) > 0 {
		r.read.types[def.Name] = t
	}
	for _, f := range def.Fields {
		r.readField(def, f)
	}
}

func (r *reader) readField(def *ast.Definition, f *ast.FieldDefinition) {
	coordinate := def.Name + "." + f.Name
	t := r.truth(coordinate, f.Directives, func(ref Ref) (bool, error) { return r.known(def, f, ref) })
	if len(t.Rows)+len(t.Tags) > 0 {
		r.read.fields[coordinate] = t
	}
	for _, d := range f.Directives.ForNames("cacheEvict") {
		if def != r.schema.Mutation {
			r.fault(coordinate, "@cacheEvict belongs on a field of the mutation type")
			continue
		}
		if e, err := r.evict(def, f, d); err != nil {
			r.fault(coordinate, "@cacheEvict: %w", err)
		} else {
			r.read.evicts[coordinate] = append(r.read.evicts[coordinate], e)
		}
	}
}

// truth reads @cacheRows and @cacheTag. known checks a reference, and reports whether it refers to
// an argument that may be null.
func (r *reader) truth(coordinate string, list ast.DirectiveList, known func(Ref) (optional bool, err error)) (t Truth) {
	for _, d := range list.ForNames("cacheRows") {
		rows := Rows{Table: argument(d, "table")}
		if rows.Table == "" {
			r.fault(coordinate, "@cacheRows: the table has no name")
		}
		if match := argument(d, "match"); match != "" {
			terms, err := parseMatch(match)
			if err != nil {
				r.fault(coordinate, "@cacheRows(match:): %w", err)
			}
			for i, term := range terms {
				optional, err := known(term.Value)
				if err != nil {
					r.fault(coordinate, "@cacheRows(match:): %w", err)
				}
				terms[i].Optional = optional
			}
			rows.Match = terms
		}
		if a := d.Arguments.ForName("columns"); a != nil && a.Value.Kind == ast.ListValue {
			rows.Columns = []string{}
			for _, c := range a.Value.Children {
				rows.Columns = append(rows.Columns, c.Value.Raw)
			}
			slices.Sort(rows.Columns)
			rows.Columns = slices.Compact(rows.Columns)
		}
		t.Rows = append(t.Rows, rows)
	}
	for _, d := range list.ForNames("cacheTag") {
		tag, err := parseTemplate(argument(d, "format"))
		if err != nil {
			r.fault(coordinate, "@cacheTag(format:): %w", err)
			continue
		}
		for _, ref := range tag.Refs {
			if _, err := known(ref); err != nil {
				r.fault(coordinate, "@cacheTag(format:): %w", err)
			}
		}
		t.Tags = append(t.Tags, tag)
	}
	return t
}

func argument(d *ast.Directive, name string) string {
	if a := d.Arguments.ForName(name); a != nil && a.Value.Kind != ast.NullValue {
		return a.Value.Raw
	}
	return ""
}

// known checks a reference of a field, and reports whether it refers to an argument that may be
// null.
func (r *reader) known(def *ast.Definition, f *ast.FieldDefinition, ref Ref) (optional bool, err error) {
	switch ref.Origin {
	case Viewer:
		return false, nil
	case Args:
		return r.argumentOf(f, ref)
	case Parent:
		if def == r.schema.Query || def == r.schema.Mutation || def == r.schema.Subscription {
			return false, fmt.Errorf("%v: a root field has no parent", ref)
		}
		return false, r.attributeOf(def, ref, ref.Path)
	}
	return false, fmt.Errorf("%v: only {$parent.field}, {$args.name} and {$viewer} are allowed on a field", ref)
}

// attributeOf checks the path of a reference into an object.
func (r *reader) attributeOf(def *ast.Definition, ref Ref, path []string) error {
	for i, name := range path {
		f := def.Fields.ForName(name)
		if f == nil {
			if r.attribute != nil && i == len(path)-1 && r.attribute(def.Name, name) {
				return nil
			}
			return fmt.Errorf("%v: %s has no field %s", ref, def.Name, name)
		}
		named := r.schema.Types[f.Type.Name()]
		isObject := named != nil && (named.Kind == ast.Object || named.Kind == ast.Interface)
		last := i == len(path)-1
		switch {
		case f.Type.Elem != nil:
			return fmt.Errorf("%v: %s.%s is a list", ref, def.Name, name)
		case last && (isObject || named != nil && named.Kind == ast.Union):
			return fmt.Errorf("%v: %s.%s is not a scalar", ref, def.Name, name)
		case !last && !isObject:
			return fmt.Errorf("%v: %s.%s is not an object", ref, def.Name, name)
		}
		def = named
	}
	return nil
}

// argumentOf checks a reference to an argument, and reports whether it may be null.
func (r *reader) argumentOf(f *ast.FieldDefinition, ref Ref) (optional bool, err error) {
	a := f.Arguments.ForName(ref.Path[0])
	if a == nil {
		return false, fmt.Errorf("%v: the field has no argument %s", ref, ref.Path[0])
	}
	typ := a.Type
	optional = !typ.NonNull
	for _, name := range ref.Path[1:] {
		def := r.schema.Types[typ.Name()]
		if typ.Elem != nil || def == nil || def.Kind != ast.InputObject {
			return false, fmt.Errorf("%v: %s is not an input object", ref, typ)
		}
		input := def.Fields.ForName(name)
		if input == nil {
			return false, fmt.Errorf("%v: %s has no field %s", ref, def.Name, name)
		}
		typ = input.Type
		optional = optional || !typ.NonNull
	}
	if def := r.schema.Types[typ.Name()]; typ.Elem != nil || def != nil && def.Kind == ast.InputObject {
		return false, fmt.Errorf("%v: %s is not a scalar", ref, typ)
	}
	return optional, nil
}

func (r *reader) evict(def *ast.Definition, f *ast.FieldDefinition, d *ast.Directive) (e Evict, err error) {
	known := func(ref Ref) error {
		if ref.Origin != Result {
			_, err := r.known(def, f, ref)
			return err
		}
		named := r.schema.Types[f.Type.Name()]
		isObject := named != nil && (named.Kind == ast.Object || named.Kind == ast.Interface)
		switch {
		case f.Type.Elem != nil:
			return fmt.Errorf("%v: the result is a list", ref)
		case len(ref.Path) == 0 && isObject:
			return fmt.Errorf("%v: the result is not a scalar; write {$result.field}", ref)
		case len(ref.Path) > 0 && !isObject:
			return fmt.Errorf("%v: the result is not an object; write {$result}", ref)
		case len(ref.Path) == 0:
			return nil
		}
		return r.attributeOf(named, ref, ref.Path)
	}
	tag, typeName, id := argument(d, "tag"), argument(d, "type"), argument(d, "id")
	switch {
	case (tag == "") == (typeName == ""):
		return e, errors.New("give tag or type, one of them")
	case tag != "" && id != "":
		return e, errors.New("id belongs to type")
	case tag != "":
		t, err := parseTemplate(tag)
		if err != nil {
			return e, err
		}
		for _, ref := range t.Refs {
			if err := known(ref); err != nil {
				return e, err
			}
		}
		e.Tag = &t
		return e, nil
	}
	named := r.schema.Types[typeName]
	if named == nil || named.Kind != ast.Object && named.Kind != ast.Interface && named.Kind != ast.Union {
		return e, fmt.Errorf("the schema has no object type %s", typeName)
	}
	e.Type = typeName
	if id == "" {
		return e, nil
	}
	inner, opened := strings.CutPrefix(strings.TrimSpace(id), "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed {
		return e, fmt.Errorf("id: %q is not a reference: write {$args.name} or {$result.field}", id)
	}
	ref, err := parseRef(inner)
	if err == nil {
		err = known(ref)
	}
	if err == nil {
		err = r.oneKey(named)
	}
	e.ID = &ref
	return e, err
}

// oneKey returns an error if an object of a type is not known by one field: no value would depend on
// what the type and an id name.
func (r *reader) oneKey(named *ast.Definition) error {
	var faults []error
	for _, t := range r.schema.GetPossibleTypes(named) {
		switch n := len(keyOf(t)); {
		case n == 0:
			faults = append(faults, fmt.Errorf("type %s has no id and no @key: leave id out, to evict all of its objects", t.Name))
		case n > 1:
			faults = append(faults, fmt.Errorf("type %s is known by several fields: leave id out, to evict all of its objects", t.Name))
		}
	}
	return errors.Join(faults...)
}
