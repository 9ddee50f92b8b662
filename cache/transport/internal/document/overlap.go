package document

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"
)

// overlapRule is the validation rule OverlappingFieldsCanBeMerged. gqlparser checks it by comparing
// each pair of fields with the same response name: four million pairs for a field that occurs two
// thousand times. Here it is checked by the algorithm of Simon Adameit, as in graphql-java: fields
// with one response name are grouped and compared with the first of them, and the selections of all
// of them are merged into one set, which is checked in the same way. This takes two passes, because
// fields of objects of different types are never in one response: such fields need the same shape,
// and nothing else. A set of fields is checked only once, which limits the cost of fragments that
// multiply each other; spend limits the rest, such as interfaces in interfaces.
func overlapRule(spend func(steps int)) core.Rule {
	return core.Rule{Name: "OverlappingFieldsCanBeMerged", RuleFunc: func(observers *core.Events, addError core.AddErrFunc) {
		m := merger{spend: spend, addError: addError, ids: map[*ast.Field]uint32{}}
		m.checked[shapePass], m.checked[namePass] = map[string]bool{}, map[string]bool{}
		// The walk has visited everything that the operation spreads by then.
		observers.OnOperation(func(w *core.Walker, op *ast.OperationDefinition) {
			m.schema, m.repeats, m.tree = w.Schema, false, len(w.Document.Fragments) == 0
			m.check(shapePass, m.fields(op.SelectionSet), nil)
			if m.repeats {
				m.check(namePass, m.fields(op.SelectionSet), nil)
			}
		})
	}}
}

// pass is one of the two passes.
type pass int

const (
	shapePass pass = iota // of all fields with a name: compares the form of their values
	namePass              // of fields that may belong to one object: compares the fields and their arguments
)

// merger checks the sets of fields of a document.
type merger struct {
	schema   *ast.Schema
	spend    func(steps int) // ends the validation if it takes too many steps
	addError core.AddErrFunc
	ids      map[*ast.Field]uint32
	checked  [2]map[string]bool // sets of fields, by pass
	repeats  bool               // whether any response name occurs twice in a set
	tree     bool               // there are no fragments, so that each field is in only one set of a pass
}

// namesake is the fields of a set with the same response name.
type namesake struct {
	name   string
	fields []*ast.Field
}

// check checks a set of fields. within is the response names of the fields whose selections were merged into it.
func (m *merger) check(p pass, fields []*ast.Field, within []string) {
	if len(fields) == 0 || !(m.tree && p == shapePass) && m.known(p, fields) {
		return
	}
	for _, n := range byName(fields) {
		if len(n.fields) == 1 {
			m.check(p, m.fields(n.fields[0].SelectionSet), nil)
			continue
		}
		m.repeats = true
		groups := [][]*ast.Field{n.fields}
		if p == namePass {
			groups = byParent(n.fields)
		}
		for _, group := range groups {
			below := within[:len(within):len(within)]
			if len(group) == 1 {
				below = nil
			} else {
				below = append(below, n.name)
			}
			m.compare(p, group, below)
			m.check(p, m.fields(selections(group)...), below)
		}
	}
}

// known reports whether the set was checked in this pass.
func (m *merger) known(p pass, fields []*ast.Field) bool {
	list := make([]uint32, len(fields))
	for i, f := range fields {
		id, ok := m.ids[f]
		if !ok {
			id = uint32(len(m.ids)) //nolint:gosec // a document has fewer fields than that
			m.ids[f] = id
		}
		list[i] = id
	}
	slices.Sort(list)
	key := make([]byte, 0, 4*len(list))
	for _, id := range list {
		key = binary.LittleEndian.AppendUint32(key, id)
	}
	if m.checked[p][string(key)] {
		return true
	}
	m.checked[p][string(key)] = true
	return false
}

// fields returns the fields of selections, including those of their fragments.
func (m *merger) fields(sets ...ast.SelectionSet) []*ast.Field {
	var all []*ast.Field
	var spread map[string]bool
	var add func(set ast.SelectionSet)
	add = func(set ast.SelectionSet) {
		m.spend(len(set))
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if s.ObjectDefinition != nil { // otherwise another rule reports the error
					all = append(all, s)
				}
			case *ast.InlineFragment:
				add(s.SelectionSet)
			case *ast.FragmentSpread:
				if s.Definition == nil || spread[s.Name] {
					continue
				}
				if spread == nil {
					spread = map[string]bool{}
				}
				spread[s.Name] = true
				add(s.Definition.SelectionSet)
			}
		}
	}
	for _, set := range sets {
		add(set)
	}
	return all
}

func selections(fields []*ast.Field) []ast.SelectionSet {
	sets := make([]ast.SelectionSet, len(fields))
	for i, f := range fields {
		sets[i] = f.SelectionSet
	}
	return sets
}

// byName groups fields by response name, in the order in which the names occur.
func byName(fields []*ast.Field) []namesake {
	all := make([]namesake, 0, len(fields))
	at := make(map[string]int, len(fields))
	for i, f := range fields {
		n, ok := at[f.Alias]
		if !ok {
			n = len(all)
			at[f.Alias] = n
			all = append(all, namesake{f.Alias, fields[i : i+1 : i+1]})
			continue
		}
		all[n].fields = append(all[n].fields, f)
	}
	return all
}

// byParent groups fields that may belong to one object: those of each object type, each time with
// all fields of interfaces.
func byParent(fields []*ast.Field) [][]*ast.Field {
	var abstract []*ast.Field
	var order []string
	concrete := map[string][]*ast.Field{}
	for _, f := range fields {
		parent := f.ObjectDefinition
		// gqlparser compares a field that does not exist with all others.
		if parent.Kind != ast.Object || f.Definition == nil {
			abstract = append(abstract, f)
			continue
		}
		if concrete[parent.Name] == nil {
			order = append(order, parent.Name)
		}
		concrete[parent.Name] = append(concrete[parent.Name], f)
	}
	if len(order) == 0 {
		return [][]*ast.Field{abstract}
	}
	groups := make([][]*ast.Field, len(order))
	for i, name := range order {
		groups[i] = append(concrete[name], abstract...)
	}
	return groups
}

// compare compares the fields of a group with the first of them.
func (m *merger) compare(p pass, group []*ast.Field, within []string) {
	first := group[0]
	for _, f := range group[1:] {
		m.spend(1 + len(first.Arguments)*len(f.Arguments))
		switch {
		case p == namePass && f.Name != first.Name:
			m.conflict(f, within, `"%s" and "%s" are different fields`, first.Name, f.Name)
		case p == namePass && !sameArguments(first.Arguments, f.Arguments):
			m.conflict(f, within, "they have differing arguments")
		case p == shapePass && first.Definition != nil && f.Definition != nil && !m.sameShape(first.Definition.Type, f.Definition.Type):
			m.conflict(f, within, `they return conflicting types "%s" and "%s"`, first.Definition.Type, f.Definition.Type)
		}
	}
}

// conflict reports a conflict in gqlparser's words.
func (m *merger) conflict(f *ast.Field, within []string, reason string, args ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "Fields %q conflict because ", within[0])
	for _, name := range within[1:] {
		fmt.Fprintf(&b, "subfields %q conflict because ", name)
	}
	fmt.Fprintf(&b, reason, args...)
	m.addError(core.Message("%s. Use different aliases on the fields to fetch both if this was intentional.", b.String()), core.At(f.Position))
}

// sameShape reports whether values of two types have the same form: leaves have the same type, and
// lists and nullability agree. The contents of objects are compared later.
func (m *merger) sameShape(a, b *ast.Type) bool {
	for ; a.Elem != nil && b.Elem != nil; a, b = a.Elem, b.Elem {
		if a.NonNull != b.NonNull {
			return false
		}
	}
	if a.NonNull != b.NonNull || (a.Elem == nil) != (b.Elem == nil) {
		return false
	}
	x, y := m.schema.Types[a.NamedType], m.schema.Types[b.NamedType]
	return x == y || !x.IsLeafType() && !y.IsLeafType()
}

func sameArguments(a, b ast.ArgumentList) bool {
	if len(a) != len(b) {
		return false
	}
	for _, arg := range a {
		other := b.ForName(arg.Name)
		if other == nil || !sameValue(arg.Value, other.Value) {
			return false
		}
	}
	return true
}

// sameValue reports whether two values are equal. The order of an object's fields does not matter.
func sameValue(a, b *ast.Value) bool {
	if a.Kind != b.Kind || a.Raw != b.Raw || len(a.Children) != len(b.Children) {
		return false
	}
	x, y := a.Children, b.Children
	if a.Kind == ast.ObjectValue {
		x, y = sortedByName(x), sortedByName(y)
	}
	for i := range x {
		if x[i].Name != y[i].Name || !sameValue(x[i].Value, y[i].Value) {
			return false
		}
	}
	return true
}

func sortedByName(list ast.ChildValueList) ast.ChildValueList {
	return slices.SortedStableFunc(slices.Values(list), func(a, b *ast.ChildValue) int { return strings.Compare(a.Name, b.Name) })
}
