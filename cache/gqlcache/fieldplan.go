package gqlcache

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// FieldPlan describes the fields of a schema that can be cached: which they are, for how long,
// under which keys, and what their values depend on. It is made by [PlanFields].
type FieldPlan struct {
	executable graphql.ExecutableSchema
	schema     *ast.Schema
	types      *gotype.Types
	policies   *policy.Policies
	truths     *policy.Schema

	fields   map[string]map[string]*plannedField // by object type and field
	stored   map[string]bool                     // coordinates whose values kinds store
	storedOf map[string][]policy.Rows            // the rows that values of kinds depend on, by coordinate; a count depends on those of its list
	rows     []outbox.Rows                       // all rows that any value depends on
	mutation string                              // the name of the mutation type
	evicts   map[string][]plannedEvict           // of the fields of the mutation type
	named    map[string]bool                     // types whose objects are evicted by name
	warnings []string
	// unnamedPrivate are the object types without an identity that are parts of private values.
	unnamedPrivate []string
	coded          map[string]map[string]string // a directive with code that gqlgen runs for a field, by object type and field
}

// plannedField is a coordinate that is cached.
type plannedField struct {
	coordinate string
	object     string
	def        *ast.FieldDefinition
	maxAge     time.Duration
	// revalidate and ifError are how long a value may be served after it expired: see [cache.Item].
	revalidate, ifError time.Duration
	private             bool
	tag                 cache.Tag // of all values of the coordinate
	resolver            *gotype.Resolver
	codec               *gotype.Codec
	keys                *fieldKeys
	dependsOn           []dependency      // of the rows
	tags                []compiledText    // of @cacheTag
	held                map[string]heldBy // what the objects in its value depend on, by their type
	inside              map[string][]part // the parts that may contain such objects, by the type that they are a part of
	follows             bool              // whether its own rows were declared
	plan                *FieldPlan
}

// part is a field of an object's Go value that contains other objects.
type part struct {
	getter   *gotype.Getter
	typeName string
}

// dependency is rows whose match columns have the values of the references.
type dependency struct {
	rows     outbox.Rows
	values   []reference
	optional []bool       // for each value, whether it is not a condition if it is null; nil: none is optional
	fewer    *outbox.Rows // the same rows without optional conditions, if there are any
}

// heldBy is what an object in a value depends on.
type heldBy struct {
	dependsOn []dependency
	whole     []outbox.Rows // the same without a match, if there are more objects than are named one by one
	tags      []compiledText
}

// reference reads the value of a [policy.Ref].
type reference struct {
	origin policy.Origin
	getter *gotype.Getter
}

type compiledText struct {
	texts []string
	refs  []reference
}

// PlanFields reads the directives of a schema that gqlgen generated. It returns one error for all
// contradictions. It does not plan fields whose values, or all objects in them, are stored by
// kinds: nothing is cached twice.
func PlanFields(es graphql.ExecutableSchema, kinds ...cache.Stored) (*FieldPlan, error) {
	schema := es.Schema()
	types, generated := gotype.Of(es)
	policies, err1 := policy.ReadPolicies(schema)
	truths, err2 := policy.Read(schema, types.Attribute)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	p := &FieldPlan{stored: map[string]bool{}, storedOf: map[string][]policy.Rows{}, executable: es, schema: schema, types: types, policies: policies, truths: truths, fields: map[string]map[string]*plannedField{}, coded: map[string]map[string]string{}}
	if !generated {
		p.warn("no field is cached: gqlgen did not generate the executable schema")
		return p, nil
	}
	p.planEvicts()
	p.planPrivate()
	faults := p.planStored(kinds)
	for _, def := range schema.Types {
		if def.Kind != ast.Object || def.BuiltIn || strings.HasPrefix(def.Name, "__") || def == schema.Mutation || def == schema.Subscription {
			continue
		}
		p.fields[def.Name] = map[string]*plannedField{}
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			if name := p.runs(f); name != "" {
				if p.coded[def.Name] == nil {
					p.coded[def.Name] = map[string]string{}
				}
				p.coded[def.Name][f.Name] = name
			}
			if err := p.plan(def, f); err != nil {
				faults = append(faults, err)
			}
		}
	}
	p.warnOfTypes()
	slices.Sort(p.warnings)
	slices.SortFunc(p.rows, func(a, b outbox.Rows) int { return strings.Compare(a.Of, b.Of) })
	return p, errors.Join(faults...)
}

func (p *FieldPlan) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// Warnings returns every age that has no effect in the field cache, with the reason.
func (p *FieldPlan) Warnings() []string { return p.warnings }

// Rows returns the rows of the database that the values of the schema depend on.
func (p *FieldPlan) Rows() []outbox.Rows { return p.rows }

// plannedEvict is the tag that a mutation evicts.
type plannedEvict struct {
	compiledText
	typeName string // the type whose objects it evicts, "" for a tag
}

// planEvicts reads the @cacheEvict directives of mutations.
func (p *FieldPlan) planEvicts() {
	p.evicts, p.named = map[string][]plannedEvict{}, map[string]bool{}
	if p.schema.Mutation == nil {
		return
	}
	p.mutation = p.schema.Mutation.Name
	for _, f := range p.schema.Mutation.Fields {
		result := p.schema.Types[f.Type.Name()]
		for _, e := range p.truths.Evicts(p.mutation + "." + f.Name) {
			planned := plannedEvict{typeName: e.Type}
			switch {
			case e.Tag != nil:
				planned.compiledText = p.compileText(result, *e.Tag)
			case e.ID != nil:
				planned.compiledText = objectText(e.Type, compileRef(result, *e.ID))
			default:
				planned.compiledText = compiledText{texts: []string{e.Type}}
			}
			if e.Type != "" {
				for _, t := range p.schema.GetPossibleTypes(p.schema.Types[e.Type]) {
					p.named[t.Name] = true
				}
				p.named[e.Type] = true
			}
			p.evicts[f.Name] = append(p.evicts[f.Name], planned)
		}
	}
}

// objectText returns the name of an object of a type.
func objectText(typeName string, id ...reference) compiledText {
	c := compiledText{texts: []string{typeName + ":"}, refs: id}
	for range id {
		c.texts = append(c.texts, "")
	}
	return c
}

// plan decides whether and how a field is cached.
func (p *FieldPlan) plan(def *ast.Definition, f *ast.FieldDefinition) error {
	coordinate := def.Name + "." + f.Name
	own := p.truths.Field(coordinate)
	rule, err := p.policies.Of(coordinate)
	if err != nil {
		return err
	}
	if hasViewer(own) && rule.Scope != cache.Private && rule.MaxAge > 0 {
		return fmt.Errorf("%s: it depends on {$viewer}, and is public: add scope: PRIVATE", coordinate)
	}
	if p.isStored(coordinate, f, own) {
		return nil
	}
	hasAge, age := p.aged(def, f)
	resolver := p.types.Resolver(coordinate)
	if !hasAge || age <= 0 || resolver == nil {
		p.warnOfField(coordinate, f, own, age > 0)
		return nil
	}
	if up, err := p.policies.Of(def.Name); err == nil && up.MaxAge == 0 && hasArgument(def.Directives, "maxAge") {
		p.warn("%s: the age has no effect on responses: they contain a %s, whose maxAge is 0", coordinate, def.Name)
	}
	if name := p.coded[def.Name][f.Name]; name != "" {
		p.warn("%s: the age has no effect in the field cache: @%s runs for each request", coordinate, name)
		return nil
	}
	fl := &plannedField{
		coordinate: coordinate, object: def.Name, def: f, maxAge: age, private: p.isPrivate(def, f),
		revalidate: rule.StaleWhileRevalidate, ifError: rule.StaleIfError, tag: cache.Coordinate(coordinate),
		resolver: resolver, codec: p.types.NewCodec(f, resolver.Result), keys: newFieldKeys(p.schema, def, f, p.truths.Key),
		plan: p,
	}
	p.planDependencies(fl, def, f, own)
	p.fields[def.Name][f.Name] = fl
	return nil
}

// aged returns the age of the field's own hint or that of the type it returns, and whether one of
// them has an age.
func (p *FieldPlan) aged(def *ast.Definition, f *ast.FieldDefinition) (hasAge bool, age time.Duration) {
	rule, _ := p.policies.Of(def.Name + "." + f.Name)
	if ownAge(f) {
		return true, rule.MaxAge
	}
	if named := p.schema.Types[f.Type.Name()]; policy.Composite(named) {
		return hasArgument(named.Directives, "maxAge"), rule.MaxAge
	}
	return false, rule.MaxAge
}

func ownAge(f *ast.FieldDefinition) bool {
	return hasArgument(f.Directives, "maxAge")
}

// runs returns a directive of the field, its type, or its arguments that has code, "" if none has.
// Such a directive must run for each request. gqlgen runs those of an object type for each field
// that returns it, and those of an input's types for each value of it.
func (p *FieldPlan) runs(f *ast.FieldDefinition) string {
	lists := []ast.DirectiveList{f.Directives}
	seen := map[string]bool{}
	of := func(t *ast.Type) *ast.Definition {
		def := p.schema.Types[t.Name()]
		if def != nil {
			lists = append(lists, def.Directives)
		}
		return def
	}
	var inputs func(*ast.Type)
	inputs = func(t *ast.Type) {
		def := of(t)
		if def == nil || def.Kind != ast.InputObject || seen[def.Name] {
			return
		}
		seen[def.Name] = true
		for _, input := range def.Fields {
			lists = append(lists, input.Directives)
			inputs(input.Type)
		}
	}
	of(f.Type)
	for _, a := range f.Arguments {
		lists = append(lists, a.Directives)
		inputs(a.Type)
	}
	for _, list := range lists {
		if name := p.coding(list); name != "" {
			return name
		}
	}
	return ""
}

// coding returns a directive of a list that has code, "" if none has.
func (p *FieldPlan) coding(list ast.DirectiveList) string {
	for _, d := range list {
		if p.types.Runs(d.Name) {
			return d.Name
		}
	}
	return ""
}

func hasViewer(t policy.Truth) bool {
	is := func(r policy.Ref) bool { return r.Origin == policy.Viewer }
	return slices.ContainsFunc(t.Rows, func(r policy.Rows) bool {
		return slices.ContainsFunc(r.Match, func(t policy.Term) bool { return is(t.Value) })
	}) || slices.ContainsFunc(t.Tags, func(t policy.Template) bool { return slices.ContainsFunc(t.Refs, is) })
}

// Schema returns the executable schema that was planned.
func (p *FieldPlan) Schema() graphql.ExecutableSchema { return p.executable }
