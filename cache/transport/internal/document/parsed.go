package document

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Parsed is a valid document with its analysis. It is immutable.
type Parsed struct {
	*ast.QueryDocument
	nullable    map[*ast.OperationDefinition][]nullableUse
	beyondInt   map[*ast.OperationDefinition]gqlerror.List
	introspects bool
}

// newParsed analyzes a document before it is executed for the first time, and removes @defer: a
// response here is sent as a whole, and the specification allows servers to ignore @defer.
func newParsed(doc *ast.QueryDocument) *Parsed {
	p := &Parsed{
		QueryDocument: doc,
		nullable:      map[*ast.OperationDefinition][]nullableUse{},
		beyondInt:     map[*ast.OperationDefinition]gqlerror.List{},
		introspects:   introspects(doc),
	}
	for _, o := range doc.Operations {
		atOnce(o.SelectionSet)
		if uses := findNullableUses(o); uses != nil {
			p.nullable[o] = uses
		}
		if errs := findBeyondInt(o); errs != nil {
			p.beyondInt[o] = errs
		}
	}
	for _, f := range doc.Fragments {
		atOnce(f.SelectionSet)
	}
	return p
}

// notesWeight returns the approximate memory of the analysis of a document.
func (p *Parsed) notesWeight() (bytes int) {
	for _, uses := range p.nullable {
		bytes += 200 * len(uses)
	}
	for _, errs := range p.beyondInt {
		bytes += 800 * len(errs)
	}
	return bytes
}

// Cache stores valid documents in parsed form, the most requested ones. Concurrent operations share
// a document, so documents must not be changed.
type Cache struct {
	docs *otter.Cache[string, *Parsed]
}

var _ graphql.Cache[*ast.QueryDocument] = Cache{}

// NewCache returns a Cache for documents of at most this many bytes, including everything stored
// for their operations.
func NewCache(bytes uint64) Cache {
	return Cache{otter.Must(&otter.Options[string, *Parsed]{
		MaximumWeight: bytes,
		Weigher: func(text string, doc *Parsed) uint32 {
			return uint32(min(weight(text, doc.QueryDocument)+doc.notesWeight(), 1<<31)) //nolint:gosec // bounded
		},
	})}
}

// Get implements gqlgen's cache.
func (c Cache) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	doc, ok := c.docs.GetIfPresent(text)
	if !ok {
		return nil, false
	}
	return doc.QueryDocument, true
}

// Add implements gqlgen's cache. The executor calls it for a document that an extension replaced; other documents are
// stored already.
func (c Cache) Add(_ context.Context, text string, doc *ast.QueryDocument) {
	c.Put(text, doc)
}

// Find returns a stored document.
func (c Cache) Find(text string) (*Parsed, bool) { return c.docs.GetIfPresent(text) }

// Put stores a valid document, which must not be in use yet.
func (c Cache) Put(text string, doc *ast.QueryDocument) *Parsed {
	parsed := newParsed(doc)
	c.docs.Set(text, parsed)
	return parsed
}

// Bytes returns the approximate memory of the documents, after those beyond the limit have been
// dropped.
func (c Cache) Bytes() uint64 {
	c.docs.CleanUp()
	return c.docs.WeightedSize()
}

// atOnce removes @defer from a selection and everything below it.
func atOnce(set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			atOnce(s.SelectionSet)
		case *ast.InlineFragment:
			s.Directives = withoutDefer(s.Directives)
			atOnce(s.SelectionSet)
		case *ast.FragmentSpread:
			s.Directives = withoutDefer(s.Directives)
		}
	}
}

func withoutDefer(all ast.DirectiveList) ast.DirectiveList {
	if all.ForName("defer") == nil {
		return all
	}
	var rest ast.DirectiveList
	for _, d := range all {
		if d.Name != "defer" {
			rest = append(rest, d)
		}
	}
	return rest
}
