package transport

import (
	"fmt"
	"strings"
	"testing"
)

// The memory of a reader is a multiple of a body with many names. The pool must not hold it after
// the request.
func TestReadersOfLargeBodiesAreNotUsedAgain(t *testing.T) {
	var names strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&names, `,"%d":0`, i)
	}
	r := newJSONReader([]byte(`{"query":"{ a }","variables":{"a":0` + names.String() + `}}`))
	if p, refused := readObject(r); refused != nil || len(p.Variables) != 10_001 {
		t.Fatalf("got %d variables, %v", len(p.Variables), refused)
	}
	r.close()
	for range 10 {
		if jsonReaders.Get() == any(r) {
			t.Fatal("the reader of a large body is used again")
		}
	}
}
