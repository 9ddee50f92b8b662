// Package document parses and validates the documents of GraphQL over HTTP within a budget, stores them in parsed form
// within a limit, and coerces the values of their variables.
package document

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"fieldcache/cache/apierror"
)

// byteOrderMark may precede a document.
const byteOrderMark = "\ufeff"

// Limits of a document.
const (
	stepsPerToken   = 20   // steps of validation for each token that a document may have
	maxNameBytes    = 256  // of a name: the cost of suggestions is the product of two lengths
	maxErrors       = 20   // after which validation ends
	maxMessageBytes = 1000 // of an error
)

// Budget is what a request may still spend. All operations of a batch share it.
type Budget struct {
	steps        int // visits of selections and values by validation, and comparisons
	complexity   int // spent so far
	introspected int // fields of the schema, spent so far
}

// Validator parses and validates documents.
type Validator struct {
	schema    *ast.Schema
	rules     []core.Rule // by name; the last one is created for each document
	maxTokens int

	introspection struct {
		once  sync.Once
		limit int // fields of the schema that a request may select
	}
}

// New returns a Validator for documents of a schema with at most maxTokens tokens. With hide, errors contain no
// suggestions, which would reveal the schema bit by bit.
func New(schema *ast.Schema, maxTokens int, hide bool) *Validator {
	set := rules.NewDefaultRules()
	if hide {
		for _, r := range []struct{ from, to core.Rule }{
			{rules.FieldsOnCorrectTypeRule, rules.FieldsOnCorrectTypeRuleWithoutSuggestions},
			{rules.ScalarLeafsRule, rules.ScalarLeafsRuleWithoutSuggestions},
			{rules.KnownArgumentNamesRule, rules.KnownArgumentNamesRuleWithoutSuggestions},
			{rules.KnownTypeNamesRule, rules.KnownTypeNamesRuleWithoutSuggestions},
			{rules.ValuesOfCorrectTypeRule, rules.ValuesOfCorrectTypeRuleWithoutSuggestions},
		} {
			set.ReplaceRule(r.from.Name, r.to.RuleFunc)
		}
	}
	set.RemoveRule(rules.OverlappingFieldsCanBeMergedRule.Name)
	v := &Validator{schema: schema, maxTokens: maxTokens}
	all := set.GetInner()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v.rules = append(v.rules, core.Rule{Name: name, RuleFunc: all[name]})
	}
	return v
}

// Budget returns the budget of one request.
func (v *Validator) Budget() *Budget {
	return &Budget{steps: stepsPerToken * v.maxTokens}
}

// Parse returns a valid document. If ctx ends meanwhile, Parse returns one error, which wraps that of ctx.
func (v *Validator) Parse(ctx context.Context, text string, b *Budget) (*ast.QueryDocument, gqlerror.List) {
	text = strings.TrimPrefix(text, byteOrderMark) // it is an ignored token
	if err := checkText(text); err != nil {
		return nil, failed(err, errcode.ParseFailed)
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, v.maxTokens)
	if err != nil {
		return nil, failed(gqlerror.Wrap(err), errcode.ParseFailed)
	}
	if len(doc.Operations) == 0 {
		return nil, failed(&gqlerror.Error{Message: apierror.NoOperation.Message}, errcode.ValidationFailed)
	}
	return doc, v.validate(ctx, doc, b)
}

func failed(err *gqlerror.Error, code string) gqlerror.List {
	err.Message = shorten(err.Message, maxMessageBytes)
	errcode.Set(err, code)
	return gqlerror.List{err}
}

// stopped ends a walk of gqlparser by a panic, since there is no other way: graphql-js does the
// same.
type stopped struct{ err error }

// validate checks a document by all rules. It ends early if the document takes too many steps, has
// too many errors, or ctx ends.
func (v *Validator) validate(ctx context.Context, doc *ast.QueryDocument, b *Budget) (errs gqlerror.List) {
	stop := func(err *gqlerror.Error) {
		errcode.Set(err, errcode.ValidationFailed)
		errs = append(errs, err)
		panic(stopped{err})
	}
	spend := func(steps int) {
		if b.steps -= steps; b.steps < 0 {
			errs = nil
			stop(&gqlerror.Error{Message: apierror.SlowValidation.Message})
		}
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(stopped); !ok {
				panic(p)
			}
		}
	}()
	walkSteps(doc, spend)
	observers := &core.Events{}
	visits := 0
	observers.OnField(func(*core.Walker, *ast.Field) {
		if visits++; visits%256 == 0 && ctx.Err() != nil {
			errs = gqlerror.List{{Message: ctx.Err().Error(), Err: ctx.Err()}}
			panic(stopped{ctx.Err()})
		}
	})
	for _, rule := range slices.Concat(v.rules, []core.Rule{overlapRule(spend)}) {
		rule.RuleFunc(observers, func(options ...core.ErrorOption) {
			if len(errs) == maxErrors {
				stop(&gqlerror.Error{Message: apierror.ManyErrors.Message})
			}
			err := &gqlerror.Error{Rule: rule.Name}
			for _, o := range options {
				o(err)
			}
			err.Message = shorten(err.Message, maxMessageBytes)
			errcode.Set(err, errcode.ValidationFailed)
			errs = append(errs, err)
		})
	}
	core.Walk(v.schema, doc, observers)
	slices.SortStableFunc(errs, func(a, b *gqlerror.Error) int { return cmp.Compare(a.Rule, b.Rule) })
	return errs
}

// walkSteps spends the steps of the rules' walk: it enters each fragment once for each operation
// and for each fragment that spreads it, directly or through others.
func walkSteps(doc *ast.QueryDocument, spend func(int)) {
	fragments := make(map[string]*ast.FragmentDefinition, len(doc.Fragments))
	for _, f := range doc.Fragments {
		if fragments[f.Name] == nil {
			fragments[f.Name] = f
		}
	}
	var seen map[string]bool
	var set func(ast.SelectionSet)
	set = func(all ast.SelectionSet) {
		spend(len(all))
		for _, s := range all {
			switch s := s.(type) {
			case *ast.Field:
				spendArguments(s.Arguments, s.Directives, spend)
				set(s.SelectionSet)
			case *ast.InlineFragment:
				spendArguments(nil, s.Directives, spend)
				set(s.SelectionSet)
			case *ast.FragmentSpread:
				spendArguments(nil, s.Directives, spend)
				if f := fragments[s.Name]; f != nil && !seen[s.Name] {
					seen[s.Name] = true
					set(f.SelectionSet)
				}
			}
		}
	}
	for _, o := range doc.Operations {
		seen = map[string]bool{}
		set(o.SelectionSet)
	}
	for _, f := range doc.Fragments {
		seen = map[string]bool{}
		set(f.SelectionSet)
	}
}

func spendArguments(arguments ast.ArgumentList, directives ast.DirectiveList, spend func(int)) {
	for _, a := range arguments {
		spendValue(a.Value, spend)
	}
	for _, d := range directives {
		spend(1)
		for _, a := range d.Arguments {
			spendValue(a.Value, spend)
		}
	}
}

func spendValue(v *ast.Value, spend func(int)) {
	spend(1)
	for _, c := range v.Children {
		spendValue(c.Value, spend)
	}
}
