package serve

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestWantHeld(t *testing.T) {
	for name, c := range map[string]struct {
		held, others int
		size         uint64
		want         int
	}{
		"the first":                  {0, 40, 2 << 10, leastHeld},
		"not enough":                 {64, 400, 4 << 10, 128},
		"no more than most":          {mostHeld - 1, 10000, 2 << 10, mostHeld},
		"most is not enough":         {mostHeld, 10000, 2 << 10, mostHeld},
		"enough":                     {128, 100, 8 << 10, 128},
		"others need more":           {64, 100, 16 << 10, 64},
		"the load is over":           {mostHeld, 40, 8 << 10, mostHeld / 2},
		"few are kept without load":  {4 * leastHeld, 1, 8 << 10, 4 * leastHeld},
		"none where none are needed": {0, 40, 8 << 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wantHeld(c.held, c.others, c.size); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// If enough goroutines wait with large stacks, new goroutines start with a stack that is large
// enough for a field.
func TestStacksOfNewGoroutines(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for range 300 {
		go func() { <-end }()
	}
	s := stacks{leave: make(chan struct{})}
	defer close(s.leave)
	for end := time.Now().Add(time.Minute); s.held == 0 || startingSize() < fieldStack; s.adjust() {
		if time.Now().After(end) {
			t.Fatalf("new stacks have %d bytes with %d goroutines held, want %d", startingSize(), s.held, fieldStack)
		}
		runtime.Gosched() // some that are held have not reached their wait yet
	}
}

// startingSize runs the garbage collector and returns the starting size of new stacks.
func startingSize() uint64 {
	runtime.GC()
	size := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}}
	metrics.Read(size)
	return size[0].Value.Uint64()
}

// Goroutines that are no longer needed end, some after each run of the garbage collector.
func TestHeldGoroutinesEnd(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it runs only when called
	s := stacks{leave: make(chan struct{})}
	defer close(s.leave)
	for ; s.held < mostHeld; s.held++ {
		go hold(s.leave)
	}
	for startingSize() < fieldStack { // some goroutines have not reached their wait yet
		runtime.Gosched()
	}
	for _, want := range []int{mostHeld / 2, mostHeld / 4, mostHeld / 8} {
		runtime.GC()
		s.adjust()
		s.adjust() // no effect: the collector has not run since
		if s.held != want {
			t.Fatalf("%d goroutines are held, want %d", s.held, want)
		}
	}
}
