package gqlcache

import (
	"errors"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// oneSchema is the schema that an extension knows.
type oneSchema struct {
	mu     sync.Mutex  // held while it is read
	schema *ast.Schema // nil until it was read
}

// read calls read with the schema of the first server that uses the extension. Further servers of the
// schema change nothing, since the first ones may be serving, and one of another schema is refused.
func (o *oneSchema) read(es graphql.ExecutableSchema, read func(*ast.Schema) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.schema {
	case es.Schema():
		return nil
	case nil:
	default:
		return errors.New("gqlcache: the extension is used with another schema: make one for each schema")
	}
	err := read(es.Schema())
	if err == nil {
		o.schema = es.Schema()
	}
	return err
}
