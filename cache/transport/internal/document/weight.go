package document

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/internal/operation"
)

// The memory of parts of a parsed document, in bytes, with their positions and their places in lists; measured, and
// rounded up.
const (
	documentCost   = 1024
	definitionCost = 512 // an operation or a fragment
	selectionCost  = 288 // a field or a fragment where it is spread
	argumentCost   = 160 // also a directive
	valueCost      = 224
	commentCost    = 192
	planCost       = 224 // the plan, for each field
	formCost       = 512 // a canonical text that is stored for an operation
)

// weight returns the memory of a document once it is parsed and each of its operations was requested: the tree, and
// what is stored for each operation as long as the tree is: its plan, and the texts of it and of its root fields.
func weight(text string, doc *ast.QueryDocument) int {
	w := weigher{doc: doc, fragments: map[*ast.FragmentDefinition]size{}}
	total := documentCost + len(text) + commentCost*strings.Count(text, "#")
	for _, f := range doc.Fragments {
		s := w.selections(f.SelectionSet)
		s.bytes += definitionCost + w.directives(f.Directives).bytes
		w.fragments[f] = s
		total += s.bytes
	}
	for _, o := range doc.Operations {
		s := w.selections(o.SelectionSet)
		s.add(w.directives(o.Directives))
		for _, v := range o.VariableDefinitions {
			s.add(w.value(v.DefaultValue))
			s.add(w.directives(v.Directives))
			s.add(size{bytes: definitionCost, text: 2*len(v.Variable) + 64})
		}
		total += s.bytes + definitionCost
		spread := size{}
		for _, f := range operation.UsedFragments(doc, o.SelectionSet) {
			spread.add(w.fragments[f])
		}
		roots := len(o.SelectionSet)
		total += planCost*(s.fields+spread.fields) + formCost*(1+roots) + 2*s.text + (1+roots)*spread.text
	}
	return total
}

// weigher computes the weight of a document.
type weigher struct {
	doc       *ast.QueryDocument
	fragments map[*ast.FragmentDefinition]size
}

// size is the memory of a part.
type size struct {
	bytes  int // parsed
	text   int // printed
	fields int // selections in it
}

func (s *size) add(more size) {
	s.bytes += more.bytes
	s.text += more.text
	s.fields += more.fields
}

func (w *weigher) selections(set ast.SelectionSet) (all size) {
	for _, selection := range set {
		all.add(size{bytes: selectionCost, text: 8, fields: 1})
		switch s := selection.(type) {
		case *ast.Field:
			all.text += len(s.Alias) + len(s.Name)
			all.add(w.arguments(s.Arguments))
			all.add(w.directives(s.Directives))
			all.add(w.selections(s.SelectionSet))
		case *ast.InlineFragment:
			all.text += len(s.TypeCondition)
			all.add(w.directives(s.Directives))
			all.add(w.selections(s.SelectionSet))
		case *ast.FragmentSpread:
			all.text += len(s.Name)
			all.add(w.directives(s.Directives))
		}
	}
	return all
}

func (w *weigher) arguments(list ast.ArgumentList) (all size) {
	for _, a := range list {
		all.add(size{bytes: argumentCost, text: len(a.Name) + 4})
		all.add(w.value(a.Value))
	}
	return all
}

func (w *weigher) directives(list ast.DirectiveList) (all size) {
	for _, d := range list {
		all.add(size{bytes: argumentCost, text: len(d.Name) + 4})
		all.add(w.arguments(d.Arguments))
	}
	return all
}

func (w *weigher) value(v *ast.Value) (all size) {
	if v == nil {
		return all
	}
	all = size{bytes: valueCost + len(v.Raw), text: len(v.Raw) + 4}
	for _, child := range v.Children {
		all.add(size{bytes: argumentCost, text: len(child.Name) + 4})
		all.add(w.value(child.Value))
	}
	return all
}
