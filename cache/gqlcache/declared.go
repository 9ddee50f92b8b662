package gqlcache

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"

	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// DeclaredRows returns the rows whose writes [Open] records for a schema, from its SDL alone: those
// of every type, and of every field with an age, that have @cacheRows. Directives that the engine
// does not read need no definition in it. It returns one error for all faults that can be found
// without the Go types of the project.
func DeclaredRows(sources ...*ast.Source) ([]outbox.Rows, error) {
	doc, err := parser.ParseSchemas(append([]*ast.Source{validator.Prelude}, sources...)...)
	if err != nil {
		return nil, err
	}
	if err := keepOurs(doc); err != nil {
		return nil, err
	}
	schema, err := validator.ValidateSchemaDocument(doc)
	if err != nil {
		return nil, err
	}
	policies, err1 := policy.ReadPolicies(schema)
	truths, err2 := policy.Read(schema, func(string, string) bool { return true })
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return declaredRows(schema, policies, truths), nil
}

// ourDirectives are the directives that this package reads.
var ourDirectives = []string{policy.CacheControl, "cacheRows", "cacheTag", "cacheEvict", "key"}

// keepOurs removes all other directives from a document, since their definitions may be generated
// and so in no file, and defines ours if no file does.
func keepOurs(doc *ast.SchemaDocument) error {
	own, err := parser.ParseSchema(&ast.Source{Name: "directives.graphqls", Input: Directives +
		"directive @key(fields: String!, resolvable: Boolean) repeatable on OBJECT | INTERFACE"})
	if err != nil {
		return fmt.Errorf("gqlcache: %w", err)
	}
	other := func(name string) bool { return !slices.Contains(ourDirectives, name) }
	doc.Directives = slices.DeleteFunc(doc.Directives, func(d *ast.DirectiveDefinition) bool { return other(d.Name) })
	doc.DirectiveExtensions = nil
	for _, d := range own.Directives {
		if doc.Directives.ForName(d.Name) == nil {
			doc.Directives = append(doc.Directives, d)
		}
	}
	for _, d := range own.Definitions {
		if doc.Definitions.ForName(d.Name) == nil {
			doc.Definitions = append(doc.Definitions, d)
		}
	}
	removeOthers := func(list *ast.DirectiveList) {
		*list = slices.DeleteFunc(*list, func(d *ast.Directive) bool { return other(d.Name) })
	}
	arguments := func(list ast.ArgumentDefinitionList) {
		for _, a := range list {
			removeOthers(&a.Directives)
		}
	}
	for _, d := range doc.Directives {
		arguments(d.Arguments)
	}
	for _, s := range slices.Concat(doc.Schema, doc.SchemaExtension) {
		removeOthers(&s.Directives)
	}
	for _, def := range slices.Concat(doc.Definitions, doc.Extensions) {
		removeOthers(&def.Directives)
		for _, f := range def.Fields {
			removeOthers(&f.Directives)
			arguments(f.Arguments)
		}
		for _, v := range def.EnumValues {
			removeOthers(&v.Directives)
		}
	}
	return nil
}

// declaredRows returns the rows that a schema declares, whether a resolver uses them or not. The
// recorded writes then depend on the SDL alone, as in a migration that was printed from it.
func declaredRows(schema *ast.Schema, policies *policy.Policies, truths *policy.Schema) (list []outbox.Rows) {
	add := func(r outbox.Rows) {
		if !slices.ContainsFunc(list, func(o outbox.Rows) bool { return reflect.DeepEqual(o, r) }) {
			list = append(list, r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Types)) {
		def := schema.Types[name]
		if def.Kind != ast.Object || def == schema.Mutation || def == schema.Subscription {
			continue
		}
		for _, r := range truths.Type(name).Rows {
			rows, _ := chosenRows(name, r)
			rows.Own = r.Match == nil && len(truths.Key(name)) > 0
			add(rows)
		}
		for _, f := range def.Fields {
			coordinate := name + "." + f.Name
			rule, err := policies.Of(coordinate)
			if err != nil || rule.MaxAge <= 0 {
				continue // of introspection, or not cached
			}
			for _, r := range truths.Field(coordinate).Rows {
				rows, _ := chosenRows(coordinate, r)
				add(rows)
			}
		}
	}
	return list
}

// noted returns the rows whose writes must be recorded.
func (p *FieldPlan) noted() []outbox.Rows {
	list := slices.Clone(p.rows)
	if len(p.fields) == 0 {
		return list // gqlgen did not generate the schema: nothing is cached
	}
	for _, r := range declaredRows(p.schema, p.policies, p.truths) {
		if !slices.ContainsFunc(list, func(o outbox.Rows) bool { return reflect.DeepEqual(o, r) }) {
			list = append(list, r)
		}
	}
	return list
}
