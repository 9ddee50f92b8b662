package operation

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// A value is created once, whoever requests it, and is freed together with the object that it
// belongs to.
func TestMemoGoesWithItsThing(t *testing.T) {
	t.Parallel()
	var memo Memo[ast.OperationDefinition, *int]
	op := &ast.OperationDefinition{Name: "q"}
	var running sync.WaitGroup
	got := make([]*int, 10)
	for i := range got {
		running.Go(func() { got[i] = memo.Get(op, func() *int { return new(int) }) })
	}
	running.Wait()
	if slices.ContainsFunc(got, func(p *int) bool { return p != got[0] }) {
		t.Error("got two values for one operation")
	}
	again := memo.Get(op, func() *int { t.Error("the value was created again"); return nil })
	if again != got[0] {
		t.Error("got another value")
	}
	runtime.KeepAlive(op)
	op = nil
	for deadline := time.Now().Add(10 * time.Second); memo.len() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the value outlives its operation")
		}
		runtime.GC()
	}
}

func (m *Memo[T, V]) len() (n int) {
	m.of.Range(func(any, any) bool { n++; return true })
	return n
}
