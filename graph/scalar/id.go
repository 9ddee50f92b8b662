// Package scalar converts between Go types and the schema's scalars.
package scalar

import (
	"errors"
	"io"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
)

// ErrID is the error for a text that is not an id.
var ErrID = errors.New("an id is a whole number from 1 on, without leading zeros")

// MarshalID writes a row's id as a GraphQL ID: "42".
func MarshalID(id int64) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		b := make([]byte, 0, 22)
		b = append(b, '"')
		b = strconv.AppendInt(b, id, 10)
		_, _ = w.Write(append(b, '"')) // writing to gqlgen's buffer never fails
	})
}

// UnmarshalID reads an id in the form that [MarshalID] writes.
func UnmarshalID(v any) (int64, error) {
	s, err := graphql.UnmarshalID(v)
	if err != nil {
		return 0, err
	}
	return ParseID(s)
}

// ParseID parses an id. It accepts only the canonical form, so that a row has only one key. Otherwise
// it returns [ErrID].
func ParseID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != s {
		return 0, ErrID
	}
	return id, nil
}
