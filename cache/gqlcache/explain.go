package gqlcache

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"fieldcache/cache"
	"fieldcache/cache/policy"
)

// Truth is how the engine learns that a value is stale. Its text is shown in extensions and by
// [FieldPlan.Explain].
type Truth string

// The values of [Truth], by how a value becomes known to be stale.
const (
	TruthRows     Truth = "rows"     // by writes to the rows that the schema declares
	TruthObserved Truth = "observed" // by writes to the tables that were read while it was resolved
	TruthTags     Truth = "tags"     // by evictions of its tags
	TruthTTL      Truth = "ttl"      // by its age alone
)

// Explanation describes how an operation is cached.
type Explanation struct {
	Operation string             `json:"operation"` // query, mutation or subscription, and its name
	Fields    []FieldExplanation `json:"fields"`    // in the order of the document, each before what is below it
	// CacheControl is the header of a response whose fields are all resolved. The actual header
	// depends on the data: a null has no fields below it.
	CacheControl string `json:"cacheControl"`
	// MaxAgeBy and ScopeBy are the paths of the fields that determine it; "" if none does.
	MaxAgeBy string `json:"maxAgeBy,omitempty"`
	ScopeBy  string `json:"scopeBy,omitempty"`
}

// FieldExplanation describes how a field is cached.
type FieldExplanation struct {
	// Path is user.reviews.nodes, or node<Issue>.title for a field of an object of an abstract type. It is empty in the
	// result of [FieldPlan.ExplainCoordinates].
	Path       string `json:"path,omitempty"`
	Coordinate string `json:"coordinate"`
	// Stored says where its value is stored: "field", under its own key; "loader", by the project's own source; "parent", as
	// part of its parent's value; "no", it is resolved each time.
	Stored string `json:"stored"`
	// Key is the form of the key that it is stored under; "" if it has no key of its own.
	Key string `json:"key,omitempty"`
	// Objects is the form of the keys of the objects in its value, if those have their own keys.
	Objects string `json:"objects,omitempty"`
	MaxAge  *int64 `json:"maxAge"` // seconds; null: as its parent
	// Scope is public or private. A field that is stored under its own key may be private because of
	// the parts of its value, or because of its parent.
	Scope string `json:"scope"`
	// AgeBy is the coordinate whose @cacheControl sets the age: the field's own, or that of the type it returns; "" if none
	// does.
	AgeBy string `json:"ageBy,omitempty"`
	Truth Truth  `json:"truth,omitempty"`
	// MadeOf are the rows and tags whose change evicts it.
	MadeOf []string `json:"madeOf,omitempty"`
	// Note says why it is not stored, or what is wrong.
	Note string `json:"note,omitempty"`
}

// ExplainOptions are the options of [FieldPlan.Explain].
type ExplainOptions struct {
	Operation string         // its name, if the document has several
	Variables map[string]any // if nil, keys show the names of variables
	// Stored returns the form of the keys under which the project's own sources store a coordinate,
	// such as user:<id>. If nil, there are no such sources.
	Stored func(coordinate string) (key string, ok bool)
	// Observed says that statements are observed: a field without declarations depends on the tables that were read.
	Observed bool
}

// Explain describes how each field of an operation is cached. It uses the schema alone and executes
// nothing. It returns an error if the document, its variables, or the name of the operation are
// invalid.
func (p *FieldPlan) Explain(document string, o ExplainOptions) (*Explanation, error) {
	doc, errs := gqlparser.LoadQueryWithRules(p.schema, document, nil)
	if len(errs) > 0 {
		return nil, errs
	}
	op := doc.Operations.ForName(o.Operation)
	if op == nil && o.Operation != "" {
		return nil, fmt.Errorf("the document has no operation %s", o.Operation)
	}
	if op == nil {
		return nil, errors.New("the document has several operations: name one of them")
	}
	objects, err := policy.ReadObjects(p.schema)
	if err != nil {
		return nil, err
	}
	e := &explainer{p: p, o: o, objects: objects, least: policy.Unlimited(), result: &Explanation{Fields: []FieldExplanation{}}}
	if o.Variables != nil {
		if e.variables, err = validator.VariableValues(p.schema, op, o.Variables); err != nil {
			return nil, err
		}
	}
	e.result.Operation = strings.TrimSpace(string(op.Operation) + " " + op.Name)
	root := map[ast.Operation]*ast.Definition{ast.Query: p.schema.Query, ast.Mutation: p.schema.Mutation, ast.Subscription: p.schema.Subscription}[op.Operation]
	e.selection(op.SelectionSet, standing{object: objects[root.Name], root: true})
	e.result.CacheControl = e.least.Overall().Header()
	if op.Operation != ast.Query {
		e.result.CacheControl, e.result.MaxAgeBy, e.result.ScopeBy = policy.Overall{}.Header(), "", ""
	}
	return e.result, nil
}

// ExplainCoordinates describes how each field and each object type of the schema is cached, by its
// coordinate, as [FieldPlan.Explain] does for the fields of an operation. Arguments in keys are
// variables with their names. Only the options Stored and Observed are used.
func (p *FieldPlan) ExplainCoordinates(o ExplainOptions) (map[string]FieldExplanation, error) {
	objects, err := policy.ReadObjects(p.schema)
	if err != nil {
		return nil, err
	}
	o.Variables = nil
	e := &explainer{p: p, o: o, objects: objects}
	all := map[string]FieldExplanation{}
	for name, object := range objects {
		if strings.HasPrefix(name, "__") {
			continue
		}
		def := p.schema.Types[name]
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			selected := &ast.Field{Name: f.Name, Alias: f.Name, Definition: f, ObjectDefinition: def}
			for _, a := range f.Arguments {
				selected.Arguments = append(selected.Arguments, &ast.Argument{Name: a.Name, Value: &ast.Value{Kind: ast.Variable, Raw: a.Name}})
			}
			root := def == p.schema.Query || def == p.schema.Mutation || def == p.schema.Subscription
			all[name+"."+f.Name] = e.explain(selected, object.Field(f.Name), name+"."+f.Name, "", root)
		}
		all[name] = e.object(def)
	}
	return all, nil
}

// object explains how the objects of a type are cached.
func (e *explainer) object(def *ast.Definition) FieldExplanation {
	rule, _ := e.p.policies.Of(def.Name) // the schema has it
	t := FieldExplanation{Coordinate: def.Name, Stored: "parent", Scope: rule.Scope.String(), MadeOf: dependencyTexts(policy.Truth{}, e.p.truths.Type(def.Name))}
	if hasMaxAge(def.Directives) {
		t.AgeBy, t.MaxAge = def.Name, new(int64(rule.MaxAge/time.Second))
	}
	if e.o.Stored != nil && rule.MaxAge > 0 {
		if key, ok := e.o.Stored(def.Name); ok {
			t.Stored, t.Key = "loader", key
		}
	}
	t.Truth = truthOf(t.MadeOf, e.o.Observed)
	return t
}

// hasMaxAge reports whether a @cacheControl among the directives has a maxAge.
func hasMaxAge(list ast.DirectiveList) bool {
	d := list.ForName("cacheControl")
	return d != nil && d.Arguments.ForName("maxAge") != nil
}

// standing is the position of a selection.
type standing struct {
	object   *policy.Object
	abstract bool // the object is of this type or of another one
	root     bool
	path     string
}

// explainer collects the explanation of one operation.
type explainer struct {
	p         *FieldPlan
	o         ExplainOptions
	objects   policy.Objects
	variables map[string]any
	least     policy.Limit
	result    *Explanation
}

func (e *explainer) selection(set ast.SelectionSet, at standing) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if !strings.HasPrefix(s.Name, "__") {
				e.field(s, at)
			}
		case *ast.InlineFragment:
			if e.applies(s.TypeCondition, at.object.Name) {
				e.selection(s.SelectionSet, at)
			}
		case *ast.FragmentSpread:
			if e.applies(s.Definition.TypeCondition, at.object.Name) {
				e.selection(s.Definition.SelectionSet, at)
			}
		}
	}
}

// applies reports whether a fragment applies to an object type.
func (e *explainer) applies(condition, object string) bool {
	return condition == "" || condition == object || slices.ContainsFunc(e.p.schema.PossibleTypes[condition], func(t *ast.Definition) bool { return t.Name == object })
}

func (e *explainer) field(f *ast.Field, at standing) {
	coordinate := at.object.Name + "." + f.Name
	path := f.Alias
	if at.path != "" {
		path = at.path + "." + f.Alias
	}
	if at.abstract {
		path = fmt.Sprintf("%s<%s>.%s", at.path, at.object.Name, f.Alias)
	}
	if slices.ContainsFunc(e.result.Fields, func(t FieldExplanation) bool { return t.Path == path && t.Coordinate == coordinate }) {
		return // it is selected twice
	}
	of := at.object.Field(f.Name)
	e.limit(path, of.Static(at.root))
	e.result.Fields = append(e.result.Fields, e.explain(f, of, coordinate, path, at.root))
	for _, o := range of.Objects {
		if of.Abstract {
			e.limit(path+"<"+o.Name+">", of.Item(o))
		}
		e.selection(f.SelectionSet, standing{object: o, abstract: of.Abstract, path: path})
	}
}

// limit applies the limits of a field, and records which field decides.
func (e *explainer) limit(path string, l policy.Limit) {
	if l.Age < e.least.Age {
		e.result.MaxAgeBy = path
	}
	if l.Scope > e.least.Scope {
		e.result.ScopeBy = path
	}
	e.least = e.least.And(l)
}

func (e *explainer) explain(f *ast.Field, of *policy.Field, coordinate, path string, root bool) FieldExplanation {
	rule, _ := e.p.policies.Of(coordinate) // the document is valid: the schema has it
	t := FieldExplanation{Path: path, Coordinate: coordinate, Stored: "parent", Scope: rule.Scope.String()}
	inherits := of.Static(root) == policy.Unlimited() || of.Static(root).Age == policy.Unlimited().Age
	if !inherits {
		t.MaxAge = new(int64(rule.MaxAge / time.Second))
	}
	named := f.Definition.Type.Name()
	if hasMaxAge(f.Definition.Directives) {
		t.AgeBy = coordinate
	} else if def := e.p.schema.Types[named]; !inherits && def != nil && hasMaxAge(def.Directives) {
		t.AgeBy = named
	}
	if e.o.Stored != nil && rule.MaxAge > 0 {
		t.Objects, _ = e.o.Stored(named)
		if key, ok := e.o.Stored(coordinate); ok {
			t.Stored, t.Key = "loader", key
			t.MadeOf = dependencyTexts(e.p.truths.Field(coordinate), e.p.truths.Type(of.Of.Name))
			if t.Truth = truthOf(t.MadeOf, e.o.Observed); len(e.p.storedOf[coordinate]) > 0 {
				t.Truth = TruthRows
			}
			return t
		}
	}
	fl := e.p.fields[of.Of.Name][f.Name]
	if of.Of.Name == e.p.mutation {
		t.Stored = "no"
		return t
	}
	if t.Objects != "" && (fl == nil || !fl.follows && len(e.p.truths.Field(coordinate).Tags) == 0) {
		t.Stored = "loader"
		t.MadeOf = dependencyTexts(policy.Truth{}, e.p.truths.Type(named))
		t.Truth = truthOf(t.MadeOf, e.o.Observed)
		return t
	}
	if fl == nil {
		return e.unplanned(t)
	}
	t.Stored, t.Key = "field", e.key(fl, f)
	if fl.private {
		t.Scope = cache.Private.String()
	}
	own := e.p.truths.Field(coordinate)
	var parent policy.Truth
	if !fl.follows && len(own.Tags) == 0 {
		parent = e.p.truths.Type(of.Of.Name)
	}
	t.MadeOf = dependencyTexts(own, parent)
	t.Truth = truthOf(t.MadeOf, e.o.Observed)
	return t
}

// unplanned explains why a field has no key of its own.
func (e *explainer) unplanned(t FieldExplanation) FieldExplanation {
	for _, w := range e.p.warnings {
		if rest, ok := strings.CutPrefix(w, t.Coordinate+": "); ok {
			t.Note = rest
		}
	}
	if e.p.types.Resolver(t.Coordinate) != nil {
		t.Stored = "no"
	}
	switch {
	case t.Note != "":
	case t.MaxAge != nil && *t.MaxAge == 0:
		t.Note = "it has no age, so that no response with it is cached: say maxAge or inheritMaxAge"
	case t.Stored == "no":
		t.Note = "it has no age of its own: it is resolved for each request, and responses may be cached as long as its parent"
	}
	return t
}

// dependencyTexts describes what a value depends on: its own rows and tags, or those of its parent.
func dependencyTexts(own, parent policy.Truth) (texts []string) {
	for _, t := range []policy.Truth{own, parent} {
		for _, r := range t.Rows {
			texts = append(texts, rowsText(r))
		}
		for _, tag := range t.Tags {
			texts = append(texts, "tag "+tag.String())
		}
		if len(texts) > 0 {
			break
		}
	}
	return texts
}

// rowsText writes products(category = {$parent.category}): category.
func rowsText(r policy.Rows) string {
	terms := make([]string, len(r.Match))
	for i, t := range r.Match {
		terms[i] = t.String()
	}
	text := "rows " + r.Table
	if len(terms) > 0 {
		text += "(" + strings.Join(terms, ", ") + ")"
	}
	switch {
	case r.Columns == nil:
		return text + ": any column"
	case len(r.Columns) == 0:
		return text + ": which rows there are"
	}
	return text + ": " + strings.Join(r.Columns, ", ")
}

func truthOf(dependencies []string, observed bool) Truth {
	switch {
	case slices.ContainsFunc(dependencies, func(t string) bool { return strings.HasPrefix(t, "rows ") }):
		return TruthRows
	case len(dependencies) > 0:
		return TruthTags
	case observed:
		return TruthObserved
	}
	return TruthTTL
}

// Truth returns how the engine learns that values are stale, as far as the schema shows, for values
// that are cached under a coordinate ("Product.price") or for a type ("Product"). Whether a field
// without declarations is observed depends on its statements.
func (p *FieldPlan) Truth(coordinate string) Truth {
	if len(p.storedOf[coordinate]) > 0 {
		return TruthRows
	}
	typeName, field, isField := strings.Cut(coordinate, ".")
	if !isField {
		return truthOf(dependencyTexts(p.truths.Type(typeName), policy.Truth{}), false)
	}
	texts := dependencyTexts(p.truths.Field(coordinate), p.truths.Type(typeName))
	if def := p.schema.Types[typeName]; len(texts) == 0 && def != nil {
		if f := def.Fields.ForName(field); f != nil {
			texts = dependencyTexts(p.truths.Type(f.Type.Name()), policy.Truth{})
		}
	}
	return truthOf(texts, false)
}

// key writes the form of a field's key.
func (e *explainer) key(fl *plannedField, f *ast.Field) string {
	k := fl.keys
	var b []byte
	switch {
	case k.kind == "":
		b = append(b, "query:"...)
	case len(k.names) == 0:
		b = append(b, "<path>."...)
	default:
		b = append(append(b, '{'), k.kind...)
		for i, name := range k.names {
			b = append(b, ":,"[min(i, 1)])
			if len(k.names) > 1 {
				b = append(append(b, name...), '=')
			}
			b = append(append(append(b, '<'), name...), '>')
		}
		b = append(b, "}:"...)
	}
	b = e.appendArgs(k.appendName(b), k, f)
	for i, a := range k.also {
		b = append(append(append(append(append(b, "[,"[min(i, 1)]), a.name...), "=<"...), a.name...), '>')
	}
	if len(k.also) > 0 {
		b = append(b, ']')
	}
	if k.content || k.kind != "" && len(k.names) == 0 {
		b = append(b, "#<parent>"...)
	}
	if fl.private {
		b = append(b, "@<viewer>"...)
	}
	return string(b)
}

// appendArgs writes arguments as in keys; it shows a variable without a value by its name.
func (e *explainer) appendArgs(b []byte, k *fieldKeys, f *ast.Field) []byte {
	next := byte('(')
	for _, a := range k.field.Arguments {
		given := f.Arguments.ForName(a.Name)
		value := a.DefaultValue
		if given != nil {
			value = given.Value
		}
		if value == nil {
			continue
		}
		at := len(b)
		b = append(append(append(b, next), a.Name...), '=')
		if e.variables == nil && unset(value) {
			b = append(b, value.String()...)
			next = ','
			continue
		}
		v, err := value.Value(e.variables)
		if value.Kind == ast.Variable && v == nil && a.DefaultValue != nil {
			if _, present := e.variables[value.Raw]; !present {
				v, err = a.DefaultValue.Value(nil)
			}
		}
		if err != nil || v == nil && a.DefaultValue == nil {
			b = b[:at]
			continue
		}
		var ok bool
		if b, ok = appendValue(b, k.schema, a.Type, v); !ok {
			b = append(b[:at], next)
			b = append(append(append(b, a.Name...), '='), value.String()...)
		}
		next = ','
	}
	if next == '(' {
		return b
	}
	return append(b, ')')
}

// unset reports whether a value contains variables.
func unset(v *ast.Value) bool {
	return v.Kind == ast.Variable || slices.ContainsFunc(v.Children, func(c *ast.ChildValue) bool { return unset(c.Value) })
}
