// Package operation has what both the transport and the extensions need of an operation that gqlgen executes: its
// canonical text, values that are stored for as long as its document is parsed, and the field that is being resolved.
package operation

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
)

// Memo stores one value for each node of a parsed document, computed once, for as long as the document is in memory.
// The zero value is ready to use. It is safe for concurrent use.
type Memo[T, V any] struct {
	of sync.Map // of V by weak.Pointer[T]
}

// Get returns the value of a node. It computes the value if there is none.
func (m *Memo[T, V]) Get(thing *T, build func() V) V {
	key := weak.Make(thing)
	if cached, ok := m.of.Load(key); ok {
		return cached.(V)
	}
	cached, known := m.of.LoadOrStore(key, build())
	if !known {
		// The runtime holds the cleanup for as long as the node exists. If the cleanup held m, whatever m is part of
		// would exist for as long, and with it the node, if that is where its document is cached.
		memo := weak.Make(m)
		runtime.AddCleanup(thing, func(key weak.Pointer[T]) {
			if m := memo.Value(); m != nil {
				m.of.Delete(key)
			}
		}, key)
	}
	return cached.(V)
}

// Form returns the text of an operation as the parser understood it, with the fragments that it
// spreads.
func Form(doc *ast.QueryDocument, op *ast.OperationDefinition) string {
	doc = &ast.QueryDocument{Operations: ast.OperationList{op}, Fragments: UsedFragments(doc, op.SelectionSet)}
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("")).FormatQueryDocument(doc)
	return b.String()
}

// UsedFragments returns the fragments that a selection spreads, directly or through others, in the document's order.
func UsedFragments(doc *ast.QueryDocument, set ast.SelectionSet) (used ast.FragmentDefinitionList) {
	if len(doc.Fragments) == 0 {
		return nil
	}
	seen := map[*ast.FragmentDefinition]bool{}
	var visit func(ast.SelectionSet)
	visit = func(set ast.SelectionSet) {
		for _, selection := range set {
			switch s := selection.(type) {
			case *ast.Field:
				visit(s.SelectionSet)
			case *ast.InlineFragment:
				visit(s.SelectionSet)
			case *ast.FragmentSpread:
				if s.Definition != nil && !seen[s.Definition] {
					seen[s.Definition] = true
					visit(s.Definition.SelectionSet)
				}
			}
		}
	}
	visit(set)
	for _, f := range doc.Fragments {
		if seen[f] {
			used = append(used, f)
		}
	}
	return used
}

// Place is the field whose resolver read something outside of a source, for [cache.Deps.Unknown].
type Place struct{ *graphql.FieldContext }

// String returns the field's coordinate.
func (p Place) String() string { return p.Object + "." + p.Field.Name }

// PlaceOf returns the field that ctx belongs to, or nil outside of fields.
func PlaceOf(ctx context.Context) fmt.Stringer {
	if fc := graphql.GetFieldContext(Quiet(ctx)); fc != nil && fc.Field.Field != nil {
		return Place{fc}
	}
	return nil
}
