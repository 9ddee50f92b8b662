package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Origin is the first name of a [Ref].
type Origin string

// The origins.
const (
	Parent Origin = "parent" // the object that the field belongs to
	Args   Origin = "args"   // the field's arguments, with defaults
	Key    Origin = "key"    // the fields that identify an object of the type
	Result Origin = "result" // the result of a mutation
	Viewer Origin = "viewer" // the viewer
)

// Ref refers to a value that is known when a field is resolved: {$parent.id},
// {$args.input.country}.
type Ref struct {
	Origin Origin
	Path   []string // empty for {$viewer}, and for {$result} of a scalar
}

// String returns the reference as written in a schema: {$parent.id}.
func (r Ref) String() string {
	return "{$" + strings.Join(append([]string{string(r.Origin)}, r.Path...), ".") + "}"
}

// parseRef parses the text between braces.
func parseRef(text string) (Ref, error) {
	inner, ok := strings.CutPrefix(strings.TrimSpace(text), "$")
	names := strings.Split(inner, ".")
	r := Ref{Origin: Origin(names[0])}
	if len(names) > 1 {
		r.Path = names[1:]
	}
	if !ok || slices.ContainsFunc(names, func(n string) bool { return !isName(n) }) {
		return r, fmt.Errorf("{%s} is not a reference: write {$parent.field}, {$args.name}, {$key.field}, {$result.field} or {$viewer}", text)
	}
	switch r.Origin {
	case Parent, Args, Key:
		if len(r.Path) == 0 {
			return r, fmt.Errorf("{%s} names nothing: write {$%s.name}", text, r.Origin)
		}
	case Result:
	case Viewer:
		if len(r.Path) > 0 {
			return r, fmt.Errorf("{%s}: $viewer has no fields: write {$viewer}", text)
		}
	default:
		return r, fmt.Errorf("{%s}: unknown origin $%s", text, r.Origin)
	}
	return r, nil
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// Template is text with references: "price-list-{$args.region}".
type Template struct {
	Texts []string // the text before, between and after the references: one more than there are references
	Refs  []Ref
}

// String returns the text as written in a schema.
func (t Template) String() string {
	var b strings.Builder
	for i, text := range t.Texts {
		b.WriteString(text)
		if i < len(t.Refs) {
			b.WriteString(t.Refs[i].String())
		}
	}
	return b.String()
}

// parseTemplate parses a template. A brace that is not part of a reference is an error.
func parseTemplate(text string) (t Template, err error) {
	rest := text
	for {
		before, after, found := strings.Cut(rest, "{")
		t.Texts = append(t.Texts, before)
		if strings.Contains(before, "}") {
			return t, fmt.Errorf("%q has a } without a {", text)
		}
		if !found {
			break
		}
		inner, tail, closed := strings.Cut(after, "}")
		if !closed {
			return t, fmt.Errorf("%q has a { without a }", text)
		}
		ref, err := parseRef(inner)
		if err != nil {
			return t, err
		}
		t.Refs, rest = append(t.Refs, ref), tail
	}
	if text == "" {
		return t, errors.New("it is empty")
	}
	return t, nil
}

// Term is one condition of a match: the rows whose column holds the value.
type Term struct {
	Column string
	Value  Ref
	// Optional says that the value is an argument that may be null. If it is null, the Term is not a condition.
	Optional bool
}

// String returns the condition as written in a schema: id = {$parent.id}.
func (t Term) String() string { return t.Column + " = " + t.Value.String() }

// parseMatch parses one or more `column = {…}`, separated by commas.
func parseMatch(text string) (terms []Term, err error) {
	for part := range strings.SplitSeq(text, ",") {
		column, value, found := strings.Cut(part, "=")
		column, value = strings.TrimSpace(column), strings.TrimSpace(value)
		inner, opened := strings.CutPrefix(value, "{")
		inner, closed := strings.CutSuffix(inner, "}")
		if !found || !opened || !closed || !isName(column) {
			return nil, fmt.Errorf("%q is not a match: write column = {$parent.field}, several joined by commas", text)
		}
		if slices.ContainsFunc(terms, func(t Term) bool { return t.Column == column }) {
			return nil, fmt.Errorf("%q matches the column %s twice", text, column)
		}
		ref, err := parseRef(inner)
		if err != nil {
			return nil, err
		}
		terms = append(terms, Term{Column: column, Value: ref})
	}
	return terms, nil
}
