package cache

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// Watch notices statements that read the database outside of a [Source]. Nobody knows which rows such
// a statement read, so nothing that may be made of them is stored.
//
// Whatever sends statements reports each of them by [Watch.Began] and [Watch.Ended], with the context
// it was given. The context says whose statement it is:
//
//   - that of a source's Load, or one made by [Unwatched]: it is known, and changes nothing;
//   - that of something being made, see [Collect]: that thing, and all that it is a part of, is not
//     stored;
//   - any other: everything being made in this process while it runs is not stored, because anything
//     may be waiting for its rows, such as a field whose loader has a context of its own.
//
// A statement that one operation sends under its own context and whose rows it hands to another is not
// noticed for the other one: such sharing belongs into a Source. The zero value is ready to use; nil
// notices nothing. A Watch is safe for concurrent use.
type Watch struct {
	strays atomic.Uint64 // how many statements without an operation's context began or ended
	others atomic.Pointer[[]*Watch]
}

// Forward has another Watch notice as well what this one does.
func (w *Watch) Forward(to *Watch) {
	for w != nil && to != w {
		old := w.others.Load()
		all := []*Watch{to}
		if old != nil {
			all = append(all, *old...)
		}
		if w.others.CompareAndSwap(old, &all) {
			return
		}
	}
}

// stray counts a statement without an operation's context.
func (w *Watch) stray() {
	w.strays.Add(1)
	if others := w.others.Load(); others != nil {
		for _, other := range *others {
			other.stray()
		}
	}
}

// Began reports that a statement with this context is about to be sent.
func (w *Watch) Began(ctx context.Context) {
	if w == nil {
		return
	}
	if d := CollectorOf(ctx); d != nil {
		d.readUnknown(ctx)
	} else {
		w.stray()
	}
}

// Ended reports that all rows of the statement were read. It matters for statements without an
// operation's context: what began to be made while one ran may have been given its rows.
func (w *Watch) Ended(ctx context.Context) {
	if w != nil && CollectorOf(ctx) == nil {
		w.stray()
	}
}

// seen answers what to compare with later, to find out whether there were strays in between.
func (w *Watch) seen() uint64 {
	if w == nil {
		return 0
	}
	return w.strays.Load()
}

// Collect is [Collect] for a whole operation, whose statements w notices. where, which may be nil,
// names what a context belongs to.
func (w *Watch) Collect(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	return collect(ctx, &Collector{parent: CollectorOf(ctx), watch: w, where: where})
}

// CollectApart is [Watch.Collect] for what a source makes of one request alone: what ctx collects already
// hears nothing of it. The source passes it on: see [Loaded].
func (w *Watch) CollectApart(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	return collect(ctx, &Collector{watch: w, where: where})
}

// Unwatched returns a context whose statements belong to nothing that is stored: those of a health check,
// of a background job, of a session that is looked up before an operation begins. What is read through
// the cache with it is collected as ever.
func Unwatched(ctx context.Context) context.Context {
	ctx, _ = collect(ctx, &Collector{parent: CollectorOf(ctx), known: true})
	return ctx
}

// maxUnknown bounds how many places are remembered at which something unknown was read.
const maxUnknown = 16

// UnknownReason says why something that was made of unknown rows is not stored.
const UnknownReason = "a statement ran outside of a source"

// readUnknown notes that rows were read which no source knows.
func (c *Collector) readUnknown(ctx context.Context) {
	for ; c != nil && !c.known; c = c.parent {
		var place fmt.Stringer
		if c.where != nil {
			place = c.where(ctx)
		}
		c.mu.Lock()
		c.reason = UnknownReason
		c.addUnknown(place)
		c.mu.Unlock()
	}
}

// addUnknown adds a place unless it is there. The caller holds mu.
func (c *Collector) addUnknown(place fmt.Stringer) {
	if place == nil {
		place = elsewhere{}
	}
	if len(c.unknown) < maxUnknown && !slices.ContainsFunc(c.unknown, func(p fmt.Stringer) bool { return p.String() == place.String() }) {
		c.unknown = append(c.unknown, place)
	}
}

// elsewhere is the place of a statement that belongs to no field.
type elsewhere struct{}

// String implements [fmt.Stringer].
func (elsewhere) String() string { return "" }
