package serve

import (
	"context"
	"runtime/metrics"
	"time"
)

// gqlgen resolves fields on goroutines of their own. A goroutine's stack that is too small is copied to one of twice the size,
// and for lists from memory that took a quarter of the processor. The runtime begins new stacks with the average of what
// all stacks use (https://go.dev/doc/go1.19#runtime), which is little, since most goroutines of a server wait for a request.
const (
	// fieldStack is enough for a field whose value is in memory, in bytes.
	fieldStack = 8 << 10
	// heldStack is what a goroutine of [stacks] uses of its stack, in bytes. By itself it cannot raise the average beyond fieldStack.
	heldStack = 6 << 10
	// leastHeld and mostHeld bound the number of these goroutines; each takes 8 KiB.
	leastHeld, mostHeld = 64, 2048
	// adjustEvery is how often their number is adjusted, if the collector has run: it takes the average.
	adjustEvery = 250 * time.Millisecond
)

// stacks raises the size that new stacks begin with to fieldStack, by goroutines that wait with stacks in use. It is not safe for
// concurrent use.
type stacks struct {
	leave  chan struct{}
	held   int
	cycles uint64 // of the collector, when held was changed
}

// keepStacks adjusts the size that new stacks begin with until ctx ends.
func keepStacks(ctx context.Context) {
	s := stacks{leave: make(chan struct{})}
	defer close(s.leave)
	tick := time.NewTicker(adjustEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.adjust()
		}
	}
}

// adjust begins and ends goroutines.
func (s *stacks) adjust() {
	read := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(read)
	for _, r := range read {
		if r.Value.Kind() != metrics.KindUint64 {
			return // another release of Go
		}
	}
	size, cycles, all := read[0].Value.Uint64(), read[1].Value.Uint64(), int(read[2].Value.Uint64()) //nolint:gosec // a number of goroutines
	if cycles == s.cycles {
		return // the size is that of another number
	}
	want := wantHeld(s.held, all-s.held, size)
	if want != s.held {
		s.cycles = cycles
	}
	for ; s.held < want; s.held++ {
		go hold(s.leave)
	}
	for ; s.held > want; s.held-- {
		s.leave <- struct{}{}
	}
}

// wantHeld returns how many goroutines are to be held, beside others, when new stacks begin with size bytes.
func wantHeld(held, others int, size uint64) int {
	switch {
	case size < fieldStack:
		return min(max(leastHeld, 2*held), mostHeld)
	case held > 4*max(others, leastHeld): // the load that needed them is over
		return held / 2
	}
	return held
}

// hold waits for leave, with heldStack bytes of its stack in use.
//
//go:noinline
func hold(leave <-chan struct{}) {
	var used [heldStack]byte
	touch(&used)
	<-leave
	touch(&used)
}

//go:noinline
func touch(used *[heldStack]byte) { used[0]++ }
