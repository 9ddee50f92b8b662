// Package models is a project whose models have other names than the schema, embed structs, are
// generic, recursive, or interfaces that values and pointers implement.
package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// Unit is an enum that is a number in Go.
type Unit int

// The units.
const (
	One Unit = iota
	Two
)

// Base is embedded in models.
type Base struct {
	Ident string // the id of the schema
	ID    int    // something else, the same for all
	Named
}

// Named is embedded in Base.
type Named struct{ Name *string }

// GetIdent is what the interface Node calls.
func (b Base) GetIdent() string { return b.Ident }

// GetName is what the interface Node calls.
func (b Base) GetName() *string { return b.Name }

// Node is the interface of the schema.
type Node interface {
	IsNode()
	GetIdent() string
	GetName() *string
}

// Either is the union of the schema.
type Either interface{ IsEither() }

// Leaf is a row of things.
type Leaf struct {
	*Base
	Unit  Unit
	Worth *Money
}

// IsNode implements [Node].
func (Leaf) IsNode() {}

// IsEither implements [Either].
func (Leaf) IsEither() {}

// Upper has an argument and returns an error.
func (l Leaf) Upper(ctx context.Context, prefix *string) (*string, error) {
	if l.Name == nil {
		return nil, errors.New("nameless")
	}
	s := *prefix + strings.ToUpper(*l.Name)
	return &s, ctx.Err()
}

// Branch is a row of things.
type Branch struct {
	Base
	Leaves []*Leaf
}

// IsNode implements [Node].
func (*Branch) IsNode() {}

// IsEither implements [Either].
func (*Branch) IsEither() {}

// Page is a list of any models.
type Page[T any] struct {
	Items []T
	Total int
}

// LeafPage is what gqlgen binds: it cannot name an instance.
type LeafPage = Page[Leaf]

// Tree contains itself.
type Tree struct {
	Name        *string
	Left, Right *Tree
	Leaf        *Leaf
}

// Money has marshalers that take a context.
type Money struct{ Cents int64 }

// MarshalGQLContext implements [graphql.ContextMarshaler].
func (m Money) MarshalGQLContext(ctx context.Context, w io.Writer) error {
	if m.Cents < 0 {
		return errors.New("negative money")
	}
	_, err := fmt.Fprintf(w, `"%d.%02d"`, m.Cents/100, m.Cents%100)
	return err
}

// UnmarshalGQLContext implements [graphql.ContextUnmarshaler].
func (m *Money) UnmarshalGQLContext(ctx context.Context, v any) error {
	s, _ := v.(string)
	var a, b int64
	if _, err := fmt.Sscanf(s, "%d.%02d", &a, &b); err != nil {
		return err
	}
	m.Cents = a*100 + b
	return nil
}

// Moment embeds a time.
type Moment struct{ time.Time }

// MarshalGQL implements [graphql.Marshaler].
func (m Moment) MarshalGQL(w io.Writer) { graphql.MarshalTime(m.Time.UTC()).MarshalGQL(w) }

// UnmarshalGQL implements [graphql.Unmarshaler].
func (m *Moment) UnmarshalGQL(v any) (err error) {
	m.Time, err = graphql.UnmarshalTime(v)
	return err
}
