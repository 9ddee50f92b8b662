package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// What is kept of documents.
const (
	defaultDocumentBytes = 64 << 20 // all that is kept of them, unless [HandlerOptions] say otherwise
	registeredPart       = 8        // one part in so many is for those registered by their hash, as they came
	documentBytes        = 64 << 10 // one document that is registered, at most
)

// parsedDocument is a valid document, and what is known of it.
type parsedDocument struct {
	*ast.QueryDocument
	nullable    map[*ast.OperationDefinition][]nullableUse
	beyondInt   map[*ast.OperationDefinition]gqlerror.List
	introspects bool
}

// newParsedDocument takes a document before it is executed for the first time, and takes @defer away:
// an answer here is one piece, and servers are free to send what is deferred at once.
func newParsedDocument(doc *ast.QueryDocument) *parsedDocument {
	p := &parsedDocument{
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

// notesWeight is about how many bytes the notes of a document take.
func (p *parsedDocument) notesWeight() (bytes int) {
	for _, uses := range p.nullable {
		bytes += 200 * len(uses)
	}
	for _, errs := range p.beyondInt {
		bytes += 800 * len(errs)
	}
	return bytes
}

// parsedDocuments keeps valid documents parsed, those that are asked for most. A document is shared by the
// operations that run at a time, so nobody changes it.
type parsedDocuments struct {
	docs *otter.Cache[string, *parsedDocument]
}

var _ graphql.Cache[*ast.QueryDocument] = parsedDocuments{}

// newParsedDocuments makes room for documents that take so many bytes together, with all that is kept of their
// operations while they are parsed.
func newParsedDocuments(bytes uint64) parsedDocuments {
	return parsedDocuments{otter.Must(&otter.Options[string, *parsedDocument]{
		MaximumWeight: bytes,
		Weigher: func(text string, doc *parsedDocument) uint32 {
			return uint32(min(weight(text, doc.QueryDocument)+doc.notesWeight(), 1<<31)) //nolint:gosec // bounded
		},
	})}
}

// Get implements gqlgen's cache.
func (p parsedDocuments) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	doc, ok := p.docs.GetIfPresent(text)
	if !ok {
		return nil, false
	}
	return doc.QueryDocument, true
}

// Add implements gqlgen's cache. The executor calls it for a document that an extension put in the place of
// the one that was asked for; others are here already.
func (p parsedDocuments) Add(_ context.Context, text string, doc *ast.QueryDocument) {
	p.docs.Set(text, newParsedDocument(doc))
}

// DocumentBytes is about how much is kept of documents, once what is over the bound has been dropped.
func (h *Handler) DocumentBytes() uint64 {
	h.parsed.docs.CleanUp()
	h.documents.registered.CleanUp()
	return h.parsed.docs.WeightedSize() + h.documents.registered.WeightedSize()
}

// atOnce removes @defer from a selection and all below it.
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
	var kept ast.DirectiveList
	for _, d := range all {
		if d.Name != "defer" {
			kept = append(kept, d)
		}
	}
	return kept
}
