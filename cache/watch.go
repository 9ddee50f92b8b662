package cache

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// Watch notices statements that read the database outside of a [Source]. It is not known which rows such a statement
// read, so values that may depend on them are not stored.
//
// The code that sends statements reports each of them with [Watch.Began] and [Watch.Ended], with its
// text and its context. The context determines whose statement it is:
//
//   - that of a source's Load, or one made by [Unwatched]: it is known, and changes nothing;
//   - that of a value being computed, see [Collect]: that value, and every value that it is part of, is not
//     stored;
//   - any other: no value being computed in this process while it runs is stored, because any of them
//     may be waiting for its rows, such as a field whose loader has its own context.
//
// If one operation sends a statement with its own context and gives the rows to another operation, the Watch does not
// notice it for the other one: such sharing belongs in a Source. The zero value is ready to use; a nil Watch notices
// nothing. A Watch is safe for concurrent use.
//
// For a value that is collected by [Watch.CollectStatements], the texts of the statements that it may depend on are
// recorded instead: all of its request so far, see [Cache.Begin], and all that ran meanwhile, of any request; see
// [Watch.RememberStatements]. A statement that runs on a standby is reported with [OnStandby] as its text.
type Watch struct {
	strays atomic.Uint64 // how many statements without an operation's context began or ended

	observed   atomic.Bool  // whether statements are remembered
	standbys   atomic.Bool  // see LookForStandbys
	apartAlone atomic.Bool  // see RememberStatements
	apart      statementLog // statements without a request's context
	all        statementLog

	others atomic.Pointer[[]*Watch]
}

// OnStandby is the text of a statement that runs on a standby of the database, or may run on one. A standby lags behind:
// it returns rows from before a write whose eviction is over. So what may be made of its rows is not stored, also if a
// [Source] sends the statement. One with a context of [Unwatched] changes nothing.
const OnStandby = "\x00a statement on a standby"

// StandbyReason is the reason why a value that may be made of a standby's rows is not stored.
const StandbyReason = "a statement ran on a standby, which may lag behind"

// LookForStandbys asks whatever reports to w to find out whether the servers of its connections are standbys: the
// database is PostgreSQL.
func (w *Watch) LookForStandbys() {
	if w != nil {
		w.standbys.Store(true)
	}
}

// LooksForStandbys reports whether [Watch.LookForStandbys] was called on w or on a Watch that it forwards to.
func (w *Watch) LooksForStandbys() bool {
	if w == nil {
		return false
	}
	if others := w.others.Load(); others != nil && slices.ContainsFunc(*others, (*Watch).LooksForStandbys) {
		return true
	}
	return w.standbys.Load()
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

// Began reports that a statement with this context is about to be sent. Its text may be "" if it is not known.
func (w *Watch) Began(ctx context.Context, statement string) {
	if w == nil {
		return
	}
	w.remember(ctx, statement, (*statementLog).began)
	if d := CollectorOf(ctx); d != nil {
		if statement == OnStandby {
			d.readStandby()
		}
		d.readUnknown(ctx)
	} else {
		w.stray()
	}
}

// Ended reports that all rows of the statement were read. It matters for statements without an
// operation's context: a value whose computation began while one ran may depend on its rows.
func (w *Watch) Ended(ctx context.Context, statement string) {
	if w == nil {
		return
	}
	w.remember(ctx, statement, (*statementLog).ended)
	if CollectorOf(ctx) == nil {
		w.stray()
	}
}

// RememberStatements records the texts of statements from now on, for [Watch.CollectStatements]. loadersApart says that
// no loader reads for two requests at once; then the statements of other requests do not count.
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

// seen returns a number that changes with every stray statement.
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

// CollectApart is [Watch.Collect] for what a source computes for one request alone: the collectors of ctx do not
// receive it. The source passes it on: see [Loaded].
func (w *Watch) CollectApart(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	return collect(ctx, &Collector{watch: w, where: where, statements: w.statementsFrom(ctx)})
}

// CollectStatements is [Watch.CollectApart] for a value that may depend on any statement that runs meanwhile:
// statements are collected, see [Deps], and do not prevent the value from being stored.
func (w *Watch) CollectStatements(ctx context.Context, where func(context.Context) fmt.Stringer) (context.Context, *Collector) {
	from := w.statementsFrom(ctx)
	return collect(ctx, &Collector{watch: w, where: where, statements: from, listed: from != nil})
}

// statementsFrom returns where a collector of ctx begins in the logs of w; nil if statements are not remembered.
func (w *Watch) statementsFrom(ctx context.Context) *statementsSince {
	if w == nil || !w.observed.Load() {
		return nil
	}
	return &statementsSince{request: statementsOf(ctx), apart: w.apart.now(), all: w.all.now()}
}

// statementsSince is where a collector began in the logs of statements.
type statementsSince struct {
	request    *statementLog // nil: none. All of it counts: loaders hold the rows that they read
	apart, all uint64
}

// list returns the statements that ran since, and reports whether all of them are known.
func (s *statementsSince) list(w *Watch) ([]string, bool) {
	list, known := s.request.since(nil, 0)
	others, since := s.others(w)
	list, all := others.since(list, since)
	return list, known && all
}

// standby reports whether one of the statements ran on a standby.
func (s *statementsSince) standby(w *Watch) bool {
	others, since := s.others(w)
	return s.request.standbySince(0) || others.standbySince(since)
}

// others returns the log of statements of other requests that count, and where s began in it.
func (s *statementsSince) others(w *Watch) (*statementLog, uint64) {
	if w.apartAlone.Load() {
		return &w.apart, s.apart
	}
	return &w.all, s.all // a loader may read for several requests at once
}

// Unwatched returns a context whose statements do not prevent any value from being stored: those of
// a health check, of a background job, of a session that is looked up before an operation begins.
// Values that are read through the cache with it are collected as usual.
func Unwatched(ctx context.Context) context.Context {
	ctx, _ = collect(ctx, &Collector{parent: CollectorOf(ctx), known: true})
	return ctx
}

// maxUnknown limits how many places at which an unknown statement ran are recorded.
const maxUnknown = 16

// UnknownReason is the reason why a value that depends on unknown rows is not stored.
const UnknownReason = "a statement ran outside of a source"

// readUnknown records that a statement read rows outside of any source.
func (c *Collector) readUnknown(ctx context.Context) {
	for ; c != nil && !c.known; c = c.parent {
		if c.listed {
			continue
		}
		var place fmt.Stringer
		if c.where != nil {
			place = c.where(ctx)
		}
		c.mu.Lock()
		c.noteUnknown(place)
		c.mu.Unlock()
	}
}

// readStandby records that a statement ran on a standby.
func (c *Collector) readStandby() {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		c.noteStandby()
		c.mu.Unlock()
		if c.known {
			return
		}
	}
}

// noteStandby records that the value may be made of a standby's rows. The caller holds mu.
func (c *Collector) noteStandby() {
	c.reason, c.passing, c.standby = StandbyReason, true, true
}

// noteUnknown records a statement outside of a source, at a place that is listed once. It replaces no
// other reason: a field that knows its own statements ignores this one. The caller holds mu.
func (c *Collector) noteUnknown(place fmt.Stringer) {
	if c.reason == "" {
		c.reason = UnknownReason
	}
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
