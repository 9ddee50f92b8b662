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
// Whatever sends statements reports each of them by [Watch.Began] and [Watch.Ended], with its text and the context
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
//
// Where a value is collected for by [Watch.CollectStatements], the statements that it may be made of are remembered by their texts
// instead: all of its request so far, see [Cache.Begin], and all that ran meanwhile, whoever sent them; see
// [Watch.RememberStatements].
type Watch struct {
	strays atomic.Uint64 // how many statements without an operation's context began or ended

	observed   atomic.Bool  // whether statements are remembered
	apartAlone atomic.Bool  // see RememberStatements
	apart      statementLog // those without a request's context
	all        statementLog

	others atomic.Pointer[[]*Watch]
}

// Forward makes another Watch notice what this one does.
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

// Began reports that a statement with this context is about to be sent. Its text may be "" where it is not known.
func (w *Watch) Began(ctx context.Context, statement string) {
	if w == nil {
		return
	}
	w.remember(ctx, statement, (*statementLog).began)
	if d := CollectorOf(ctx); d != nil {
		d.readUnknown(ctx)
	} else {
		w.stray()
	}
}

// Ended reports that all rows of the statement were read. It matters for statements without an
// operation's context: what began to be made while one ran may have been given its rows.
func (w *Watch) Ended(ctx context.Context, statement string) {
	if w == nil {
		return
	}
	w.remember(ctx, statement, (*statementLog).ended)
	if CollectorOf(ctx) == nil {
		w.stray()
	}
}

// RememberStatements has the texts of statements remembered from now on, for [Watch.CollectStatements]. loadersApart says that
// no loader reads for two requests at once; then those of other requests do not count.
func (w *Watch) RememberStatements(loadersApart bool) {
	if w != nil {
		w.apartAlone.Store(loadersApart)
		w.observed.Store(true)
	}
}

// remember records the beginning or the end of a statement that no source sent.
func (w *Watch) remember(ctx context.Context, statement string, note func(*statementLog, string)) {
	if others := w.others.Load(); others != nil {
		for _, other := range *others {
			other.remember(ctx, statement, note)
		}
	}
	if !w.observed.Load() {
		return
	}
	for c := CollectorOf(ctx); c != nil; c = c.parent {
		if c.known {
			return
		}
	}
	if l := statementsOf(ctx); l != nil {
		note(l, statement)
	} else {
		note(&w.apart, statement)
	}
	note(&w.all, statement)
}

// seen returns a number to compare with later, to find out whether there were stray statements in
// between.
func (w *Watch) seen() uint64 {
	if w == nil {
		return 0
	}
	return w.strays.Load()
}

// Collect is [Collect] for a whole operation whose statements w notices. where, which may be nil,
// names the place that a context belongs to.
func (w *Watch) Collect(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	return collect(ctx, &Collector{parent: CollectorOf(ctx), watch: w, where: where})
}

// CollectApart is [Watch.Collect] for what a source makes of one request alone: what ctx collects already
// hears nothing of it. The source passes it on: see [Loaded].
func (w *Watch) CollectApart(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	return collect(ctx, &Collector{watch: w, where: where})
}

// CollectStatements is [Watch.CollectApart] for what may be made of any statement that runs meanwhile: they are collected, see
// [Deps], rather than keep the value from being stored.
func (w *Watch) CollectStatements(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	c := &Collector{watch: w, where: where}
	if w != nil {
		c.statements = &statementsSince{
			request: statementsOf(ctx), apart: w.apart.now(), all: w.all.now(),
		}
	}
	return collect(ctx, c)
}

// statementsSince is where a collector began in the logs of statements.
type statementsSince struct {
	request    *statementLog // nil: none. All of it counts: loaders hold on to what they read
	apart, all uint64
}

// list returns the statements that ran since, and reports whether all of them are known.
func (s *statementsSince) list(w *Watch) ([]string, bool) {
	list, known := s.request.since(nil, 0)
	others, since := &w.all, s.all // a loader may read for several requests at once
	if w.apartAlone.Load() {
		others, since = &w.apart, s.apart
	}
	list, all := others.since(list, since)
	return list, known && all
}

// Unwatched returns a context whose statements belong to nothing that is stored: those of a health
// check, of a background job, of a session that is looked up before an operation begins. What is
// read through the cache with it is collected as usual.
func Unwatched(ctx context.Context) context.Context {
	ctx, _ = collect(ctx, &Collector{parent: CollectorOf(ctx), known: true})
	return ctx
}

// maxUnknown limits how many places are remembered at which an unknown statement ran.
const maxUnknown = 16

// UnknownReason is the reason for which a value is not stored that is made of unknown rows.
const UnknownReason = "a statement ran outside of a source"

// readUnknown records that a statement read rows outside of any source.
func (c *Collector) readUnknown(ctx context.Context) {
	for ; c != nil && !c.known; c = c.parent {
		if c.statements != nil {
			continue
		}
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
