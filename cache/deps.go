package cache

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Deps collects what an answer, or a part of one, is made of, while it is being made. It is safe for
// concurrent use.
type Deps struct {
	parent *Deps
	began  time.Time // as precise as entries are

	watch  *Watch // that of the whole operation; nil: nobody watches
	strays uint64 // what it had seen at the beginning
	where  func(context.Context) fmt.Stringer
	known  bool // statements are a source's, or nothing that is kept is made of them

	mu     sync.Mutex
	stamps []*Stamp
	names  []string
	tags   []Tag     // of the item that was noted last
	until  time.Time // the earliest moment at which one of the values is as old as it may get
	ends   time.Time // the earliest end of one of them
	reason string    // why nothing may be kept of it; "" if it may
	cached int
	loaded int
	stale  bool
	// revalidating and passing are those of Made.
	revalidating, passing bool

	unknown []fmt.Stringer // where rows were read that no source knows, each place once
}

// Made is what something was made of.
type Made struct {
	// Stamp holds as long as nothing that it was made of is known to be untrue.
	Stamp *Stamp
	// Ends is when the first of its values ends; zero if it is made of none.
	Ends time.Time
	// Until is when the first of its values is as old as its policy allows: an end that is not brought
	// forward at random. Zero if it is made of none.
	Until time.Time
	// Names are the keys and tags of its values, each once.
	Names []string
	// Unkept says why nothing may be kept of it; "" if it may be.
	Unkept string
	// Cached and Loaded are how many of its values came from a cache and how many from their source.
	Cached, Loaded int
	// Stale says that a part of it may no longer be true.
	Stale bool
	// Revalidating says that a part has ended and is loaded anew.
	Revalidating bool
	// Passing says that no cache on the way may keep it either: a part has ended, is in shadow mode, or is not trusted.
	Passing bool
	// Unknown are the places at which rows were read that no source knows, a few of them. If there are
	// any, nobody may keep what was made: not this process, and no cache on the way.
	Unknown []fmt.Stringer
}

type depsKey struct{}

// CollectDeps returns a context whose reads are collected, by the Deps it answers and by those that ctx
// carried already.
func CollectDeps(ctx context.Context) (context.Context, *Deps) {
	d := &Deps{parent: DepsOf(ctx)}
	if p := d.parent; p != nil {
		d.watch, d.where = p.watch, p.where
	}
	return collect(ctx, d)
}

func collect(ctx context.Context, d *Deps) (context.Context, *Deps) {
	d.began, d.strays = time.Now().Truncate(time.Millisecond), d.watch.seen()
	return context.WithValue(ctx, depsKey{}, d), d
}

// DepsOf are the Deps that ctx carries; nil if it carries none.
func DepsOf(ctx context.Context) *Deps {
	d, _ := ctx.Value(depsKey{}).(*Deps)
	return d
}

// read notes results of a batch. d may be nil.
func (d *Deps) read(requests []Request, results []Result) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		for i := range requests {
			d.note(&requests[i].Item, &results[i])
		}
		d.mu.Unlock()
	}
}

// Hit notes that an item was answered from memory, for who asked [Cache.PeekSettled]. d may be nil.
func (d *Deps) Hit(item Item, r Result) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		d.note(&item, &r)
		d.mu.Unlock()
	}
}

func (d *Deps) note(item *Item, r *Result) {
	d.names = append(d.names, string(item.Key))
	if !sameTags(item.Tags, d.tags) { // things of one kind share theirs
		d.tags = item.Tags
		for _, t := range item.Tags {
			d.names = append(d.names, string(t))
		}
	}
	for _, t := range r.Tags {
		d.names = append(d.names, string(t))
	}
	if r.Tier == SourceTier || !r.Loaded.Before(d.began) { // or loaded along with another part
		d.loaded++
	} else {
		d.cached++
	}
	switch {
	case r.Err != nil:
		d.reason = "a read failed"
		return
	case r.Stale:
		d.reason, d.stale = "a part may no longer be true", true
		return
	case r.Revalidating:
		d.reason, d.revalidating, d.passing = "a part has ended and is loaded anew", true, true
		return
	case r.Shadow:
		d.reason, d.passing = "a part is in shadow mode", true
		return
	case r.Stamp == nil:
		d.reason = "a part is not kept: " + string(item.Key)
		return
	}
	d.stamps = append(d.stamps, r.Stamp)
	age := item.MaxAge
	if r.Value == nil {
		age = min(age, AbsentMaxAge)
	}
	d.until = earlier(d.until, r.Loaded.Add(age))
	d.ends = earlier(d.ends, r.Ends)
}

// sameTags reports whether two lists are one. Others that hold the same may be told apart.
func sameTags(a, b []Tag) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Unknown are the places at which rows were read so far that no source knows, a few of them. d may be nil.
func (d *Deps) Unknown() []fmt.Stringer {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.unknown)
}

// isRead reports whether anything was noted.
func (d *Deps) isRead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.names) > 0
}

// Use notes that something made before was used as it is.
func (d *Deps) Use(m Made) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		d.names = append(d.names, m.Names...)
		if m.Unkept != "" {
			d.reason = m.Unkept
		}
		d.cached++
		d.stamps = append(d.stamps, m.Stamp)
		if !m.Ends.IsZero() {
			d.until, d.ends = earlier(d.until, m.Until), earlier(d.ends, m.Ends)
		}
		d.mu.Unlock()
	}
}

// Unkeep says that nothing may be kept of what is being made.
func (d *Deps) Unkeep(reason string) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		d.reason = reason
		d.mu.Unlock()
	}
}

// Distrust says that nothing may be kept of what is being made, here or by a cache on the way.
func (d *Deps) Distrust(reason string) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		d.reason, d.passing = reason, true
		d.mu.Unlock()
	}
}

// Made answers what was collected so far.
func (d *Deps) Made() Made {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch.seen() != d.strays {
		d.reason = UnknownReason
		d.addUnknown(nil)
	}
	slices.Sort(d.names)
	d.names = slices.Compact(d.names)
	return Made{
		Stamp: Join(d.stamps...), Ends: d.ends, Until: d.until,
		Names: slices.Clone(d.names), Unkept: d.reason, Cached: d.cached, Loaded: d.loaded, Stale: d.stale,
		Revalidating: d.revalidating, Passing: d.passing,
		Unknown: slices.Clone(d.unknown),
	}
}

// earlier is the earlier of two moments, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

type (
	freshKey  struct{}
	unkeptKey struct{}
)

// Fresh returns a context whose operation is to be read past the caches, which are only filled: see
// [Batch.Fresh].
func Fresh(ctx context.Context) context.Context { return context.WithValue(ctx, freshKey{}, true) }

// IsFresh reports whether ctx was made by [Fresh].
func IsFresh(ctx context.Context) bool { return ctx.Value(freshKey{}) != nil }

// Unkept returns a context of whose operation nothing is to be put into the caches: see [Batch.Unkept].
func Unkept(ctx context.Context) context.Context { return context.WithValue(ctx, unkeptKey{}, true) }

// IsUnkept reports whether ctx was made by [Unkept].
func IsUnkept(ctx context.Context) bool { return ctx.Value(unkeptKey{}) != nil }
