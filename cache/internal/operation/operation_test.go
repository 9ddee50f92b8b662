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

// What a Memo is part of is freed although a node exists that only it refers to, such as one of a cached document.
func TestMemoDoesNotHoldItsOwner(t *testing.T) {
	t.Parallel()
	type handler struct {
		memo     Memo[ast.OperationDefinition, string]
		document *ast.OperationDefinition
	}
	freed := make(chan struct{})
	func() {
		h := &handler{document: &ast.OperationDefinition{Name: "q"}}
		h.memo.Get(h.document, func() string { return "query q" })
		runtime.AddCleanup(h, func(int) { close(freed) }, 0)
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the owner is still in memory")
		}
	}
}

func (m *Memo[T, V]) len() (n int) {
	m.of.Range(func(any, any) bool { n++; return true })
	return n
}
